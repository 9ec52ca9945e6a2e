//! The safety log: what a replica writes down before it speaks, so that it never contradicts
//! itself after a restart.

use std::sync::Arc;

use pentad_primitives::Hash256;
use pentad_primitives::encode::Reader;

use crate::certificate::PreparedCertificate;
use crate::encoding::{self, DecodeError};
use crate::identifiers::{ReplicaId, Sequence};
use crate::keys::Signature;
use crate::message::{Checkpoint, NewView, PrePrepare, ViewChange};

/// A checkpoint that a quorum agrees on (section 4.3 of the paper).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StableCheckpoint {
    /// Its sequence: the low watermark.
    pub sequence: Sequence,
    /// Hash of its block.
    pub digest: Hash256,
    /// Root of the UTXO set after the block.
    pub root: Hash256,
    /// CHECKPOINT signatures of distinct replicas, in the order of the replicas.
    pub signatures: Vec<(ReplicaId, Signature)>,
}

/// One entry of the safety log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Record {
    /// The replica left the views below; it sends these bytes and no others.
    ViewChange(ViewChange),
    /// The replica entered a view.
    NewView(NewView),
    /// The replica accepted a proposal, or made it: it prepares nothing else at its sequence in
    /// its view.
    PrePrepare(PrePrepare),
    /// The replica is prepared, and says so in every later view change.
    Prepared(PreparedCertificate),
    /// The replica's own state at a checkpoint height.
    Checkpoint(Checkpoint),
    /// What a quorum agrees on.
    StableCheckpoint(StableCheckpoint),
}

const VIEW_CHANGE: u8 = 1;
const NEW_VIEW: u8 = 2;
const PRE_PREPARE: u8 = 3;
const PREPARED: u8 = 4;
const CHECKPOINT: u8 = 5;
const STABLE_CHECKPOINT: u8 = 6;

impl Record {
    /// The canonical encoding: one byte for the kind, then as on the wire.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::ViewChange(message) => {
                out.push(VIEW_CHANGE);
                message.encode(&mut out);
            }
            Self::NewView(message) => {
                out.push(NEW_VIEW);
                message.encode(&mut out);
            }
            Self::PrePrepare(message) => {
                out.push(PRE_PREPARE);
                message.encode(&mut out);
            }
            Self::Prepared(certificate) => {
                out.push(PREPARED);
                certificate.encode(&mut out);
            }
            Self::Checkpoint(message) => {
                out.push(CHECKPOINT);
                message.encode(&mut out);
            }
            Self::StableCheckpoint(checkpoint) => {
                out.push(STABLE_CHECKPOINT);
                checkpoint.encode(&mut out);
            }
        }
        out
    }

    /// Length of the encoding in bytes, without copying a body.
    pub(crate) fn encoded_len(&self) -> usize {
        match self {
            Self::PrePrepare(PrePrepare { signed, body }) => {
                let empty = PrePrepare { signed: signed.clone(), body: Arc::from([]) };
                let rest = Self::PrePrepare(empty).to_bytes();
                rest.len().saturating_add(body.len())
            }
            other => other.to_bytes().len(),
        }
    }

    /// From exactly its canonical encoding.
    ///
    /// # Errors
    /// When the bytes are any other.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        encoding::exactly(bytes, |reader| {
            Ok(match reader.u8()? {
                VIEW_CHANGE => Self::ViewChange(ViewChange::decode(reader)?),
                NEW_VIEW => Self::NewView(NewView::decode(reader)?),
                PRE_PREPARE => Self::PrePrepare(PrePrepare::decode(reader)?),
                PREPARED => Self::Prepared(PreparedCertificate::decode(reader)?),
                CHECKPOINT => Self::Checkpoint(Checkpoint::decode(reader)?),
                STABLE_CHECKPOINT => Self::StableCheckpoint(StableCheckpoint::decode(reader)?),
                unknown => return Err(DecodeError::UnknownKind(unknown)),
            })
        })
    }
}

impl StableCheckpoint {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.sequence.get().to_le_bytes());
        out.extend(self.digest.as_bytes());
        out.extend(self.root.as_bytes());
        encoding::put_signatures(out, &self.signatures);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            sequence: encoding::sequence(reader)?,
            digest: encoding::hash(reader)?,
            root: encoding::hash(reader)?,
            signatures: encoding::signatures(reader)?,
        })
    }
}
