//! Blocks in flight as spans: of the block's own trace, and of the traces of transactions in it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use pentad_pbft::{Output, Record, Sequence, View};
use pentad_service_kit::telemetry::{BlockSpans, BlockTrace, TraceContext};
use tracing::Span;

/// The blocks in flight.
#[derive(Debug, Default)]
pub(super) struct Rounds(BTreeMap<Sequence, Round>);

#[derive(Debug)]
struct Round {
    /// The block's own, which all messages about it carry.
    span: Span,
    /// This node's part in the agreement, in each trace. `None` until the block is there.
    part: Option<BlockSpans>,
    /// The last phase was over.
    since: SystemTime,
}

impl Rounds {
    /// Whether a block of this sequence is in flight.
    pub(super) fn contains(&self, sequence: Sequence) -> bool {
        self.0.contains_key(&sequence)
    }

    /// The span of a block in flight.
    pub(super) fn span(&self, sequence: Sequence) -> Option<&Span> {
        self.0.get(&sequence).map(|round| &round.span)
    }

    /// The span of a block, which is in flight from now on.
    pub(super) fn open(&mut self, view: View, sequence: Sequence) -> Span {
        let open = || {
            let span = tracing::info_span!(parent: None, "block", %view, %sequence);
            Round { span, part: None, since: SystemTime::now() }
        };
        self.0.entry(sequence).or_insert_with(open).span.clone()
    }

    /// A block is here, with spans of transactions in it. The first one that brings any counts.
    pub(super) fn begin(&mut self, sequence: Sequence, transactions: &[TraceContext]) {
        let Some(round) = self.0.get_mut(&sequence) else { return };
        let is_new = round.part.is_none();
        if is_new || (!transactions.is_empty() && round.trace().transactions().is_empty()) {
            let own = TraceContext::of(&round.span);
            let trace = BlockTrace::new(own, transactions.iter().copied());
            round.since = SystemTime::now();
            round.part = Some(trace.begin_at(module_path!(), "consensus.round", round.since));
        }
    }

    /// What continues the round elsewhere.
    pub(super) fn trace(&self, sequence: Sequence) -> BlockTrace {
        self.0.get(&sequence).map(Round::trace).unwrap_or_default()
    }

    /// The core wants something: the phase that is over, its wishes tell.
    pub(super) fn on_output(&mut self, output: &Output) {
        let (sequence, phase) = match output {
            Output::Persist(Record::PrePrepare(proposal)) => {
                (proposal.signed.sequence, "pbft.pre_prepare")
            }
            Output::Persist(Record::Prepared(certificate)) => {
                (certificate.sequence(), "pbft.prepare")
            }
            Output::Execute { certificate, .. } => (certificate.sequence, "pbft.commit"),
            _ => return,
        };
        if let Some(round) = self.0.get_mut(&sequence) {
            let now = SystemTime::now();
            round.trace().record(module_path!(), phase, round.since, now);
            round.since = now;
        }
    }

    /// Records of these sequences were made durable since `began`.
    pub(super) fn on_durable(&self, sequences: &[Sequence], began: SystemTime) {
        let now = SystemTime::now();
        for sequence in sequences {
            self.trace(*sequence).record(module_path!(), "safety_log.fsync", began, now);
        }
    }

    /// A block is final, and with it all before it.
    pub(super) fn end(&mut self, sequence: Sequence) {
        self.0.retain(|above, _| *above > sequence);
    }
}

impl Round {
    fn trace(&self) -> BlockTrace {
        self.part.as_ref().map(BlockSpans::trace).unwrap_or_default()
    }
}

/// The sequences that these outputs write of, each once.
pub(super) fn written(outputs: &[Output]) -> Vec<Sequence> {
    let sequence = |output: &Output| match output {
        Output::Persist(Record::PrePrepare(proposal)) => Some(proposal.signed.sequence),
        Output::Persist(Record::Prepared(certificate)) => Some(certificate.sequence()),
        _ => None,
    };
    let mut sequences: Vec<Sequence> = outputs.iter().filter_map(sequence).collect();
    sequences.sort_unstable();
    sequences.dedup();
    sequences
}
