//! PREPARE and COMMIT (section 4.2 of the paper).

use pentad_primitives::Hash256;
use pentad_primitives::encode::Reader;

use crate::credentials::{Credentials, Signed};
use crate::domain::Statement;
use crate::encoding::{self, DecodeError};
use crate::identifiers::{ReplicaId, Sequence, View};
use crate::keys::{Keys, Signature};

/// What a vote says of its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// A backup accepted the proposal.
    Prepare,
    /// The replica is prepared.
    Commit,
}

/// A PREPARE or a COMMIT; which of them, the message around it says, and the signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vote {
    /// The view of the proposal.
    pub view: View,
    /// The sequence of the proposal.
    pub sequence: Sequence,
    /// Hash of the block.
    pub digest: Hash256,
    /// Who votes.
    pub sender: ReplicaId,
    /// The sender's signature.
    pub signature: Signature,
}

impl Vote {
    /// Votes.
    #[must_use]
    pub fn sign<K: Keys>(
        credentials: &Credentials<K>,
        phase: Phase,
        view: View,
        sequence: Sequence,
        digest: Hash256,
    ) -> Self {
        let signature = credentials.sign(&statement(phase, view, sequence, digest));
        Self { view, sequence, digest, sender: credentials.own, signature }
    }

    /// With its phase, which the signature covers.
    #[must_use]
    pub const fn of(&self, phase: Phase) -> SignedVote<'_> {
        SignedVote { phase, vote: self }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.view.get().to_le_bytes());
        out.extend(self.sequence.get().to_le_bytes());
        out.extend(self.digest.as_bytes());
        encoding::put_signed(out, self.sender, &self.signature);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            view: encoding::view(reader)?,
            sequence: encoding::sequence(reader)?,
            digest: encoding::hash(reader)?,
            sender: encoding::replica(reader)?,
            signature: encoding::signature(reader)?,
        })
    }
}

fn statement(phase: Phase, view: View, sequence: Sequence, digest: Hash256) -> Statement {
    match phase {
        Phase::Prepare => Statement::prepare(view, sequence, digest),
        Phase::Commit => Statement::commit(view, sequence, digest),
    }
}

/// A vote with its phase.
#[derive(Clone, Copy, Debug)]
pub struct SignedVote<'a> {
    phase: Phase,
    vote: &'a Vote,
}

impl Signed for SignedVote<'_> {
    fn statement(&self) -> Statement {
        statement(self.phase, self.vote.view, self.vote.sequence, self.vote.digest)
    }

    fn sender(&self) -> ReplicaId {
        self.vote.sender
    }

    fn signature(&self) -> &Signature {
        &self.vote.signature
    }
}
