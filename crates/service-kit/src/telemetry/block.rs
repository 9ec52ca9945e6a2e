//! The traces that a block belongs to (ADR 16).

use std::time::SystemTime;

use super::context::{PACKED_LEN, RecordedSpan, TraceContext};

/// Transactions of a block whose traces get the spans of the block's way. A block may hold
/// thousands, and a few show where the time goes; so tracing stays cheap at any sampling.
pub const TRACED_TRANSACTIONS_MAX: usize = 32;

/// The traces that a block belongs to, as far as they are sampled: its own, and those of
/// transactions in it. What happens to the block is a span in each of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockTrace {
    block: Option<TraceContext>,
    transactions: Vec<TraceContext>,
}

impl BlockTrace {
    /// A block's own span, and spans of transactions in it, of which the first few count.
    pub fn new(
        block: Option<TraceContext>,
        transactions: impl IntoIterator<Item = TraceContext>,
    ) -> Self {
        let transactions = transactions.into_iter().take(TRACED_TRANSACTIONS_MAX).collect();
        Self { block, transactions }
    }

    /// From W3C traceparents; what is malformed or not sampled is left out.
    #[must_use]
    pub fn from_traceparents(block: &str, transactions: &[String]) -> Self {
        let transactions = transactions.iter().take(TRACED_TRANSACTIONS_MAX);
        let transactions = transactions.filter_map(|it| TraceContext::from_traceparent(it));
        Self::new(TraceContext::from_traceparent(block), transactions)
    }

    /// Spans of transactions from their packed form, the first few. What another node sends beside
    /// a message is no reason to refuse it, so what makes no sense is left out.
    #[must_use]
    pub fn from_packed(packed: &[u8]) -> Self {
        let (whole, _) = packed.as_chunks::<PACKED_LEN>();
        let contexts = whole.iter().take(TRACED_TRANSACTIONS_MAX);
        Self::new(None, contexts.filter_map(TraceContext::from_packed))
    }

    /// Spans of transactions in their packed form, for other nodes.
    #[must_use]
    pub fn to_packed(&self) -> Vec<u8> {
        self.transactions.iter().flat_map(|context| context.to_packed()).collect()
    }

    /// Whether nothing is traced.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.block.is_none() && self.transactions.is_empty()
    }

    /// The block's own span.
    #[must_use]
    pub const fn block(&self) -> Option<TraceContext> {
        self.block
    }

    /// Spans of transactions.
    #[must_use]
    pub fn transactions(&self) -> &[TraceContext] {
        &self.transactions
    }

    /// The block's own span as W3C traceparent; empty: none.
    #[must_use]
    pub fn traceparent(&self) -> String {
        self.block.map(|block| block.to_string()).unwrap_or_default()
    }

    /// Spans of transactions as W3C traceparents.
    #[must_use]
    pub fn transaction_traceparents(&self) -> Vec<String> {
        self.transactions.iter().map(TraceContext::to_string).collect()
    }

    /// A trace that shows what happened, for an exemplar.
    #[must_use]
    pub fn example(&self) -> Option<TraceContext> {
        self.transactions.first().copied().or(self.block)
    }

    /// Begins a span in every trace; that of the block and those of the transactions are linked
    /// to each other.
    #[must_use]
    pub fn begin_at(
        &self,
        target: &'static str,
        name: &'static str,
        start: SystemTime,
    ) -> BlockSpans {
        let begin = |block: TraceContext| block.begin_at(target, name, start, &self.transactions);
        let block = self.block.map(begin);
        let link: Vec<TraceContext> = block.iter().map(RecordedSpan::context).collect();
        let begin = |it: &TraceContext| it.begin_at(target, name, start, &link);
        BlockSpans { block, transactions: self.transactions.iter().map(begin).collect() }
    }

    /// Records a span that is over in every trace.
    pub fn record(
        &self,
        target: &'static str,
        name: &'static str,
        start: SystemTime,
        end: SystemTime,
    ) {
        for context in self.block.iter().chain(&self.transactions) {
            context.record(target, name, start, end);
        }
    }
}

/// A span of a block that is under way, in each of its traces.
#[derive(Debug, Default)]
pub struct BlockSpans {
    block: Option<RecordedSpan>,
    transactions: Vec<RecordedSpan>,
}

impl BlockSpans {
    /// For whoever continues them.
    #[must_use]
    pub fn trace(&self) -> BlockTrace {
        let transactions = self.transactions.iter().map(RecordedSpan::context);
        BlockTrace::new(self.block.as_ref().map(RecordedSpan::context), transactions)
    }

    /// Ends them at a time.
    pub fn end_at(self, end: SystemTime) {
        for span in self.block.into_iter().chain(self.transactions) {
            span.end_at(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parent(number: usize) -> String {
        format!("00-{number:032x}-{number:016x}-01")
    }

    #[test]
    fn a_few_transactions_of_a_block_are_traced() {
        let parents: Vec<String> = (1..100).map(parent).collect();
        let trace = BlockTrace::from_traceparents(&parent(7), &parents);
        assert_eq!(trace.transaction_traceparents(), parents[..TRACED_TRANSACTIONS_MAX]);
        assert_eq!(trace.traceparent(), parent(7));
        let packed = trace.to_packed();
        assert_eq!(packed.len(), TRACED_TRANSACTIONS_MAX * PACKED_LEN);
        assert_eq!(BlockTrace::from_packed(&packed).transactions(), trace.transactions());
    }

    #[test]
    fn whatever_another_node_sends_is_bounded_and_breaks_nothing() {
        let count = |packed: &[u8]| BlockTrace::from_packed(packed).transactions().len();
        assert_eq!((count(&[]), count(&[1; 23]), count(&[1; 25])), (0, 0, 1));
        assert_eq!(count(&[0; 48]), 0, "an invalid context");
        assert_eq!(count(&[1; 24 * 1000]), TRACED_TRANSACTIONS_MAX);
        assert!(BlockTrace::from_traceparents("nonsense", &["00-1".to_owned()]).is_empty());
    }
}
