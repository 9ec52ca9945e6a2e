//! What shows that a replica is faulty, for people to read and to prove.

use pentad_primitives::Hash256;

use crate::certificate::CommitCertificate;
use crate::identifiers::{ReplicaId, Sequence};
use crate::message::{
    Checkpoint, NewView, NewViewError, Phase, SignedPrePrepare, ViewChange, Vote,
};

/// What a faulty replica signed. Emitted once per replica, kind, and sequence or view.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Evidence {
    /// A primary proposed two blocks for one sequence in one view (attack 1).
    Equivocation {
        /// The one that came first.
        first: SignedPrePrepare,
        /// The other.
        second: SignedPrePrepare,
    },
    /// A replica voted for two blocks at one sequence in one view (attack 6).
    DoubleVote {
        /// PREPARE or COMMIT.
        phase: Phase,
        /// The one that came first.
        first: Vote,
        /// The other.
        second: Vote,
    },
    /// A replica stated two states at one sequence.
    DoubleCheckpoint {
        /// The one that came first.
        first: Checkpoint,
        /// The other.
        second: Checkpoint,
    },
    /// A replica changed into one view with two contents.
    DoubleViewChange {
        /// The one that came first.
        first: Box<ViewChange>,
        /// The other.
        second: Box<ViewChange>,
    },
    /// A primary started its view wrongly (attack 12).
    InvalidNewView {
        /// What it signed.
        new_view: Box<NewView>,
        /// What is wrong with it.
        error: NewViewError,
    },
    /// A primary proposed a block that this replica's ledger refuses (attack 17). It proves
    /// nothing without the ledger.
    InvalidProposal {
        /// What it signed.
        proposal: SignedPrePrepare,
        /// The ledger's reason.
        reason: String,
    },
    /// Two certified blocks at one sequence: more than f replicas are faulty.
    Fork {
        /// The block that this replica executed, if it still holds its certificate.
        first: Option<CommitCertificate>,
        /// The other.
        second: CommitCertificate,
    },
}

impl Evidence {
    /// Whom it speaks against; none where it is a whole quorum.
    #[must_use]
    pub fn against(&self) -> Option<ReplicaId> {
        match self {
            Self::Equivocation { second, .. } => Some(second.sender),
            Self::DoubleVote { second, .. } => Some(second.sender),
            Self::DoubleCheckpoint { second, .. } => Some(second.sender),
            Self::DoubleViewChange { second, .. } => Some(second.sender),
            Self::InvalidNewView { new_view, .. } => Some(new_view.sender),
            Self::InvalidProposal { proposal, .. } => Some(proposal.sender),
            Self::Fork { .. } => None,
        }
    }
}

/// Why a replica does nothing any more.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum HaltReason {
    /// A quorum holds another state (attack 18).
    #[error(
        "after sequence {sequence} this replica's UTXO set has root {own}, a quorum's has {quorum}"
    )]
    DifferentRoot {
        /// The checkpoint.
        sequence: Sequence,
        /// This replica's root.
        own: Hash256,
        /// The quorum's root.
        quorum: Hash256,
    },
    /// A quorum holds another block to be final.
    #[error("at sequence {sequence} this replica holds {own} to be final, a quorum {quorum}")]
    DifferentBlock {
        /// The sequence.
        sequence: Sequence,
        /// Hash of this replica's block.
        own: Hash256,
        /// Hash of the quorum's block.
        quorum: Hash256,
    },
}
