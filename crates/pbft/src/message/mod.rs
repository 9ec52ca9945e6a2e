//! What replicas say to each other, and its one encoding.

mod catch_up;
mod checkpoint;
mod new_view;
mod pre_prepare;
#[cfg(test)]
mod tests;
mod view_change;
mod vote;

pub use catch_up::{Body, Certified, FetchBody};
pub use checkpoint::Checkpoint;
pub use new_view::{NewView, NewViewError};
use pentad_primitives::encode::Reader;
pub use pre_prepare::{PrePrepare, SignedPrePrepare};
pub use view_change::{ViewChange, ViewChangeError};
pub use vote::{Phase, Vote};

use crate::encoding::{self, DecodeError};
use crate::identifiers::ReplicaId;

/// Most bytes of a message: a body and what stands around it, or the largest NEW-VIEW.
pub const MESSAGE_LEN_MAX: usize = 7 * 1024 * 1024;

/// A message between replicas. `docs/protocol/pbft.md` has source and target of each.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Message {
    /// The primary proposes a block.
    PrePrepare(PrePrepare),
    /// A backup accepted a proposal.
    Prepare(Vote),
    /// A replica is prepared.
    Commit(Vote),
    /// A replica's state at a checkpoint height.
    Checkpoint(Checkpoint),
    /// A replica left the views below one.
    ViewChange(ViewChange),
    /// The primary of a view starts it.
    NewView(NewView),
    /// A replica asks for a body.
    FetchBody(FetchBody),
    /// A body that was asked for; unsigned, the digest names it.
    Body(Body),
    /// A final block; unsigned, the certificate proves it.
    Certified(Certified),
}

const PRE_PREPARE: u8 = 1;
const PREPARE: u8 = 2;
const COMMIT: u8 = 3;
const CHECKPOINT: u8 = 4;
const VIEW_CHANGE: u8 = 5;
const NEW_VIEW: u8 = 6;
const FETCH_BODY: u8 = 7;
const BODY: u8 = 8;
const CERTIFIED: u8 = 9;

impl Message {
    /// Its name, for logs and metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::PrePrepare(_) => "pre-prepare",
            Self::Prepare(_) => "prepare",
            Self::Commit(_) => "commit",
            Self::Checkpoint(_) => "checkpoint",
            Self::ViewChange(_) => "view-change",
            Self::NewView(_) => "new-view",
            Self::FetchBody(_) => "fetch-body",
            Self::Body(_) => "body",
            Self::Certified(_) => "certified",
        }
    }

    /// Who claims to have signed it; none for what is not signed by one replica.
    #[must_use]
    pub const fn sender(&self) -> Option<ReplicaId> {
        match self {
            Self::PrePrepare(message) => Some(message.signed.sender),
            Self::Prepare(vote) | Self::Commit(vote) => Some(vote.sender),
            Self::Checkpoint(message) => Some(message.sender),
            Self::ViewChange(message) => Some(message.sender),
            Self::NewView(message) => Some(message.sender),
            Self::FetchBody(message) => Some(message.sender),
            Self::Body(_) | Self::Certified(_) => None,
        }
    }

    /// The canonical encoding: one byte for the kind, then its fields.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::PrePrepare(message) => {
                out.push(PRE_PREPARE);
                message.encode(&mut out);
            }
            Self::Prepare(vote) => {
                out.push(PREPARE);
                vote.encode(&mut out);
            }
            Self::Commit(vote) => {
                out.push(COMMIT);
                vote.encode(&mut out);
            }
            Self::Checkpoint(message) => {
                out.push(CHECKPOINT);
                message.encode(&mut out);
            }
            Self::ViewChange(message) => {
                out.push(VIEW_CHANGE);
                message.encode(&mut out);
            }
            Self::NewView(message) => {
                out.push(NEW_VIEW);
                message.encode(&mut out);
            }
            Self::FetchBody(message) => {
                out.push(FETCH_BODY);
                message.encode(&mut out);
            }
            Self::Body(message) => {
                out.push(BODY);
                message.encode(&mut out);
            }
            Self::Certified(message) => {
                out.push(CERTIFIED);
                message.encode(&mut out);
            }
        }
        out
    }

    /// From exactly its canonical encoding. Signatures are not checked here.
    ///
    /// # Errors
    /// When the bytes are any other.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > MESSAGE_LEN_MAX {
            return Err(DecodeError::TooLong(bytes.len()));
        }
        encoding::exactly(bytes, Self::decode)
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match reader.u8()? {
            PRE_PREPARE => Self::PrePrepare(PrePrepare::decode(reader)?),
            PREPARE => Self::Prepare(Vote::decode(reader)?),
            COMMIT => Self::Commit(Vote::decode(reader)?),
            CHECKPOINT => Self::Checkpoint(Checkpoint::decode(reader)?),
            VIEW_CHANGE => Self::ViewChange(ViewChange::decode(reader)?),
            NEW_VIEW => Self::NewView(NewView::decode(reader)?),
            FETCH_BODY => Self::FetchBody(FetchBody::decode(reader)?),
            BODY => Self::Body(Body::decode(reader)?),
            CERTIFIED => Self::Certified(Certified::decode(reader)?),
            unknown => return Err(DecodeError::UnknownKind(unknown)),
        })
    }
}
