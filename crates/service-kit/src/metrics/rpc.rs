use std::time::Duration;

use pentad_api::status::code_name;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use tonic::Code;

use super::TracedHistogram;
use crate::telemetry::TraceContext;

/// Upper bounds in seconds: an in-process hop takes microseconds, a synced stream minutes.
const DURATION_BUCKETS: [f64; 12] =
    [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 300.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MethodLabels {
    method: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    method: String,
    code: &'static str,
}

/// What is counted of every call.
#[derive(Clone, Debug)]
pub(crate) struct RpcMetrics {
    started: Family<MethodLabels, Counter>,
    handled: Family<OutcomeLabels, Counter>,
    duration: Family<MethodLabels, TracedHistogram>,
    in_flight: Family<MethodLabels, Gauge>,
}

impl RpcMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            started: Family::default(),
            handled: Family::default(),
            duration: Family::new_with_constructor(|| TracedHistogram::new(DURATION_BUCKETS)),
            in_flight: Family::default(),
        };
        registry.register("rpc_started", "Calls that arrived", metrics.started.clone());
        registry.register("rpc_handled", "Calls that ended, by gRPC code", metrics.handled.clone());
        registry.register_with_unit(
            "rpc_duration",
            "Time from the arrival of a call to its last byte",
            Unit::Seconds,
            metrics.duration.clone(),
        );
        registry.register("rpc_in_flight", "Calls being served", metrics.in_flight.clone());
        metrics
    }

    pub(crate) fn on_start(&self, method: &str) {
        let labels = MethodLabels { method: method.to_owned() };
        self.started.get_or_create(&labels).inc();
        self.in_flight.get_or_create(&labels).inc();
    }

    pub(crate) fn on_end(
        &self,
        method: &str,
        code: Code,
        duration: Duration,
        trace: Option<TraceContext>,
    ) {
        let labels = MethodLabels { method: method.to_owned() };
        self.in_flight.get_or_create(&labels).dec();
        self.duration.get_or_create(&labels).observe(duration, trace);
        let outcome = OutcomeLabels { method: labels.method, code: code_name(code) };
        self.handled.get_or_create(&outcome).inc();
    }
}
