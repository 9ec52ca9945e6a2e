use pentad_api::chain::v1::RemovalReason;
use pentad_api::{Failure, FieldError};
use pentad_ledger::verify::Fault;
use pentad_primitives::{BlockHash, BlockHeight, Txid};
use pentad_store::log::LogError;
use pentad_store::{DataDirError, IndexError, StoreError};
use thiserror::Error;
use tonic::{Code, Status};

use crate::refusal::Refusal;
use crate::writer::{NotOnTip, TemplateRefused};

/// Why a call to the chain service fails.
#[derive(Debug, Error)]
pub enum ChainError {
    /// A field of the request is missing or malformed.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// A number in the request is over its cap.
    #[error("{field}: {found} is more than the cap of {max}")]
    TooMany {
        /// Name of the field.
        field: &'static str,
        /// What was asked for.
        found: usize,
        /// The cap.
        max: usize,
    },
    /// No block has this hash.
    #[error("block {0} is not known")]
    UnknownBlock(BlockHash),
    /// The main chain does not reach this height.
    #[error("no block at height {height}")]
    UnknownHeight {
        /// What was asked for.
        height: BlockHeight,
        /// The tip's.
        tip: BlockHeight,
    },
    /// No transaction has this id, neither on the main chain nor in the mempool.
    #[error("transaction {0} is neither on the main chain nor in the mempool")]
    UnknownTransaction(Txid),
    /// A block breaks a rule.
    #[error("block refused: {}", .0.message)]
    Block(Refusal),
    /// A transaction breaks a rule.
    #[error("transaction refused: {}", .0.message)]
    Transaction(Refusal),
    /// No block of the main chain holds the transaction.
    #[error("transaction {0} is not on the main chain")]
    Unconfirmed(Txid),
    /// What is asked about finality has no answer here, or none yet.
    #[error(transparent)]
    Finality(#[from] FinalityError),
    /// The transaction will not be in a block: something else took its place.
    #[error("transaction {txid} left the mempool without a block: {}", reason.as_str_name())]
    Departed {
        /// The transaction.
        txid: Txid,
        /// Why it left.
        reason: RemovalReason,
    },
    /// So many calls wait already.
    #[error("too many calls wait for finality")]
    TooManyWaiting,
    /// A proposal is on another block than the tip.
    #[error("the proposal is on block {}, the tip is {}", .0.parent, .0.tip)]
    NotOnTip(NotOnTip),
    /// The main chain left the part of it that a stream has sent.
    #[error("the chain left block {0}, which had been sent")]
    Reorganised(BlockHash),
    /// One verification at a time.
    #[error("a verification is under way")]
    Verifying,
    /// More has changed during a verification than it keeps in memory.
    #[error("the chain has moved on too far while its index was read")]
    MovedOn,
    /// The hash of the UTXO set is known near the tip only.
    #[error("height {height} is more than {max} blocks below the tip")]
    TooDeep {
        /// What was asked for.
        height: BlockHeight,
        /// How many blocks are taken back.
        max: u32,
    },
    /// This node does not keep the hash of the UTXO set.
    #[error("this node keeps no hash of the UTXO set")]
    NoSetHash,
    /// There is no template for this request.
    #[error("no block template: {}", .0.0)]
    Template(TemplateRefused),
    /// The data directory cannot be written.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The writer has ended: the service is shutting down or its store failed.
    #[error("the chain service is stopping")]
    Stopped,
    /// A read panicked: a bug.
    #[error("a read of the chain failed unexpectedly")]
    Broken,
}

/// Why a question about finality has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FinalityError {
    /// The network runs on proof of work alone: nothing is ever final.
    #[error("no block of this network is ever final: it runs on proof of work")]
    NoFinality,
    /// Validators make blocks of work final under engine hybrid alone.
    #[error("the blocks of this network are made final as they are made, or never")]
    NotHybrid,
    /// A block that validators may make final later, if ever.
    #[error("{}", not_deep(*.height))]
    NotDeep {
        /// Where it stands; none: it is not here.
        height: Option<BlockHeight>,
    },
    /// The block was made by proof of work, or is genesis.
    #[error("block {0} has no commit certificate")]
    NoCertificate(BlockHash),
}

impl From<IndexError> for ChainError {
    fn from(error: IndexError) -> Self {
        Self::Store(error.into())
    }
}

impl From<LogError> for ChainError {
    fn from(error: LogError) -> Self {
        Self::Store(error.into())
    }
}

impl From<ChainError> for Failure {
    fn from(error: ChainError) -> Self {
        let message = error.to_string();
        match error {
            ChainError::Field(error) => error.into(),
            ChainError::TooMany { field, max, .. } => {
                Self::new(Code::InvalidArgument, "TOO_MANY", message)
                    .with_field(field)
                    .with_hint(format!("ask for {max} at most, several times if need be"))
            }
            ChainError::UnknownBlock(_) => Self::new(Code::NotFound, "UNKNOWN_BLOCK", message)
                .with_hint("the hash is displayed hex, as the tip is in GetInfo"),
            ChainError::UnknownHeight { tip, .. } => {
                Self::new(Code::NotFound, "UNKNOWN_HEIGHT", message)
                    .with_hint(format!("the tip is at height {tip}"))
            }
            ChainError::UnknownTransaction(_) => {
                Self::new(Code::NotFound, "UNKNOWN_TRANSACTION", message)
            }
            ChainError::Unconfirmed(_) => {
                Self::new(Code::NotFound, "UNCONFIRMED_TRANSACTION", message)
                    .with_hint("ExplainTransaction tells where it is")
            }
            ChainError::Finality(error) => error.into(),
            ChainError::Departed { .. } => Self::new(Code::Aborted, "LEFT_MEMPOOL", message)
                .with_hint(
                    "ExplainTransaction tells what became of it; hand it in again if it fits",
                ),
            ChainError::TooManyWaiting => {
                Self::new(Code::ResourceExhausted, "TOO_MANY_WAITING", message)
                    .with_hint("the transaction is in the mempool; follow the tip instead")
            }
            ChainError::NotOnTip(_) => Self::new(Code::FailedPrecondition, "NOT_ON_TIP", message)
                .with_hint("ask again once its parent is the tip"),
            ChainError::Reorganised(_) => Self::new(Code::Aborted, "REORGANISED", message)
                .with_hint("begin again some blocks lower, or follow with FollowTip"),
            ChainError::Block(refusal) => refused(&refusal, message).with_field("block"),
            ChainError::Transaction(refusal) => {
                refused(&refusal, message).with_field("transaction")
            }
            ChainError::Template(_) => {
                Self::new(Code::InvalidArgument, "NO_TEMPLATE", message).with_field("payout_script")
            }
            ChainError::Verifying => Self::new(Code::FailedPrecondition, "VERIFYING", message)
                .with_hint("wait for its end; it also ends when its client goes"),
            ChainError::MovedOn => Self::new(Code::Aborted, "MOVED_ON", message)
                .with_hint("read the answers faster, or try again once the node is in sync"),
            ChainError::TooDeep { .. } => {
                Self::new(Code::FailedPrecondition, "TOO_DEEP", message).with_field("height")
            }
            ChainError::NoSetHash => Self::new(Code::FailedPrecondition, "NO_SET_HASH", message)
                .with_hint(
                    "start it with `store.utxo_set_hash = true`; under PBFT it always keeps it",
                ),
            ChainError::DataDir(error) => {
                tracing::error!(%error, "the data directory cannot be written");
                Self::new(Code::Unavailable, "STORE_FAILED", "the data directory is not writable")
                    .with_hint("the node's log says more")
            }
            ChainError::Store(error) => store_failure(&error),
            ChainError::Stopped => Self::new(Code::Unavailable, "STOPPING", message)
                .with_hint("try again once the node is back"),
            ChainError::Broken => {
                Self::new(Code::Internal, "BROKEN", message).with_hint("the node's log says more")
            }
        }
    }
}

impl From<FinalityError> for Failure {
    fn from(error: FinalityError) -> Self {
        let (code, reason, hint) = match error {
            FinalityError::NoFinality => {
                (Code::FailedPrecondition, "NO_FINALITY", "wait for confirmations instead")
            }
            FinalityError::NotHybrid => {
                (Code::FailedPrecondition, "NOT_HYBRID", "GetInfo tells the engine")
            }
            FinalityError::NotDeep { .. } => {
                (Code::FailedPrecondition, "NOT_DEEP", "ask again when the tip has changed")
            }
            FinalityError::NoCertificate(_) => {
                (Code::NotFound, "NO_CERTIFICATE", "only blocks that PBFT made final have one")
            }
        };
        Self::new(code, reason, error.to_string()).with_hint(hint)
    }
}

impl From<ChainError> for Status {
    fn from(error: ChainError) -> Self {
        Failure::from(error).into()
    }
}

/// What can never be valid is the caller's mistake; what may become valid depends on the state.
fn refused(refusal: &Refusal, message: String) -> Failure {
    let code = match refusal.fault {
        Fault::Invalid | Fault::Mutation => Code::InvalidArgument,
        Fault::Premature => Code::FailedPrecondition,
    };
    let failure = Failure::new(code, refusal.reason, message);
    match refusal.reason {
        "MISSING_INPUT" => failure.with_hint(
            "the output is spent, or its transaction has not reached this node; look it up with \
             GetTransaction",
        ),
        "CONFLICT" => failure.with_hint("wait for the other transaction, or spend other outputs"),
        "FEE_TOO_LOW" => failure.with_hint("GetInfo tells the least fee rate"),
        _ => failure,
    }
}

fn store_failure(error: &StoreError) -> Failure {
    tracing::error!(%error, "the store failed");
    let (code, reason) = match error {
        StoreError::Log(LogError::Damaged { .. } | LogError::MissingSegment { .. })
        | StoreError::Record { .. }
        | StoreError::Index(IndexError::Malformed(_)) => (Code::DataLoss, "DAMAGED"),
        StoreError::Log(_) | StoreError::Index(_) => (Code::Unavailable, "STORE_FAILED"),
        StoreError::Undo(_) | StoreError::UnknownBlock(_) | StoreError::NotAtTip { .. } => {
            (Code::Internal, "BROKEN")
        }
    };
    // Paths of the server are not the caller's business; the log has them.
    Failure::new(code, reason, "the node's store failed").with_hint("the node's log says more")
}

fn not_deep(height: Option<BlockHeight>) -> String {
    match height {
        Some(height) => format!("too few blocks of the main chain stand on block {height}"),
        None => "the block is not here".to_owned(),
    }
}
