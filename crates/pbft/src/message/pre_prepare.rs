//! PRE-PREPARE (section 4.2 of the paper).

use std::sync::Arc;

use pentad_primitives::Hash256;
use pentad_primitives::encode::Reader;

use crate::credentials::{Credentials, Signed};
use crate::domain::Statement;
use crate::encoding::{self, DecodeError};
use crate::identifiers::{ReplicaId, Sequence, View};
use crate::keys::{Keys, Signature};

/// The signed part of a proposal; it stands in certificates and in NEW-VIEWs without the body.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignedPrePrepare {
    /// The view it is proposed in.
    pub view: View,
    /// The sequence it is proposed for.
    pub sequence: Sequence,
    /// Hash of the block.
    pub digest: Hash256,
    /// Hash of the block below it.
    pub parent: Hash256,
    /// The view's primary.
    pub sender: ReplicaId,
    /// The primary's signature.
    pub signature: Signature,
}

impl SignedPrePrepare {
    /// Proposes a block.
    #[must_use]
    pub fn sign<K: Keys>(
        credentials: &Credentials<K>,
        view: View,
        sequence: Sequence,
        digest: Hash256,
        parent: Hash256,
    ) -> Self {
        let statement = Statement::pre_prepare(view, sequence, digest, parent);
        let signature = credentials.sign(&statement);
        Self { view, sequence, digest, parent, sender: credentials.own, signature }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.view.get().to_le_bytes());
        out.extend(self.sequence.get().to_le_bytes());
        out.extend(self.digest.as_bytes());
        out.extend(self.parent.as_bytes());
        encoding::put_signed(out, self.sender, &self.signature);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            view: encoding::view(reader)?,
            sequence: encoding::sequence(reader)?,
            digest: encoding::hash(reader)?,
            parent: encoding::hash(reader)?,
            sender: encoding::replica(reader)?,
            signature: encoding::signature(reader)?,
        })
    }
}

impl Signed for SignedPrePrepare {
    fn statement(&self) -> Statement {
        Statement::pre_prepare(self.view, self.sequence, self.digest, self.parent)
    }

    fn sender(&self) -> ReplicaId {
        self.sender
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }
}

/// A proposal with the block itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PrePrepare {
    /// What the primary signed.
    pub signed: SignedPrePrepare,
    /// The block in Bitcoin's serialization; `signed.digest` is its hash.
    pub body: Arc<[u8]>,
}

impl PrePrepare {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        self.signed.encode(out);
        encoding::put_body(out, &self.body);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let signed = SignedPrePrepare::decode(reader)?;
        Ok(Self { signed, body: encoding::body(reader)? })
    }
}
