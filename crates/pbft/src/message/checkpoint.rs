//! CHECKPOINT (section 4.3 of the paper).

use pentad_primitives::Hash256;
use pentad_primitives::encode::Reader;

use crate::credentials::{Credentials, Signed};
use crate::domain::Statement;
use crate::encoding::{self, DecodeError};
use crate::identifiers::{ReplicaId, Sequence};
use crate::keys::{Keys, Signature};

/// A replica's state after the block at a checkpoint height.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Checkpoint {
    /// The sequence of the block.
    pub sequence: Sequence,
    /// Hash of the block.
    pub digest: Hash256,
    /// Root of the UTXO set after it.
    pub root: Hash256,
    /// Whose state it is.
    pub sender: ReplicaId,
    /// The sender's signature.
    pub signature: Signature,
}

impl Checkpoint {
    /// States the replica's own root.
    #[must_use]
    pub fn sign<K: Keys>(
        credentials: &Credentials<K>,
        sequence: Sequence,
        digest: Hash256,
        root: Hash256,
    ) -> Self {
        let signature = credentials.sign(&Statement::checkpoint(sequence, digest, root));
        Self { sequence, digest, root, sender: credentials.own, signature }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.sequence.get().to_le_bytes());
        out.extend(self.digest.as_bytes());
        out.extend(self.root.as_bytes());
        encoding::put_signed(out, self.sender, &self.signature);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            sequence: encoding::sequence(reader)?,
            digest: encoding::hash(reader)?,
            root: encoding::hash(reader)?,
            sender: encoding::replica(reader)?,
            signature: encoding::signature(reader)?,
        })
    }
}

impl Signed for Checkpoint {
    fn statement(&self) -> Statement {
        Statement::checkpoint(self.sequence, self.digest, self.root)
    }

    fn sender(&self) -> ReplicaId {
        self.sender
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }
}
