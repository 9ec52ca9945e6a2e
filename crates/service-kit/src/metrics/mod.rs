//! Prometheus metrics: one registry per process, and the page that shows it.
//!
//! | metric | meaning |
//! |---|---|
//! | `pentad_rpc_started_total{method}` | calls that arrived |
//! | `pentad_rpc_handled_total{method,code}` | calls that ended, by gRPC code |
//! | `pentad_rpc_duration_seconds{method}` | from arrival to the last byte or trailer |
//! | `pentad_rpc_in_flight{method}` | calls being served |
//! | `pentad_grpc_connections` | open gRPC connections |
//! | `pentad_grpc_connections_refused_total` | connections beyond a cap, closed at once |
//! | `pentad_tls_handshakes_failed_total` | TLS handshakes that failed |
//! | `pentad_calls_refused_total{reason}` | calls refused for want of a credential or right |
//! | `pentad_certificate_expiry_timestamp_seconds{kind}` | when certificates expire |
//! | `pentad_trust_reloads_total{files,outcome}` | changes of certificates and tokens |
//! | `pentad_trust_broken{files}` | 1 while they changed to what cannot be used |
//! | `pentad_dependency_up{dependency}` | 1 while the dependency's probe succeeds |
//! | `pentad_telemetry_spans_exported_total` | spans that reached the collector |
//! | `pentad_telemetry_spans_dropped_total{reason}` | queue_full, unreachable, refused |
//! | `pentad_telemetry_spans_waiting` | spans that wait for the collector |
//! | `pentad_telemetry_contexts_ignored_total` | spans of other nodes not continued here |
//! | `pentad_log_lines_left_out_total{level}` | lines that repeat |
//! | `process_resident_memory_bytes` | resident memory (Linux) |
//!
//! Histograms of times name sampled traces, as exemplars.
//!
//! `method` is the path of a method that declares a right, or `undeclared`: a caller cannot make
//! up new series.

mod page;
mod process;
mod rpc;
mod sample;
mod traced;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::telemetry;
pub use page::serve_page;
pub(crate) use rpc::RpcMetrics;
pub use traced::TracedHistogram;

/// The metrics of the process; cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    pub(crate) rpc: RpcMetrics,
    pub(crate) connections: ConnectionMetrics,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct ConnectionMetrics {
    pub(crate) open: Gauge,
    pub(crate) refused: Counter,
    pub(crate) failed_handshakes: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A registry with the metrics of this crate.
    #[must_use]
    pub fn new() -> Self {
        let mut root = Registry::default();
        process::register(&mut root);
        let pentad = root.sub_registry_with_prefix("pentad");
        telemetry::register(pentad);
        let rpc = RpcMetrics::register(pentad);
        let connections = ConnectionMetrics::default();
        pentad.register("grpc_connections", "Open gRPC connections", connections.open.clone());
        pentad.register(
            "grpc_connections_refused",
            "gRPC connections closed at once because a cap was reached",
            connections.refused.clone(),
        );
        pentad.register(
            "tls_handshakes_failed",
            "TLS handshakes that failed: a wrong authority, no TLS at all, out of time",
            connections.failed_handshakes.clone(),
        );
        Self { registry: Arc::new(Mutex::new(root)), rpc, connections }
    }

    /// Registers the metrics of a service; names get the prefix `pentad_`.
    ///
    /// ```
    /// use prometheus_client::metrics::gauge::Gauge;
    /// let metrics = pentad_service_kit::Metrics::new();
    /// let height: Gauge = Gauge::default();
    /// metrics.register(|registry| {
    ///     registry.register("chain_height_blocks", "Height of the tip", height.clone());
    /// });
    /// height.set(7);
    /// assert!(metrics.encode().expect("text").contains("pentad_chain_height_blocks 7"));
    /// ```
    pub fn register<T>(&self, register: impl FnOnce(&mut Registry) -> T) -> T {
        let mut root = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        register(root.sub_registry_with_prefix("pentad"))
    }

    /// Registers a gauge that is read whenever somebody asks for the page; `None`: it is left out.
    /// `read` must be quick and must not register anything.
    ///
    /// ```
    /// let metrics = pentad_service_kit::Metrics::new();
    /// metrics.sample("queue_jobs", "Jobs that wait", || Some(3));
    /// metrics.sample("age_seconds", "Of a child that is not born", || None);
    /// let page = metrics.encode().expect("text");
    /// assert!(page.contains("pentad_queue_jobs 3"));
    /// assert!(!page.contains("pentad_age_seconds "));
    /// ```
    pub fn sample(
        &self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> Option<i64> + Send + Sync + 'static,
    ) {
        let sampled = sample::Sampled { name, help, read };
        self.register(|registry| registry.register_collector(Box::new(sampled)));
    }

    /// Everything in OpenMetrics text.
    ///
    /// # Errors
    /// When a collector fails to format itself.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        let root = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        prometheus_client::encoding::text::encode(&mut text, &root)?;
        Ok(text)
    }
}
