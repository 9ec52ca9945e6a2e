//! Third stage: an item's place in the chain.

use pentad_primitives::hash::BlockHash;
use pentad_primitives::pow::CompactTarget;
use pentad_primitives::{Amount, BlockHeader, BlockHeight, OutPoint, Transaction, TxOut, Utxo};
use thiserror::Error;

use crate::coinbase;
use crate::difficulty;
use crate::spec::ChainSpec;

/// Below this, a lock time is a height; from it on, Unix seconds (Bitcoin's rule).
pub const LOCK_TIME_THRESHOLD: u32 = 500_000_000;
/// A sequence that does not ask for the lock time to hold.
pub const SEQUENCE_FINAL: u32 = u32::MAX;

/// What the chain demands of the block that follows a given parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockContext {
    /// Hash of the parent.
    pub prev_block_hash: BlockHash,
    /// Height of the block.
    pub height: BlockHeight,
    /// Median time of the 11 blocks up to the parent, Unix seconds: what lock times are held
    /// against (BIP113).
    pub median_time_past: u32,
    /// The least time that the block may have, Unix seconds. Under proof of work just above the
    /// median time past, under PBFT its parent's.
    pub min_time: u32,
    /// The target it must have.
    pub bits: CompactTarget,
}

/// Blocks whose median time counts (Bitcoin's rule).
const MEDIAN_TIME_BLOCKS: usize = 11;

impl BlockContext {
    /// What the chain demands of the block after `parent`; `times` are those of the parent, its
    /// parent and so on. `None`: heights are used up.
    pub fn after(
        spec: &ChainSpec,
        parent: BlockHash,
        parent_height: BlockHeight,
        times: impl IntoIterator<Item = u32>,
    ) -> Option<Self> {
        let mut times = times.into_iter().take(MEDIAN_TIME_BLOCKS).peekable();
        let parent_time = times.peek().copied()?;
        let median_time_past = median_time(times);
        Some(Self {
            prev_block_hash: parent,
            height: parent_height.next()?,
            median_time_past,
            min_time: match spec.pow() {
                Some(_) => median_time_past.saturating_add(1),
                None => parent_time,
            },
            bits: difficulty::next_bits(spec, parent_height, parent_time),
        })
    }
}

/// The median of the times of a block, its parent and so on; of eleven at most.
pub fn median_time(times: impl IntoIterator<Item = u32>) -> u32 {
    let mut times: Vec<u32> = times.into_iter().take(MEDIAN_TIME_BLOCKS).collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or(0)
}

/// Why a header does not fit its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// Difficulty asks for another target.
    #[error("bits are {found}, must be {expected}")]
    Bits {
        /// What difficulty asks for.
        expected: CompactTarget,
        /// As in the header.
        found: CompactTarget,
    },
    /// Time must not run backwards.
    #[error("block time {time} is less than the blocks before it allow, {min_time}")]
    TimeTooOld {
        /// As in the header.
        time: u32,
        /// The least that it may be.
        min_time: u32,
    },
}

/// Why a transaction cannot enter a block at this place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TransactionError {
    /// It spends what does not exist, or no more.
    #[error("input {input} spends {outpoint}, which is not an unspent output")]
    MissingInput {
        /// Position of the input.
        input: usize,
        /// What it spends.
        outpoint: OutPoint,
    },
    /// It spends what another transaction of its block spends.
    #[error("input {input} spends {outpoint}, which its block spends before")]
    SpentInBlock {
        /// Position of the input.
        input: usize,
        /// What it spends.
        outpoint: OutPoint,
    },
    /// It spends a coinbase too early.
    #[error("input {input} spends a coinbase of height {created}, not mature at {height}")]
    ImmatureCoinbase {
        /// Position of the input.
        input: usize,
        /// Height of the coinbase.
        created: BlockHeight,
        /// Height of the spending block.
        height: BlockHeight,
    },
    /// What it spends is no amount.
    #[error("inputs exceed 21 million coins")]
    InputOverflow,
    /// It pays more than it spends.
    #[error("outputs of {outputs} exceed inputs of {inputs}")]
    OutputsExceedInputs {
        /// Sum of the outputs.
        outputs: Amount,
        /// Sum of the outputs spent.
        inputs: Amount,
    },
    /// Its lock time is still ahead.
    #[error("lock time {lock_time} is not reached")]
    NotFinal {
        /// As in the transaction: a height or Unix seconds.
        lock_time: u32,
    },
}

/// Why a block does not fit its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BlockError {
    /// The coinbase names another height (BIP34).
    #[error("coinbase names another height than {expected}")]
    CoinbaseHeight {
        /// The block's.
        expected: BlockHeight,
    },
    /// Its coinbase exists already (BIP30).
    #[error("output {outpoint} of the coinbase exists already")]
    DuplicateCoinbase {
        /// The output.
        outpoint: OutPoint,
    },
    /// The coinbase pays more than subsidy and fees.
    #[error("coinbase pays {paid}, more than subsidy and fees of {allowed}")]
    CoinbaseExcess {
        /// Sum of its outputs.
        paid: Amount,
        /// Subsidy and fees.
        allowed: Amount,
    },
    /// Under PBFT: the reward goes to one address, in one output.
    #[error("coinbase has {found} outputs, must have one under PBFT")]
    CoinbaseOutputs {
        /// How many it has.
        found: usize,
    },
    /// Under PBFT: the reward is a validator's.
    #[error("coinbase does not pay to the payout address of a validator")]
    CoinbasePayee,
    /// Under PBFT: the coinbase pays all there is to pay.
    #[error("coinbase pays {paid}, must pay subsidy and fees of {expected} under PBFT")]
    CoinbaseAmount {
        /// Its output.
        paid: Amount,
        /// Subsidy and fees.
        expected: Amount,
    },
    /// Under PBFT: a block without transactions is a heartbeat, if the spec asks for any.
    #[error("block has no transactions, and the chain spec asks for no heartbeats")]
    Empty,
    /// The fees together are no amount.
    #[error("fees exceed 21 million coins")]
    FeeOverflow,
    /// A transaction cannot be here.
    #[error("transaction {index}: {source}")]
    Transaction {
        /// Position in the block.
        index: usize,
        /// Its fault.
        source: TransactionError,
    },
}

/// Checks a header against what its parent's chain demands.
///
/// # Errors
/// The rule broken.
pub fn check_header(header: &BlockHeader, context: &BlockContext) -> Result<(), HeaderError> {
    let (found, expected) = (header.bits, context.bits);
    if found != expected {
        return Err(HeaderError::Bits { expected, found });
    }
    let (time, min_time) = (header.time, context.min_time);
    if time < min_time {
        return Err(HeaderError::TimeTooOld { time, min_time });
    }
    Ok(())
}

/// May a block of this height and median time past hold the transaction? (nLockTime, BIP113)
#[must_use]
pub fn is_final(transaction: &Transaction, height: BlockHeight, median_time_past: u32) -> bool {
    let lock_time = transaction.lock_time;
    let passed = if lock_time < LOCK_TIME_THRESHOLD { height.get() } else { median_time_past };
    lock_time == 0
        || lock_time < passed
        || transaction.inputs.iter().all(|input| input.sequence == SEQUENCE_FINAL)
}

/// Checks that the lock time is reached.
///
/// # Errors
/// [`TransactionError::NotFinal`].
pub fn check_final(
    transaction: &Transaction,
    height: BlockHeight,
    median_time_past: u32,
) -> Result<(), TransactionError> {
    if is_final(transaction, height, median_time_past) {
        return Ok(());
    }
    Err(TransactionError::NotFinal { lock_time: transaction.lock_time })
}

/// Checks the amounts and the maturity of what a transaction spends in a block of `height`, and
/// returns its fee. `spent` are the outputs that its inputs name, in order.
///
/// # Errors
/// The first rule broken.
pub fn check_spends(
    transaction: &Transaction,
    spent: &[Utxo],
    height: BlockHeight,
    maturity: u32,
) -> Result<Amount, TransactionError> {
    for (input, utxo) in spent.iter().enumerate() {
        if !coinbase::is_mature(utxo, height, maturity) {
            let created = utxo.height;
            return Err(TransactionError::ImmatureCoinbase { input, created, height });
        }
    }
    let inputs = Amount::sum(spent.iter().map(|utxo| utxo.output.amount))
        .map_err(|_| TransactionError::InputOverflow)?;
    // Its form was checked: the outputs have a sum. Were it not, no inputs would cover it.
    let outputs = sum(&transaction.outputs).unwrap_or(Amount::MAX_MONEY);
    inputs.checked_sub(outputs).ok_or(TransactionError::OutputsExceedInputs { outputs, inputs })
}

/// The sum of outputs; `None` if it is no amount.
pub(crate) fn sum(outputs: &[TxOut]) -> Option<Amount> {
    Amount::sum(outputs.iter().map(|output| output.amount)).ok()
}
