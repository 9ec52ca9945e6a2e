//! The way of a block into the store, as spans of the traces that it belongs to.

use std::time::SystemTime;

use pentad_ledger::verify::CheckedBlock;
use pentad_primitives::BlockHash;
use pentad_service_kit::telemetry::{BlockSpans, BlockTrace};

use super::Writer;

/// A block that is connected and not shown to readers yet. Its spans end with it.
#[derive(Debug)]
pub(super) struct TracedBlock {
    hash: BlockHash,
    spans: BlockSpans,
}

impl TracedBlock {
    /// A block was checked and connected since `began`; meanwhile its outputs were `written`.
    pub(super) fn connected(
        hash: BlockHash,
        trace: &BlockTrace,
        began: SystemTime,
        written: Option<(SystemTime, SystemTime)>,
    ) -> Self {
        let spans = trace.begin_at(module_path!(), "chain.connect", began);
        if let Some((start, end)) = written {
            let below = spans.trace();
            below.record(module_path!(), "chain.check", began, start);
            below.record(module_path!(), "utxo.write", start, end);
        }
        Self { hash, spans }
    }

    /// The block was made durable since `began`.
    pub(super) fn durable(&self, began: SystemTime) {
        self.trace().record(module_path!(), "block.fsync", began, SystemTime::now());
    }

    pub(super) const fn hash(&self) -> BlockHash {
        self.hash
    }

    /// For whoever hears of the block.
    pub(super) fn trace(&self) -> BlockTrace {
        self.spans.trace()
    }
}

impl Writer {
    /// The traces that a block belongs to: if its sender named no transactions, those that this
    /// node knows of itself.
    pub(super) fn traced(&self, block: &CheckedBlock, given: BlockTrace) -> BlockTrace {
        if !given.transactions().is_empty() {
            return given;
        }
        let known = self.published.traces.among(block.txids());
        BlockTrace::new(given.block(), known)
    }
}
