//! What goes into a replica and what comes out of it.

use std::sync::Arc;

use pentad_primitives::Hash256;

use crate::certificate::CommitCertificate;
use crate::evidence::{Evidence, HaltReason};
use crate::identifiers::{ReplicaId, Sequence, View};
use crate::message::Message;
use crate::record::Record;

/// What a replica is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// Anything that anybody sent. The driver has checked one thing, which needs no state: a body
    /// in it (of a PRE-PREPARE, BODY or CERTIFIED) is whole and the block of the digest beside it,
    /// and in a PRE-PREPARE the block names the parent beside it. Other messages with a body it
    /// drops.
    Message {
        /// What came.
        message: Message,
    },
    /// The answer to [`Output::Propose`].
    Proposal {
        /// As asked.
        view: View,
        /// As asked.
        sequence: Sequence,
        /// Hash of the block.
        digest: Hash256,
        /// As asked.
        parent: Hash256,
        /// The block.
        body: Arc<[u8]>,
    },
    /// The answer to [`Output::Check`].
    Checked {
        /// As asked.
        view: View,
        /// As asked.
        sequence: Sequence,
        /// As asked.
        digest: Hash256,
        /// Why the block is not valid, or that it is.
        verdict: Result<(), String>,
    },
    /// A certified block is durable in the chain, and all below it are: by [`Output::Execute`] or
    /// by sync, at any time.
    Executed {
        /// Its sequence.
        sequence: Sequence,
        /// Its hash.
        digest: Hash256,
        /// What makes it final; the chain has checked it.
        certificate: CommitCertificate,
    },
    /// The root of the state after a block that was executed; due after each whose sequence is a
    /// multiple of the checkpoint interval, as soon as it is known.
    Root {
        /// Its sequence.
        sequence: Sequence,
        /// Its hash.
        digest: Hash256,
        /// Hash of the UTXO set after it.
        root: Hash256,
    },
    /// Whether transactions wait for a block.
    Pending(bool),
    /// The driver holds the primary of this view to be slow or a censor (attacks 3 and 4).
    Suspect {
        /// The view.
        view: View,
    },
    /// A timer that was set ran out.
    Timeout(Timer),
}

/// Whom a message goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Recipient {
    /// All other replicas.
    All,
    /// One other replica.
    One(ReplicaId),
}

/// What the replica waits for. Setting one that runs starts it anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// The view must make progress.
    View,
    /// What is in flight must be sent again.
    Resend,
}

/// What the driver must do, in this order. Every [`Output::Persist`] and [`Output::Compact`] must
/// be durable before any later output is acted on; one sync of the disk for all of a step suffices.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Output {
    /// Append to the safety log.
    Persist(Record),
    /// Replace the whole safety log by these, atomically.
    Compact(Vec<Record>),
    /// Send a message.
    Send {
        /// To whom.
        to: Recipient,
        /// What.
        message: Message,
    },
    /// Make a block on `parent`, once there is something to put into it, and answer with
    /// [`Input::Proposal`]. A later request replaces it.
    Propose {
        /// This replica's view.
        view: View,
        /// The block's sequence.
        sequence: Sequence,
        /// The block's parent.
        parent: Hash256,
    },
    /// Check a block on its parent, and answer with [`Input::Checked`].
    Check {
        /// The view it is proposed in.
        view: View,
        /// Its sequence.
        sequence: Sequence,
        /// Its hash.
        digest: Hash256,
        /// The parent that it must have.
        parent: Hash256,
        /// The block.
        body: Arc<[u8]>,
        /// Whom its coinbase must pay; any validator if none.
        proposer: Option<ReplicaId>,
        /// Whether it is proposed for the first time, so that its time must not be too far ahead.
        is_first: bool,
    },
    /// Write a final block and its certificate to the chain, and answer with [`Input::Executed`].
    Execute {
        /// What makes it final.
        certificate: CommitCertificate,
        /// The block.
        body: Arc<[u8]>,
    },
    /// Start a timer; one that runs is replaced.
    SetTimer {
        /// Which.
        timer: Timer,
        /// Milliseconds from now.
        after_ms: u64,
    },
    /// Stop a timer.
    CancelTimer(Timer),
    /// A replica is shown to be faulty.
    Evidence(Evidence),
    /// This replica stops: its state is not that of the others. The last output ever.
    Halt(HaltReason),
}
