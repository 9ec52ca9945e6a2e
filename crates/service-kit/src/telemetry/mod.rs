//! Logs to standard error and, where an endpoint is set, traces over OTLP.

mod human;
pub mod propagation;

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::trace::SdkTracerProvider;
use serde::Deserialize;
use thiserror::Error;
use tracing_subscriber::filter::{EnvFilter, LevelFilter, ParseError};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{Layer, Registry, fmt};

/// How long an export may take, and how long the last one may hold up the exit.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(2);

/// Section `[telemetry]` of every service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// Which events are logged, in the syntax of `RUST_LOG`: `info`, `info,pentad_chain=debug`.
    pub log: String,
    /// How they are written.
    pub format: LogFormat,
    /// OTLP gRPC endpoint for traces, such as `http://127.0.0.1:4317`; none if left out.
    pub otlp_endpoint: Option<String>,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { log: "info".to_owned(), format: LogFormat::Human, otlp_endpoint: None }
    }
}

/// Shape of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// Why telemetry cannot start.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// The filter is malformed.
    #[error("configuration field `telemetry.log`: {0}")]
    Filter(#[from] ParseError),
    /// The endpoint is malformed.
    #[error("configuration field `telemetry.otlp_endpoint`: {0}")]
    Endpoint(#[from] opentelemetry_otlp::ExporterBuildError),
    /// Another subscriber is there already.
    #[error("telemetry is already set up in this process")]
    AlreadySet(#[from] TryInitError),
}

/// Keeps telemetry going; call [`Telemetry::flush`] at the end.
#[derive(Debug)]
#[must_use = "spans are lost without a flush at the end"]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

/// Sets up logs and traces for the whole process. Call it once, inside a tokio runtime.
///
/// A collector that is away costs nothing: spans wait in a bounded queue, exports happen on a
/// thread of their own, and what does not fit is dropped.
///
/// # Errors
/// When the filter or the endpoint is malformed, or telemetry is set up already.
pub fn init(service: &'static str, config: &TelemetryConfig) -> Result<Telemetry, TelemetryError> {
    let filter =
        EnvFilter::builder().with_default_directive(LevelFilter::WARN.into()).parse(&config.log)?;
    let log: Box<dyn Layer<Registry> + Send + Sync> = match config.format {
        LogFormat::Human => fmt::layer()
            .fmt_fields(human::HumanFields)
            .with_writer(io::stderr)
            // Colours for people, not for files.
            .with_ansi(io::stderr().is_terminal())
            .with_filter(filter)
            .boxed(),
        LogFormat::Json => fmt::layer().json().with_writer(io::stderr).with_filter(filter).boxed(),
    };
    let provider = config.otlp_endpoint.as_deref().map(|to| exporting(service, to)).transpose()?;
    let traces = provider.as_ref().map(|provider| {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer(service))
            // Spans of the exporter's own transport are below this level: no trace of tracing.
            .with_filter(LevelFilter::INFO)
    });
    tracing_subscriber::registry().with(log).with(traces).try_init()?;
    Ok(Telemetry { provider })
}

fn exporting(service: &'static str, endpoint: &str) -> Result<SdkTracerProvider, TelemetryError> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(EXPORT_TIMEOUT)
        .build()?;
    let resource = Resource::builder().with_service_name(service).build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

impl Telemetry {
    /// Sends what is left and stops; waits two seconds at most. Call it outside of async code,
    /// while the runtime still lives.
    pub fn flush(self) {
        let Some(provider) = self.provider else {
            return;
        };
        match provider.shutdown_with_timeout(EXPORT_TIMEOUT) {
            Ok(()) | Err(OTelSdkError::AlreadyShutdown) => {}
            Err(error) => tracing::warn!(%error, "the last spans did not reach the collector"),
        }
    }
}
