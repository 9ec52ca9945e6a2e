//! Which transactions of the mempool are traced, and which of the last blocks. The ledger knows
//! nothing of it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pentad_primitives::{BlockHash, Txid};
use pentad_service_kit::telemetry::block::TRACED_TRANSACTIONS_MAX;
use pentad_service_kit::telemetry::{BlockTrace, TraceContext};

/// Traced transactions that are remembered while they wait; beyond that the oldest are forgotten.
const WAITING_MAX: usize = 4_096;
/// Blocks whose traces are remembered for those who follow: they are a few blocks behind at most.
const BLOCKS_MAX: usize = 16;

/// Cheap while nothing is traced. Std mutexes are right: they are held for a few instructions.
#[derive(Debug, Default)]
pub(crate) struct Traces {
    waiting: Mutex<Waiting>,
    /// How many wait, so that nobody locks for nothing.
    count: AtomicUsize,
    blocks: Mutex<VecDeque<(BlockHash, BlockTrace)>>,
}

#[derive(Debug, Default)]
struct Waiting {
    contexts: HashMap<Txid, (u64, TraceContext)>,
    /// In the order of their arrival.
    order: BTreeMap<u64, Txid>,
    next: u64,
}

impl Traces {
    /// A transaction is about to enter the mempool. False, and nothing is changed, where it is
    /// known already.
    pub(crate) fn insert(&self, txid: Txid, context: TraceContext) -> bool {
        let mut waiting = self.waiting();
        if waiting.contexts.contains_key(&txid) {
            return false;
        }
        let number = waiting.next;
        waiting.next += 1;
        waiting.contexts.insert(txid, (number, context));
        waiting.order.insert(number, txid);
        if waiting.contexts.len() > WAITING_MAX
            && let Some((_, oldest)) = waiting.order.pop_first()
        {
            waiting.contexts.remove(&oldest);
        }
        self.count.store(waiting.contexts.len(), Ordering::Relaxed);
        true
    }

    /// A transaction has left the mempool, or did not enter it.
    pub(crate) fn remove(&self, txid: &Txid) {
        if self.is_idle() {
            return;
        }
        let mut waiting = self.waiting();
        if let Some((number, _)) = waiting.contexts.remove(txid) {
            waiting.order.remove(&number);
        }
        self.count.store(waiting.contexts.len(), Ordering::Relaxed);
    }

    /// The span that a transaction of the mempool belongs to.
    pub(crate) fn get(&self, txid: &Txid) -> Option<TraceContext> {
        if self.is_idle() {
            return None;
        }
        self.waiting().contexts.get(txid).map(|(_, context)| *context)
    }

    /// The same as W3C traceparent; empty: none.
    pub(crate) fn traceparent(&self, txid: &Txid) -> String {
        self.get(txid).map(|context| context.to_string()).unwrap_or_default()
    }

    /// Spans that transactions of a block belong to.
    pub(crate) fn among(&self, txids: &[Txid]) -> Vec<TraceContext> {
        if self.is_idle() {
            return Vec::new();
        }
        let waiting = self.waiting();
        let known = txids.iter().filter_map(|txid| waiting.contexts.get(txid));
        known.map(|(_, context)| *context).take(TRACED_TRANSACTIONS_MAX).collect()
    }

    /// A block is about to be told of.
    pub(crate) fn on_block(&self, hash: BlockHash, trace: BlockTrace) {
        if trace.is_empty() {
            return;
        }
        let mut blocks = self.blocks();
        blocks.truncate(BLOCKS_MAX - 1);
        blocks.push_front((hash, trace));
    }

    /// The traces that a block belongs to, if it is one of the last.
    pub(crate) fn of_block(&self, hash: &BlockHash) -> BlockTrace {
        let blocks = self.blocks();
        let found = blocks.iter().find(|(known, _)| known == hash);
        found.map(|(_, trace)| trace.clone()).unwrap_or_default()
    }

    fn is_idle(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn blocks(&self) -> MutexGuard<'_, VecDeque<(BlockHash, BlockTrace)>> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn txid(number: usize) -> Txid {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        Txid::from_bytes(bytes)
    }

    fn context(number: usize) -> TraceContext {
        let parent = format!("00-{number:032x}-{number:016x}-01");
        TraceContext::from_traceparent(&parent).expect("valid")
    }

    #[test]
    fn what_waits_is_bounded_and_the_oldest_go() {
        let traces = Traces::default();
        for number in 1..=WAITING_MAX + 10 {
            assert!(traces.insert(txid(number), context(number)));
        }
        assert_eq!(traces.waiting().contexts.len(), WAITING_MAX);
        assert_eq!(traces.waiting().order.len(), WAITING_MAX);
        assert_eq!(traces.get(&txid(10)), None);
        assert_eq!(traces.get(&txid(11)), Some(context(11)));
        for number in 1..=WAITING_MAX + 10 {
            traces.remove(&txid(number));
        }
        assert!(traces.is_idle() && traces.waiting().order.is_empty());
    }

    /// Handing a transaction in again, to wait for it, is another trace.
    #[test]
    fn the_first_trace_of_a_transaction_is_its_trace() {
        let traces = Traces::default();
        assert!(traces.insert(txid(1), context(1)));
        assert!(!traces.insert(txid(1), context(2)));
        assert_eq!(traces.among(&[txid(9), txid(1)]), [context(1)]);
    }

    #[test]
    fn the_last_blocks_are_remembered() {
        let traces = Traces::default();
        let hash = |number: usize| BlockHash::from_bytes(txid(number).to_bytes());
        for number in 1..=BLOCKS_MAX + 1 {
            traces.on_block(hash(number), BlockTrace::new(None, [context(number)]));
        }
        assert!(traces.of_block(&hash(1)).is_empty());
        assert_eq!(traces.of_block(&hash(2)), BlockTrace::new(None, [context(2)]));
        assert_eq!(traces.blocks().len(), BLOCKS_MAX);
    }
}
