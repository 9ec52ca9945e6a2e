//! Logs to standard error and, where an endpoint is set, traces over OTLP.

pub mod block;
mod budget;
pub mod context;
mod counts;
mod export;
mod human;
pub mod propagation;
mod repeats;

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use serde::Deserialize;
use thiserror::Error;
use tonic::transport::Endpoint;
use tracing::Subscriber;
use tracing_log::{AsLog as _, LogTracer};
use tracing_subscriber::filter::{EnvFilter, LevelFilter, ParseError};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{Layer, Registry, fmt};

pub use block::{BlockSpans, BlockTrace};
pub use budget::take_foreign;
pub use context::{RecordedSpan, TraceContext};
pub(crate) use counts::register;
use export::Origin;
use repeats::Limited;

/// Attribute of a span: the module that made it.
const TARGET: &str = "target";
/// How long an export may take, and how long the last one may hold up the exit.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(2);

/// Section `[telemetry]` of every service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// Which events are logged, in the syntax of `RUST_LOG`: `warn,pentad=info` leaves out what
    /// libraries tell of their doings; `warn,pentad=info,pentad_chain=debug`.
    pub log: String,
    /// How they are written.
    pub format: LogFormat,
    /// OTLP gRPC endpoint for traces, such as `http://127.0.0.1:4317`; none if left out.
    pub otlp_endpoint: Option<String>,
    /// The share of traces that are sampled among those that begin here, from 0 to 1. Whoever
    /// calls with a trace of its own decides for it.
    pub sample_ratio: f64,
    /// What this process is called beside others of its kind; host name and gRPC port if left
    /// out.
    pub instance: Option<String>,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            log: "warn,pentad=info".to_owned(),
            format: LogFormat::Human,
            otlp_endpoint: None,
            sample_ratio: 0.1,
            instance: None,
        }
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
    #[error(
        "configuration field `telemetry.otlp_endpoint`: {0:?} is not of the form http://host:port"
    )]
    Endpoint(String),
    /// The share is none.
    #[error("configuration field `telemetry.sample_ratio`: {0} is not between 0 and 1")]
    SampleRatio(f64),
    /// Another subscriber is there already.
    #[error("telemetry is already set up in this process")]
    AlreadySet,
}

/// Keeps telemetry going; call [`Telemetry::flush`] at the end.
#[derive(Debug)]
#[must_use = "spans are lost without a flush at the end"]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

/// Sets up logs and traces for the whole process. Call it once, inside a tokio runtime. `instance`
/// is what the process is called if the configuration does not say.
///
/// A collector that is away costs nothing: spans wait in a bounded queue, a task of its own
/// exports them, and what does not fit is dropped and counted.
///
/// # Errors
/// When the filter, the endpoint or the ratio is malformed, or telemetry is set up already.
pub fn init(
    service: &'static str,
    config: &TelemetryConfig,
    instance: &str,
) -> Result<Telemetry, TelemetryError> {
    let filter = filter(&config.log)?;
    let log: Box<dyn Layer<Registry> + Send + Sync> = match config.format {
        LogFormat::Human => fmt::layer()
            .fmt_fields(human::HumanFields)
            .with_writer(io::stderr)
            // Colours for people, not for files.
            .with_ansi(io::stderr().is_terminal())
            .map_event_format(|format| Limited::new(format, LogFormat::Human))
            .with_filter(filter)
            .boxed(),
        LogFormat::Json => fmt::layer()
            .json()
            .with_writer(io::stderr)
            .map_event_format(|format| Limited::new(format, LogFormat::Json))
            .with_filter(filter)
            .boxed(),
    };
    let instance = config.instance.as_deref().unwrap_or(instance).to_owned();
    let origin = Origin { process: service, instance };
    let ratio = config.sample_ratio;
    if !(0.0..=1.0).contains(&ratio) {
        return Err(TelemetryError::SampleRatio(ratio));
    }
    let endpoint = config.otlp_endpoint.as_deref();
    let provider = endpoint.map(|to| exporting(to, ratio, origin)).transpose()?;
    let traces = provider.as_ref().map(|provider| {
        let tracer = provider.tracer(service);
        // Whoever comes second has failed below, or will.
        context::TRACER.set(tracer.clone()).ok();
        tracing_opentelemetry::layer()
            .with_tracer(tracer)
            // Each costs an attribute or a clock reading a span.
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_target(true)
            // Spans of the exporter's own transport are below this level: no trace of tracing.
            .with_filter(LevelFilter::INFO)
    });
    install(tracing_subscriber::registry().with(log).with(traces))?;
    Ok(Telemetry { provider })
}

/// Warnings, unless the text says something.
fn filter(log: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::builder().with_default_directive(LevelFilter::WARN.into()).parse(log)
}

/// Makes a subscriber the whole process's, for what libraries say through the `log` crate as well.
/// All but sled, which says things while a thread ends: whoever asks for the dispatcher then aborts
/// the process.
///
/// # Errors
/// When there is one already.
pub fn install<S: Subscriber + Send + Sync>(subscriber: S) -> Result<(), TelemetryError> {
    tracing::subscriber::set_global_default(subscriber).map_err(|_| TelemetryError::AlreadySet)?;
    LogTracer::builder()
        .with_max_level(LevelFilter::current().as_log())
        .ignore_crate("sled")
        .init()
        .map_err(|_| TelemetryError::AlreadySet)
}

fn exporting(
    endpoint: &str,
    sample_ratio: f64,
    origin: Origin,
) -> Result<SdkTracerProvider, TelemetryError> {
    let channel = Endpoint::from_shared(endpoint.to_owned())
        .ok()
        .filter(|endpoint| endpoint.uri().scheme_str() == Some("http"))
        .ok_or_else(|| TelemetryError::Endpoint(endpoint.to_owned()))?
        .connect_timeout(EXPORT_TIMEOUT)
        .connect_lazy();
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(sample_ratio)));
    let queue = export::start(channel, origin);
    Ok(SdkTracerProvider::builder().with_span_processor(queue).with_sampler(sampler).build())
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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::Event;
    use tracing_subscriber::layer::Context;

    use super::*;

    /// Targets and levels of what is logged.
    #[derive(Clone, Default)]
    struct Seen(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Seen {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let line = format!("{} {}", event.metadata().level(), event.metadata().target());
            self.0.lock().expect("no panic").push(line);
        }
    }

    #[test]
    fn libraries_are_heard_when_something_is_wrong() {
        let seen = Seen::default();
        let default = filter(&TelemetryConfig::default().log).expect("valid");
        let log = tracing_subscriber::registry().with(seen.clone().with_filter(default));
        tracing::subscriber::with_default(log, || {
            tracing::debug!(target: "pentad_chain::writer", "left out");
            tracing::info!(target: "pentad_chain::writer", "told");
            tracing::info!(target: "lsm_tree::tree", "left out");
            tracing::warn!(target: "lsm_tree::tree", "told");
            tracing::error!(target: "hyper", "told");
        });
        let seen = seen.0.lock().expect("no panic").clone();
        assert_eq!(seen, ["INFO pentad_chain::writer", "WARN lsm_tree::tree", "ERROR hyper"]);
    }
}
