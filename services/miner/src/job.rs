//! What there is to search: one block template, and the many headers that it gives.

use std::time::SystemTime;

use pentad_api::chain::v1::GetTemplateResponse;
use pentad_api::{block_from_bytes, hash_from_bytes};
use pentad_primitives::merkle::{self, Proof};
use pentad_primitives::pow::Target;
use pentad_primitives::{Block, BlockHash, BlockHeader, Script, Transaction, Txid};
use pentad_service_kit::telemetry::BlockTrace;

use crate::error::MinerError;

/// How far a header's time may be rolled ahead of the template's, in seconds. A template is
/// replaced earlier; a slot that tries all of these times searches 2³⁸ headers.
const TIME_ROLL_MAX: u32 = 60;
/// Bytes of an extra nonce in a coinbase.
const EXTRA_NONCE_LEN: usize = 8;

/// A template, ready to give headers. Every extra nonce gives another one.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) height: u32,
    /// The block's own.
    pub(crate) target: Target,
    block: Block,
    /// From the coinbase to the merkle root.
    branch: Proof,
    extra_nonce_offset: usize,
    /// Spans of transactions in it.
    trace: BlockTrace,
    since: SystemTime,
}

/// Where a header with enough work was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Found {
    pub(crate) extra_nonce: u64,
    pub(crate) time: u32,
    pub(crate) nonce: u32,
}

impl Job {
    pub(crate) fn from_message(message: &GetTemplateResponse) -> Result<Self, MinerError> {
        let problem =
            |problem: &dyn ToString| MinerError::Template { problem: problem.to_string() };
        let mut block =
            block_from_bytes("block", &message.block).map_err(|error| problem(&error))?;
        let target = hash_from_bytes("target", &message.target).map_err(|error| problem(&error))?;
        // Blocks may come faster than the clock ticks: then their times run ahead of it.
        block.header.time = block.header.time.max(message.min_time);
        let txids: Vec<Txid> = block.transactions.iter().map(Transaction::txid).collect();
        let branch = merkle::prove(&txids, 0).ok_or_else(|| problem(&"it has no coinbase"))?;
        let job = Self {
            height: message.height,
            target: Target::from_be_bytes(target),
            block,
            branch,
            extra_nonce_offset: message.extra_nonce_offset as usize,
            trace: BlockTrace::from_traceparents("", &message.transaction_traceparents),
            since: SystemTime::now(),
        };
        match job.coinbase(0) {
            Some(_) => Ok(job),
            None => Err(problem(&"its coinbase has no room for an extra nonce")),
        }
    }

    /// Nobody searches it any more: it becomes a span of the transactions in it.
    pub(crate) fn record_end(&self) {
        self.trace.record(module_path!(), "miner.search", self.since, SystemTime::now());
    }

    /// The block that it builds on.
    pub(crate) fn parent(&self) -> BlockHash {
        self.block.header.prev_block_hash
    }

    /// The largest time that its headers may be given, Unix seconds.
    pub(crate) fn time_max(&self) -> u32 {
        self.block.header.time.saturating_add(TIME_ROLL_MAX)
    }

    /// The header of an extra nonce, its nonce 0.
    pub(crate) fn header(&self, extra_nonce: u64) -> BlockHeader {
        let root = self.coinbase(extra_nonce).and_then(|it| self.branch.root(&it.txid()));
        let merkle_root = root.expect("the template was looked at when it came");
        BlockHeader { merkle_root, ..self.block.header }
    }

    /// The header that was found; `None` when its time is none that it may have.
    pub(crate) fn found(&self, found: &Found) -> Option<BlockHeader> {
        let Found { extra_nonce, time, nonce } = *found;
        let times = self.block.header.time..=self.time_max();
        times.contains(&time).then(|| BlockHeader { time, nonce, ..self.header(extra_nonce) })
    }

    /// The block of a header that was found.
    pub(crate) fn solved(&self, found: &Found) -> Option<Block> {
        let header = self.found(found)?;
        let mut block = Block { header, ..self.block.clone() };
        *block.transactions.first_mut()? = self.coinbase(found.extra_nonce)?;
        Some(block)
    }

    fn coinbase(&self, extra_nonce: u64) -> Option<Transaction> {
        let mut coinbase = self.block.transactions.first()?.clone();
        let input = coinbase.inputs.first_mut()?;
        let mut script_sig = input.script_sig.as_bytes().to_vec();
        let end = self.extra_nonce_offset.checked_add(EXTRA_NONCE_LEN)?;
        let place = script_sig.get_mut(self.extra_nonce_offset..end)?;
        place.copy_from_slice(&extra_nonce.to_le_bytes());
        input.script_sig = Script::from(script_sig);
        Some(coinbase)
    }
}
