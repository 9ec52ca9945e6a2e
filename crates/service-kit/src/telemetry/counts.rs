//! What telemetry counts of itself, once for the process.

use std::sync::LazyLock;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

pub(super) static COUNTS: LazyLock<Counts> = LazyLock::new(Counts::default);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LevelLabels {
    level: &'static str,
}

/// Why a span did not reach the collector.
#[derive(Clone, Copy, Debug)]
pub(super) enum Dropped {
    /// There was no room for it while the collector was slow or away.
    QueueFull,
    /// The collector did not answer.
    Unreachable,
    /// The collector did not want it.
    Refused,
}

impl Dropped {
    const ALL: [Self; 3] = [Self::QueueFull, Self::Unreachable, Self::Refused];

    const fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) exported: Counter,
    dropped: Family<ReasonLabels, Counter>,
    pub(super) waiting: Gauge,
    pub(super) contexts_ignored: Counter,
    lines_left_out: Family<LevelLabels, Counter>,
}

impl Counts {
    pub(super) fn on_dropped(&self, why: Dropped, spans: u64) {
        self.dropped.get_or_create(&ReasonLabels { reason: why.name() }).inc_by(spans);
    }

    #[cfg(test)]
    pub(super) fn dropped(&self, why: Dropped) -> u64 {
        self.dropped.get_or_create(&ReasonLabels { reason: why.name() }).get()
    }

    pub(super) fn on_line_left_out(&self, level: tracing::Level) {
        self.lines_left_out.get_or_create(&LevelLabels { level: level.as_str() }).inc();
    }
}

/// Registers what the process counts.
pub(crate) fn register(registry: &mut Registry) {
    let counts = COUNTS.clone();
    for why in Dropped::ALL {
        counts.on_dropped(why, 0);
    }
    for level in [tracing::Level::ERROR, tracing::Level::WARN, tracing::Level::INFO] {
        drop(counts.lines_left_out.get_or_create(&LevelLabels { level: level.as_str() }));
    }
    let spans = "Spans that reached the collector";
    registry.register("telemetry_spans_exported", spans, counts.exported);
    let dropped = "Spans that did not reach the collector, by reason";
    registry.register("telemetry_spans_dropped", dropped, counts.dropped);
    let waiting = "Spans that wait for the collector";
    registry.register("telemetry_spans_waiting", waiting, counts.waiting);
    let ignored = "Spans of other nodes that were not continued here: too many at once";
    registry.register("telemetry_contexts_ignored", ignored, counts.contexts_ignored);
    let lines = "Log lines left out because they repeat, by level";
    registry.register("log_lines_left_out", lines, counts.lines_left_out);
}
