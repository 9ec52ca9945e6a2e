use std::fmt;
use std::time::{Duration, SystemTime};

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::{MetricType, TypedMetric};

use crate::telemetry::TraceContext;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TraceLabels {
    trace_id: String,
}

/// A histogram of times. Each bucket names the last sampled trace that fell into it, as an
/// OpenMetrics exemplar, so that a dashboard leads from a slow sample to where its time went.
#[derive(Clone, Debug)]
pub struct TracedHistogram(HistogramWithExemplars<TraceLabels>);

impl TracedHistogram {
    /// With these upper bounds of its buckets, seconds.
    #[must_use]
    pub fn new(buckets: impl IntoIterator<Item = f64>) -> Self {
        Self(HistogramWithExemplars::new(buckets.into_iter()))
    }

    /// Something took so long, and this trace shows it.
    pub fn observe(&self, time: Duration, trace: Option<TraceContext>) {
        let now = trace.map(|_| SystemTime::now());
        let labels = trace.map(|trace| TraceLabels { trace_id: trace.trace_id() });
        self.0.observe(time.as_secs_f64(), labels, now);
    }
}

impl TypedMetric for TracedHistogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for TracedHistogram {
    fn encode(&self, encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        self.0.encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        self.0.metric_type()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Metrics;

    #[test]
    fn a_bucket_names_the_last_sampled_trace_that_fell_into_it() {
        let times = TracedHistogram::new([0.1, 1.0]);
        let metrics = Metrics::new();
        metrics.register(|registry| registry.register("times", "Times", times.clone()));
        let trace = |digit: char| {
            let ids = [32, 16].map(|length| digit.to_string().repeat(length));
            TraceContext::from_traceparent(&format!("00-{}-{}-01", ids[0], ids[1]))
        };
        let fast = Duration::from_millis(50);
        for digit in ['1', '2'] {
            assert!(trace(digit).is_some());
            times.observe(fast, trace(digit));
        }
        times.observe(fast, None);
        times.observe(Duration::from_secs(5), trace('3'));
        let page = metrics.encode().expect("text");
        let line = |bound: &str| {
            let start = format!("pentad_times_bucket{{le=\"{bound}\"}}");
            page.lines().find(|line| line.starts_with(&start)).expect(bound).to_owned()
        };
        assert!(line("0.1").contains(&format!("# {{trace_id=\"{}\"}} 0.05", "2".repeat(32))));
        assert!(!line("1.0").contains('#'), "{}", line("1.0"));
        assert!(line("+Inf").contains(&"3".repeat(32)), "{}", line("+Inf"));
    }
}
