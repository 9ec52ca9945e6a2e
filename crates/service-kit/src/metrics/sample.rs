//! Gauges that are read when somebody asks for the page: what is counted elsewhere anyway.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::gauge::ConstGauge;

/// A gauge without labels.
pub(super) struct Sampled<R> {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) read: R,
}

impl<R> fmt::Debug for Sampled<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sampled").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<R> Collector for Sampled<R>
where
    R: Fn() -> Option<i64> + Send + Sync + 'static,
{
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let Some(value) = (self.read)() else {
            return Ok(());
        };
        let gauge = ConstGauge::new(value);
        let metric = encoder.encode_descriptor(self.name, self.help, None, gauge.metric_type())?;
        gauge.encode(metric)
    }
}
