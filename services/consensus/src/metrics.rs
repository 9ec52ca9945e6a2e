//! Metrics of the consensus service.
//!
//! | metric | meaning |
//! |---|---|
//! | `pentad_consensus_view` | the view that this validator is in, or waits for |
//! | `pentad_consensus_final_height_blocks` | height of the last final block |
//! | `pentad_consensus_blocks_final_total` | blocks that became final here since the start |
//! | `pentad_consensus_phase_seconds{phase}` | from a phase to the next: prepare, commit, connect |
//! | `pentad_consensus_block_interval_seconds` | between two final blocks |
//! | `pentad_consensus_sent_total{message}` | messages to other replicas |
//! | `pentad_consensus_received_total{message}` | messages from other replicas |
//! | `pentad_consensus_dropped_total{reason}` | messages dropped here: malformed, body, no_room |
//! | `pentad_consensus_log_fsyncs_total` | durable writes of the safety log |
//! | `pentad_consensus_log_bytes` | size of the safety log |
//! | `pentad_consensus_log_write_seconds` | one durable write, as the core waits for it |
//! | `pentad_consensus_suspicions_total` | primaries held to censor |
//! | `pentad_consensus_evidence_total` | faults that others were shown to have |
//! | `pentad_consensus_halted` | 1 while the validator takes no part |

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pentad_pbft::{Output, Record, Sequence, View};
use pentad_service_kit::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// From a fast disk on one machine to a view timeout.
const LATENCY_BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MessageLabels {
    message: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabels {
    phase: &'static str,
}

type Phases = Family<PhaseLabels, Histogram, fn() -> Histogram>;

/// What the service counts; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ConsensusMetrics {
    view: Gauge,
    final_height: Gauge,
    blocks: Counter,
    phases: Phases,
    interval: Histogram,
    sent: Family<MessageLabels, Counter>,
    received: Family<MessageLabels, Counter>,
    dropped: Family<ReasonLabels, Counter>,
    fsyncs: Counter,
    log_bytes: Gauge,
    write: Histogram,
    suspicions: Counter,
    evidence: Counter,
    halted: Gauge,
    /// When the blocks in flight reached their present phase.
    since: Arc<Mutex<BTreeMap<Sequence, Instant>>>,
}

fn latency() -> Histogram {
    Histogram::new(LATENCY_BUCKETS)
}

impl ConsensusMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let own = Self {
            view: Gauge::default(),
            final_height: Gauge::default(),
            blocks: Counter::default(),
            phases: Family::new_with_constructor(latency as fn() -> Histogram),
            interval: latency(),
            sent: Family::default(),
            received: Family::default(),
            dropped: Family::default(),
            fsyncs: Counter::default(),
            log_bytes: Gauge::default(),
            write: latency(),
            suspicions: Counter::default(),
            evidence: Counter::default(),
            halted: Gauge::default(),
            since: Arc::default(),
        };
        let register = |registry: &mut Registry| {
            own.register_in(registry.sub_registry_with_prefix("consensus"));
        };
        metrics.register(register);
        own
    }

    fn register_in(&self, registry: &mut Registry) {
        registry.register("view", "View of this validator", self.view.clone());
        let height = self.final_height.clone();
        let blocks = Unit::Other("blocks".to_owned());
        registry.register_with_unit("final_height", "Of the last final block", blocks, height);
        registry.register("blocks_final", "Blocks that became final", self.blocks.clone());
        for (name, help, histogram) in [
            ("block_interval", "Between two final blocks", &self.interval),
            ("log_write", "One durable write", &self.write),
        ] {
            registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
        }
        let phases = self.phases.clone();
        registry.register_with_unit("phase", "From a phase to the next", Unit::Seconds, phases);
        registry.register("sent", "Messages to other replicas", self.sent.clone());
        registry.register("received", "Messages from other replicas", self.received.clone());
        registry.register("dropped", "Messages dropped here", self.dropped.clone());
        registry.register("log_fsyncs", "Durable writes of the safety log", self.fsyncs.clone());
        let bytes = self.log_bytes.clone();
        registry.register_with_unit("log", "Size of the safety log", Unit::Bytes, bytes);
        registry.register("suspicions", "Primaries held to censor", self.suspicions.clone());
        registry.register("evidence", "Faults shown", self.evidence.clone());
        registry.register("halted", "1 while the validator takes no part", self.halted.clone());
    }

    pub(crate) fn on_view(&self, view: View) {
        self.view.set(i64::try_from(view.get()).unwrap_or(i64::MAX));
    }

    pub(crate) fn set_height(&self, sequence: Sequence) {
        self.final_height.set(i64::try_from(sequence.get()).unwrap_or(i64::MAX));
    }

    /// A block became final here; `previous` is when the one before did.
    pub(crate) fn on_final(&self, sequence: Sequence, previous: Option<Instant>) {
        self.set_height(sequence);
        self.blocks.inc();
        if let Some(previous) = previous {
            self.interval.observe(previous.elapsed().as_secs_f64());
        }
        self.phase_done(sequence, "connect");
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        since.retain(|above, _| *above > sequence);
    }

    /// The core wants something: what it has come to, its wishes tell.
    pub(crate) fn on_output(&self, output: &Output) {
        match output {
            Output::Persist(Record::PrePrepare(proposal)) => {
                let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
                since.insert(proposal.signed.sequence, Instant::now());
            }
            Output::Persist(Record::Prepared(certificate)) => {
                self.phase_done(certificate.sequence(), "prepare");
            }
            Output::Execute { certificate, .. } => self.phase_done(certificate.sequence, "commit"),
            _ => {}
        }
    }

    fn phase_done(&self, sequence: Sequence, phase: &'static str) {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(since) = since.get_mut(&sequence) {
            let time = since.elapsed().as_secs_f64();
            *since = Instant::now();
            self.phases.get_or_create(&PhaseLabels { phase }).observe(time);
        }
    }

    pub(crate) fn on_sent(&self, message: &'static str, dropped: u64) {
        self.sent.get_or_create(&MessageLabels { message }).inc();
        if dropped > 0 {
            self.dropped.get_or_create(&ReasonLabels { reason: "no_room" }).inc_by(dropped);
        }
    }

    pub(crate) fn on_received(&self, message: &'static str) {
        self.received.get_or_create(&MessageLabels { message }).inc();
    }

    pub(crate) fn on_dropped(&self, reason: &'static str) {
        self.dropped.get_or_create(&ReasonLabels { reason }).inc();
    }

    pub(crate) fn on_written(&self, fsyncs: u64, log_bytes: u64, time: Duration) {
        self.fsyncs.inc_by(fsyncs);
        self.log_bytes.set(i64::try_from(log_bytes).unwrap_or(i64::MAX));
        self.write.observe(time.as_secs_f64());
    }

    pub(crate) fn on_suspect(&self) {
        self.suspicions.inc();
    }

    pub(crate) fn on_evidence(&self) {
        self.evidence.inc();
    }

    pub(crate) fn on_halt(&self) {
        self.halted.set(1);
    }
}
