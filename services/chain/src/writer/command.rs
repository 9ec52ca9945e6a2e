use pentad_ledger::BlockTemplate;
use pentad_ledger::proposal::Proposal;
use pentad_ledger::verify::CheckedBlock;
use pentad_primitives::pow::Work;
use pentad_primitives::{BlockHash, BlockHeader, BlockHeight, Script, Txid};
use pentad_service_kit::telemetry::BlockTrace;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tracing::Span;

use crate::ahead::Ready;
use crate::finality::Certified;
use crate::flow::{Kind, Waiting};
use crate::refusal::Refusal;

/// What became of a valid block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockOutcome {
    /// It is on the main chain.
    Connected,
    /// It is kept, off the main chain.
    SideBranch,
    /// It was there already.
    AlreadyKnown,
    /// Its parent's header is unknown; it was not kept.
    Orphan,
}

/// What became of a valid transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    /// Its id.
    pub txid: Txid,
    /// False when the mempool or the main chain had it already.
    pub is_new: bool,
}

/// What became of consecutive headers.
#[derive(Clone, Debug)]
pub struct HeadersChecked {
    /// How many from the start were valid.
    pub accepted: usize,
    /// Why the next one was not.
    pub refusal: Option<Refusal>,
    /// Bodies that are wanted, lowest first.
    pub wanted: Vec<BlockHash>,
    /// Work of the best header's chain.
    pub best_work: Work,
    /// Height of the best header.
    pub best_height: BlockHeight,
}

/// A proposal whose parent is not the tip: whether it is valid cannot be said now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotOnTip {
    /// Its parent.
    pub parent: BlockHash,
    /// The tip.
    pub tip: BlockHash,
}

/// What became of a certificate that came by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinalityOutcome {
    /// The block is final now.
    Final,
    /// It was final before.
    AlreadyFinal,
    /// The block, or one below it, is not here yet: it is made final once it is.
    Awaited,
}

/// A template request that cannot be met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateRefused(pub String);

/// Whom a block came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Somebody with the right to submit: side branches of little work are kept too.
    Submitted,
    /// A peer: only bodies that could matter are kept.
    Peer,
}

pub(crate) type Reply<T> = oneshot::Sender<T>;

/// A command on its way through the queue.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) command: Command,
    /// What it takes up in the queue.
    pub(crate) room: OwnedSemaphorePermit,
    /// Counts it as long as it waits.
    pub(crate) waiting: Waiting,
    /// The call that it belongs to.
    pub(crate) span: Span,
}

/// Work for the writer.
#[derive(Debug)]
pub(crate) enum Command {
    /// Connect or keep a block.
    Block {
        block: CheckedBlock,
        certificate: Option<Certified>,
        origin: Origin,
        trace: BlockTrace,
        reply: Reply<Result<BlockOutcome, Refusal>>,
    },
    /// Check a block that is to be agreed on.
    Proposal {
        block: CheckedBlock,
        proposal: Proposal,
        reply: Reply<Result<Result<(), Refusal>, NotOnTip>>,
    },
    /// A body that its own header commits to is invalid: so is the header.
    InvalidBody(BlockHash),
    /// Admit a transaction to the mempool.
    Transaction { ready: Ready, reply: Reply<Result<Admission, Refusal>> },
    /// Admit transactions to the mempool, in order.
    Transactions { ready: Vec<Ready>, reply: Reply<Vec<Result<Admission, Refusal>>> },
    /// Check consecutive headers and keep them.
    Headers {
        headers: Vec<BlockHeader>,
        certificate: Option<Certified>,
        reply: Reply<HeadersChecked>,
    },
    /// Make a block final.
    Finalise { certificate: Certified, reply: Reply<Result<FinalityOutcome, Refusal>> },
    /// Build a block on the tip.
    Template {
        payout: Script,
        extra_nonce: u64,
        reply: Reply<Result<BlockTemplate, TemplateRefused>>,
    },
    /// Write everything to disk and end; the next start rebuilds the index.
    Reindex { reply: Reply<()> },
    /// Write everything to disk and end.
    Stop { reply: Reply<()> },
}

impl Command {
    /// Which queue it waits in. What ends the work waits behind transactions: what was handed in
    /// before it is dealt with first.
    pub(crate) const fn kind(&self) -> Kind {
        match self {
            Self::Transaction { .. }
            | Self::Transactions { .. }
            | Self::Stop { .. }
            | Self::Reindex { .. } => Kind::Transactions,
            Self::Block { .. }
            | Self::Proposal { .. }
            | Self::InvalidBody(_)
            | Self::Headers { .. }
            | Self::Finalise { .. }
            | Self::Template { .. } => Kind::Blocks,
        }
    }
}
