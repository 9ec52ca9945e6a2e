//! Blocks in flight as spans: of the block's own trace, and of the traces of transactions in it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use pentad_pbft::{Output, Record, Sequence, View};
use pentad_service_kit::telemetry::{BlockSpans, BlockTrace, TraceContext};
use tracing::Span;

use crate::metrics::Phase;

/// The blocks in flight.
#[derive(Debug, Default)]
pub(super) struct Rounds(BTreeMap<Sequence, Round>);

#[derive(Debug)]
struct Round {
    /// The block's own, which all messages about it carry.
    span: Span,
    /// This node's part in the agreement, in each trace. `None` until the block is there.
    part: Option<BlockSpans>,
    /// The proposal was here.
    began: SystemTime,
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
            let now = SystemTime::now();
            Round { span, part: None, began: now, since: now }
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
            round.began = SystemTime::now();
            round.since = round.began;
            round.part = Some(trace.begin_at(module_path!(), "consensus.round", round.since));
        }
    }

    /// What continues the round elsewhere.
    pub(super) fn trace(&self, sequence: Sequence) -> BlockTrace {
        self.0.get(&sequence).map(Round::trace).unwrap_or_default()
    }

    /// The core wants something: the phase that is over, its wishes tell.
    pub(super) fn on_output(&mut self, output: &Output) -> Option<Phase> {
        let (sequence, span, phase) = match output {
            Output::Persist(Record::PrePrepare(proposal)) => {
                (proposal.signed.sequence, "pbft.pre_prepare", "pre_prepare")
            }
            Output::Persist(Record::Prepared(certificate)) => {
                (certificate.sequence(), "pbft.prepare", "prepare")
            }
            Output::Execute { certificate, .. } => (certificate.sequence, "pbft.commit", "commit"),
            _ => return None,
        };
        let round = self.0.get_mut(&sequence)?;
        let now = SystemTime::now();
        round.trace().record(module_path!(), span, round.since, now);
        Some(round.next_phase(phase, now))
    }

    /// Records of these sequences were made durable since `began`; a trace that shows it.
    pub(super) fn on_durable(
        &self,
        sequences: &[Sequence],
        began: SystemTime,
    ) -> Option<TraceContext> {
        let now = SystemTime::now();
        for sequence in sequences {
            self.trace(*sequence).record(module_path!(), "safety_log.fsync", began, now);
        }
        sequences.iter().find_map(|sequence| self.trace(*sequence).example())
    }

    /// A block is final, and with it all before it: its last phase, and the time since its
    /// proposal was here.
    pub(super) fn end(&mut self, sequence: Sequence) -> Option<(Phase, Duration)> {
        let own = self.0.remove(&sequence);
        self.0.retain(|above, _| *above > sequence);
        // Of a block that only sync brought there was no proposal.
        let mut round = own.filter(|round| round.part.is_some())?;
        let now = SystemTime::now();
        let connect = round.next_phase("connect", now);
        Some((connect, since(round.began, now)))
    }
}

/// A clock that was set back must not stop anything.
fn since(earlier: SystemTime, now: SystemTime) -> Duration {
    now.duration_since(earlier).unwrap_or_default()
}

impl Round {
    fn next_phase(&mut self, name: &'static str, now: SystemTime) -> Phase {
        let time = since(self.since, now);
        self.since = now;
        Phase { name, time, trace: self.trace().example() }
    }

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
