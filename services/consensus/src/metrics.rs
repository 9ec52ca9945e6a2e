//! Metrics of the consensus service.
//!
//! | metric | meaning |
//! |---|---|
//! | `pentad_consensus_view` | the view that this validator is in, or waits for |
//! | `pentad_consensus_views_left_total{cause}` | timeout, censorship, or others: they left first |
//! | `pentad_consensus_replicas`, `pentad_consensus_quorum` | of the validator set |
//! | `pentad_consensus_quorum_margin` | validators beyond a quorum that speak, see [`Margin`] |
//! | `pentad_consensus_waiting` | transactions, or deep blocks of work, that wait for agreement |
//! | `pentad_consensus_events_waiting` | inputs that the driver has not taken in |
//! | `pentad_consensus_outbox_bytes` | messages that the peer service has not taken |
//! | `pentad_consensus_heard_timestamp_seconds{replica}` | last message of another replica, Unix |
//! | `pentad_consensus_final_timestamp_seconds` | when the last block became final here, Unix |
//! | `pentad_consensus_final_height_blocks` | height of the last final block |
//! | `pentad_consensus_blocks_final_total` | blocks that became final here since the start |
//! | `pentad_consensus_phase_seconds{phase}` | pre_prepare, prepare, commit, connect |
//! | `pentad_consensus_finality_seconds` | from the proposal until its block is final here |
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

use std::time::{Duration, Instant};

use pentad_pbft::{Quorum, ReplicaId, Sequence, View};
use pentad_service_kit::Metrics;
use pentad_service_kit::metrics::TracedHistogram;
use pentad_service_kit::telemetry::TraceContext;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use tokio::sync::mpsc;

use crate::event::Event;
use crate::margin::Margin;

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
struct CauseLabels {
    cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReplicaLabels {
    replica: u32,
}

/// Why a view was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Its timer ran out here.
    Timeout,
    /// Its primary kept a transaction out of its blocks.
    Censorship,
    /// Other replicas had left it.
    Others,
}

impl Cause {
    const ALL: [Self; 3] = [Self::Timeout, Self::Censorship, Self::Others];

    const fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Censorship => "censorship",
            Self::Others => "others",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabels {
    phase: &'static str,
}

/// A phase of a block that is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Phase {
    pub(crate) name: &'static str,
    pub(crate) time: Duration,
    /// A trace that shows it.
    pub(crate) trace: Option<TraceContext>,
}

type Phases = Family<PhaseLabels, TracedHistogram, fn() -> TracedHistogram>;

/// What the service counts; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ConsensusMetrics {
    view: Gauge,
    views_left: Family<CauseLabels, Counter>,
    replicas: Gauge,
    quorum: Gauge,
    margin: Margin,
    waiting: Gauge,
    pub(crate) outbox_bytes: Gauge,
    heard: Family<ReplicaLabels, Gauge>,
    final_time: Gauge,
    final_height: Gauge,
    blocks: Counter,
    phases: Phases,
    finality: TracedHistogram,
    interval: TracedHistogram,
    sent: Family<MessageLabels, Counter>,
    received: Family<MessageLabels, Counter>,
    dropped: Family<ReasonLabels, Counter>,
    fsyncs: Counter,
    log_bytes: Gauge,
    write: TracedHistogram,
    suspicions: Counter,
    evidence: Counter,
    halted: Gauge,
}

fn latency() -> TracedHistogram {
    TracedHistogram::new(LATENCY_BUCKETS)
}

impl ConsensusMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let own = Self {
            view: Gauge::default(),
            views_left: Family::default(),
            replicas: Gauge::default(),
            quorum: Gauge::default(),
            margin: Margin::default(),
            waiting: Gauge::default(),
            outbox_bytes: Gauge::default(),
            heard: Family::default(),
            final_time: Gauge::default(),
            final_height: Gauge::default(),
            blocks: Counter::default(),
            phases: Family::new_with_constructor(latency as fn() -> TracedHistogram),
            finality: latency(),
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
        };
        let register = |registry: &mut Registry| {
            own.register_in(registry.sub_registry_with_prefix("consensus"));
        };
        metrics.register(register);
        let margin = own.margin.clone();
        let help = "Validators beyond a quorum that speak when there is reason to";
        metrics.sample("consensus_quorum_margin", help, move || margin.get());
        own
    }

    /// Shows how many events wait for the driver.
    pub(crate) fn sample_events(metrics: &Metrics, events: &mpsc::Sender<Event>) {
        let events = events.downgrade();
        let waiting = move || {
            let events = events.upgrade()?;
            i64::try_from(events.max_capacity() - events.capacity()).ok()
        };
        metrics.sample("consensus_events_waiting", "Inputs that wait for the driver", waiting);
    }

    /// So much waits for agreement.
    pub(crate) fn set_waiting(&self, count: u64) {
        self.waiting.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    fn register_in(&self, registry: &mut Registry) {
        self.create_series();
        registry.register("view", "View of this validator", self.view.clone());
        registry.register("views_left", "Views left, by cause", self.views_left.clone());
        registry.register("replicas", "Validators", self.replicas.clone());
        registry.register("quorum", "Votes that make a quorum", self.quorum.clone());
        let help = "Transactions, or deep blocks of work, that wait for agreement";
        registry.register("waiting", help, self.waiting.clone());
        let outbox = self.outbox_bytes.clone();
        registry.register("outbox_bytes", "Messages that wait for the peer service", outbox);
        let (heard, final_time) = (self.heard.clone(), self.final_time.clone());
        let seconds = || Unit::Seconds;
        registry.register_with_unit("heard_timestamp", "Last message, Unix", seconds(), heard);
        let help = "When the last block became final here, Unix";
        registry.register_with_unit("final_timestamp", help, seconds(), final_time);
        let height = self.final_height.clone();
        let blocks = Unit::Other("blocks".to_owned());
        registry.register_with_unit("final_height", "Of the last final block", blocks, height);
        registry.register("blocks_final", "Blocks that became final", self.blocks.clone());
        for (name, help, histogram) in [
            ("finality", "From a proposal until its block is final here", &self.finality),
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

    /// A series that is there from the start has a rate when it first moves.
    fn create_series(&self) {
        for cause in Cause::ALL.map(Cause::name) {
            drop(self.views_left.get_or_create(&CauseLabels { cause }));
        }
        for phase in ["pre_prepare", "prepare", "commit", "connect"] {
            drop(self.phases.get_or_create(&PhaseLabels { phase }));
        }
        for reason in ["malformed", "body", "no_room"] {
            drop(self.dropped.get_or_create(&ReasonLabels { reason }));
        }
    }

    pub(crate) fn set_quorum(&self, quorum: Quorum, view_timeout: Duration) {
        // Times are compared in whole seconds.
        let patience = (view_timeout * 2).as_secs().saturating_add(1);
        self.margin.set(quorum, i64::try_from(patience).unwrap_or(i64::MAX));
        self.replicas.set(quorum.replicas().into());
        self.quorum.set(i64::try_from(quorum.quorum()).unwrap_or(i64::MAX));
    }

    pub(crate) fn on_view_left(&self, cause: Cause, now_unix: i64) {
        self.margin.on_occasion(now_unix);
        self.views_left.get_or_create(&CauseLabels { cause: cause.name() }).inc();
    }

    /// A message of another replica came, at this Unix time.
    pub(crate) fn on_heard(&self, replica: ReplicaId, now_unix: i64) {
        self.margin.on_heard(replica, now_unix);
        let labels = ReplicaLabels { replica: replica.get().into() };
        self.heard.get_or_create(&labels).set(now_unix);
    }

    pub(crate) fn on_view(&self, view: View) {
        self.view.set(i64::try_from(view.get()).unwrap_or(i64::MAX));
    }

    pub(crate) fn set_height(&self, sequence: Sequence) {
        self.final_height.set(i64::try_from(sequence.get()).unwrap_or(i64::MAX));
    }

    /// A block became final here, at this Unix time; `previous` is when the one before did.
    pub(crate) fn on_final(&self, sequence: Sequence, now_unix: i64, previous: Option<Instant>) {
        self.set_height(sequence);
        self.final_time.set(now_unix);
        self.margin.on_occasion(now_unix);
        self.blocks.inc();
        if let Some(previous) = previous {
            self.interval.observe(previous.elapsed(), None);
        }
    }

    /// A block in flight was so long in a phase.
    pub(crate) fn on_phase(&self, phase: Phase) {
        let labels = PhaseLabels { phase: phase.name };
        self.phases.get_or_create(&labels).observe(phase.time, phase.trace);
    }

    /// A block is final here, so long after its proposal came.
    pub(crate) fn on_finality(&self, time: Duration, trace: Option<TraceContext>) {
        self.finality.observe(time, trace);
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

    pub(crate) fn on_written(
        &self,
        fsyncs: u64,
        log_bytes: u64,
        time: Duration,
        trace: Option<TraceContext>,
    ) {
        self.fsyncs.inc_by(fsyncs);
        self.log_bytes.set(i64::try_from(log_bytes).unwrap_or(i64::MAX));
        self.write.observe(time, trace);
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
