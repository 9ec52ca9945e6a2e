//! How a replica gets what it missed within the window; what is further back comes by sync.

use std::sync::Arc;

use pentad_primitives::Hash256;
use pentad_primitives::encode::Reader;

use crate::certificate::CommitCertificate;
use crate::credentials::{Credentials, Signed};
use crate::domain::Statement;
use crate::encoding::{self, DecodeError};
use crate::identifiers::ReplicaId;
use crate::keys::{Keys, Signature};

/// Asks for the body of a block. Signed, so that nobody can have bodies sent to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FetchBody {
    /// Hash of the block.
    pub digest: Hash256,
    /// Who asks.
    pub sender: ReplicaId,
    /// The sender's signature.
    pub signature: Signature,
}

impl FetchBody {
    /// Asks.
    #[must_use]
    pub fn sign<K: Keys>(credentials: &Credentials<K>, digest: Hash256) -> Self {
        let signature = credentials.sign(&Statement::fetch_body(digest));
        Self { digest, sender: credentials.own, signature }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.digest.as_bytes());
        encoding::put_signed(out, self.sender, &self.signature);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            digest: encoding::hash(reader)?,
            sender: encoding::replica(reader)?,
            signature: encoding::signature(reader)?,
        })
    }
}

impl Signed for FetchBody {
    fn statement(&self) -> Statement {
        Statement::fetch_body(self.digest)
    }

    fn sender(&self) -> ReplicaId {
        self.sender
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }
}

/// The body of a block in flight.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Body {
    /// Hash of the block.
    pub digest: Hash256,
    /// The block in Bitcoin's serialization.
    pub body: Arc<[u8]>,
}

impl Body {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.digest.as_bytes());
        encoding::put_body(out, &self.body);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { digest: encoding::hash(reader)?, body: encoding::body(reader)? })
    }
}

/// A final block, for a replica that missed it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Certified {
    /// What makes it final.
    pub certificate: CommitCertificate,
    /// The block in Bitcoin's serialization.
    pub body: Arc<[u8]>,
}

impl Certified {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        self.certificate.encode(out);
        encoding::put_body(out, &self.body);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let certificate = CommitCertificate::decode(reader)?;
        Ok(Self { certificate, body: encoding::body(reader)? })
    }
}
