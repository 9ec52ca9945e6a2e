//! From `main` to a clean end: configuration, telemetry, listeners, credential, service, drain.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::future::Future;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use pentad_api::{Connection, ConnectionError};
use pentad_trust::{TlsFiles, TrustError};
use rustix::process::{Resource, Rlimit, setrlimit};
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{self, ConfigError, Sources};
use crate::cookie::{Cookie, CookieError};
use crate::listen::{self, Addresses, ListenError, ServerConfig};
use crate::metrics::{self, Metrics};
use crate::self_check::{self, Question};
use crate::server::{BuildError, Server};
use crate::shutdown;
use crate::stack::Gate;
use crate::supervisor::Supervisor;
use crate::telemetry::{self, TelemetryConfig};
use crate::trust::Trust;
use crate::upstream::Upstream;

/// Exit code of a service that failed while it ran.
pub const EXIT_FAILURE: u8 = 1;
/// Exit code of a service whose configuration is wrong: restarting it will not help.
pub const EXIT_CONFIG: u8 = 2;

/// Who a service is.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// Its binary's name, such as `pentad-chain`; names it in logs and traces.
    pub name: &'static str,
    /// Its version, for the log.
    pub version: &'static str,
    /// Its own gRPC port.
    pub grpc_port: u16,
}

/// What the configuration of every service has.
pub trait Settings: DeserializeOwned + Default {
    /// Section `[server]`.
    fn server(&self) -> &ServerConfig;
    /// Section `[tls]`.
    fn tls(&self) -> &TlsFiles;
    /// Section `[telemetry]`.
    fn telemetry(&self) -> &TelemetryConfig;
    /// Where the service keeps its files, the cookie among them.
    fn data_dir(&self) -> &Path;
}

/// Implements [`Settings`] for a configuration with fields `server`, `tls`, `telemetry` and
/// `data_dir`.
#[macro_export]
macro_rules! settings {
    ($config:ty) => {
        impl $crate::Settings for $config {
            fn server(&self) -> &$crate::ServerConfig {
                &self.server
            }

            fn tls(&self) -> &$crate::TlsFiles {
                &self.tls
            }

            fn telemetry(&self) -> &$crate::TelemetryConfig {
                &self.telemetry
            }

            fn data_dir(&self) -> &::std::path::Path {
                &self.data_dir
            }
        }
    };
}

/// A service that listens and has its credential, and does not serve yet.
#[derive(Debug)]
pub struct App {
    /// Cancelled by SIGTERM and Ctrl-C.
    pub shutdown: CancellationToken,
    /// Background tasks; at the end they are waited for, as long as calls are.
    pub tasks: TaskTracker,
    /// For the tasks among them that the service cannot live without.
    pub supervisor: Supervisor,
    /// The metrics of the process.
    pub metrics: Metrics,
    /// Who may call.
    pub gate: Gate,
    /// Where the service really listens.
    pub addresses: Addresses,
    config: ServerConfig,
    grpc: TcpListener,
    page: TcpListener,
}

/// Why a service cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// It cannot listen.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// It has no credential.
    #[error(transparent)]
    Cookie(#[from] CookieError),
    /// A certificate, key, authority or file of tokens cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The system does not tell where it listens.
    #[error("cannot tell the listening address: {0}")]
    Address(#[from] io::Error),
}

impl App {
    /// Reads whom to trust, listens, and makes the cookie or reads the one that is there.
    ///
    /// # Errors
    /// When an address is refused or in use, or the cookie or a file of trust cannot be had.
    pub async fn start<C: Settings>(
        service: &Service,
        settings: &C,
        shutdown: CancellationToken,
    ) -> Result<Self, StartError> {
        let config = settings.server().clone();
        let (tasks, metrics) = (TaskTracker::new(), Metrics::new());
        let trust = Trust::load(settings.tls(), &config, &metrics)?;
        let wanted = config.addresses(service.grpc_port, settings.tls().certificate.is_some())?;
        let grpc = listen::bind(wanted.grpc, "server.grpc").await?;
        let page = listen::bind(wanted.metrics, "server.metrics").await?;
        let addresses = Addresses { grpc: grpc.local_addr()?, metrics: page.local_addr()? };
        let cookie_file = config.cookie_file.clone();
        let cookie_file = cookie_file.unwrap_or_else(|| settings.data_dir().join("cookie"));
        let cookie = Cookie::load_or_create(&cookie_file)?;
        tasks.spawn(trust.clone().watch(shutdown.clone()));
        let gate = Gate::trusting(cookie, &cookie_file, trust);
        let supervisor = Supervisor::new(tasks.clone(), shutdown.clone());
        Ok(Self { shutdown, tasks, supervisor, metrics, gate, addresses, config, grpc, page })
    }

    /// A server with this service's credential, metrics and settings, to add services to.
    #[must_use]
    pub fn server(&self) -> Server {
        Server::new(self.gate.clone(), self.metrics.clone())
            .reflection(self.config.reflection())
            .admin(self.config.admin())
            .drain_time(self.config.drain_time())
            .limits(self.config.limits)
    }

    /// A connection to another service; `grpc_port` is its own.
    ///
    /// # Errors
    /// When the address is malformed, or asks for TLS and there is no authority.
    pub fn connect(
        &self,
        upstream: &Upstream,
        grpc_port: u16,
    ) -> Result<Connection, ConnectionError> {
        upstream.connect(grpc_port, self.gate.trust().tls.as_ref())
    }

    /// Serves gRPC and the metrics page until shutdown, and drains.
    ///
    /// # Errors
    /// When the services cannot be put together.
    pub async fn serve(self, server: Server) -> Result<(), BuildError> {
        let Addresses { grpc, metrics } = self.addresses;
        tracing::info!(%grpc, %metrics, "listening");
        let page = metrics::serve_page(self.page, self.metrics, self.shutdown.clone());
        self.tasks.spawn(page);
        server.serve(self.grpc, self.shutdown).await
    }
}

/// Runs a service from its configuration to its end: the whole of a `main`.
///
/// `start` gets the configuration and an [`App`], and returns when the service has ended, normally
/// with [`App::serve`]. Exit codes: 0 after a shutdown, 1 when the service failed, 2 when its
/// configuration is wrong. With `--health` it asks the process that serves, and does not serve.
pub fn run<C, F, Fut, E>(service: &Service, sources: &Sources, start: F) -> ExitCode
where
    C: Settings,
    F: FnOnce(C, App) -> Fut,
    Fut: Future<Output = Result<(), E>>,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    let (settings, runtime) = match prepare::<C>(service, sources) {
        Ok(prepared) => prepared,
        Err((code, error)) => return fail(service, code, error.as_ref()),
    };
    if let Some(question) = sources.question {
        let asked = runtime.block_on(ask(service, &settings, question));
        return asked.map_or_else(
            |error| fail(service, EXIT_FAILURE, error.as_ref()),
            |()| ExitCode::SUCCESS,
        );
    }
    let entered = runtime.enter();
    let instance = instance(service, settings.server());
    let telemetry = match telemetry::init(service.name, settings.telemetry(), &instance) {
        Ok(telemetry) => telemetry,
        Err(error) => return fail(service, EXIT_CONFIG, &error),
    };
    let outcome = runtime.block_on(live(service, settings, start));
    telemetry.flush();
    drop(entered);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(service, EXIT_FAILURE, error.as_ref()),
    }
}

/// What a process is called unless its configuration says so: no two on one machine have a port,
/// no two containers a host name.
fn instance(service: &Service, config: &ServerConfig) -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname");
    let host = host.map_or_else(|_| "localhost".to_owned(), |name| name.trim().to_owned());
    let port = config.grpc.map_or(service.grpc_port, |address| address.port());
    format!("{host}:{port}")
}

type BoxError = Box<dyn Error + Send + Sync>;

/// Asks the process that runs with these settings.
async fn ask<C: Settings>(
    service: &Service,
    settings: &C,
    question: Question,
) -> Result<(), BoxError> {
    let tls = settings.tls().load()?;
    let has_tls = settings.tls().certificate.is_some();
    let listener = settings.server().addresses(service.grpc_port, has_tls)?.grpc;
    Ok(self_check::ask(listener, tls.as_ref(), question).await?)
}

fn prepare<C: Settings>(
    service: &Service,
    sources: &Sources,
) -> Result<(C, Runtime), (u8, BoxError)> {
    forbid_core_dumps().map_err(|error| (EXIT_FAILURE, error.into()))?;
    let wrong = |error: BoxError| (EXIT_CONFIG, error);
    let settings: C = config::load(sources).map_err(|error: ConfigError| wrong(error.into()))?;
    let has_tls = settings.tls().certificate.is_some();
    settings.server().addresses(service.grpc_port, has_tls).map_err(|error| wrong(error.into()))?;
    let runtime = Runtime::new().map_err(|error| (EXIT_FAILURE, error.into()))?;
    Ok((settings, runtime))
}

/// Keys and passphrases are in memory: a crash must not write them to a file.
fn forbid_core_dumps() -> io::Result<()> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    Ok(setrlimit(Resource::Core, none)?)
}

async fn live<C, F, Fut, E>(service: &Service, settings: C, start: F) -> Result<(), BoxError>
where
    C: Settings,
    F: FnOnce(C, App) -> Fut,
    Fut: Future<Output = Result<(), E>>,
    E: Into<BoxError>,
{
    tracing::info!(service = service.name, version = service.version, "starting");
    let shutdown = shutdown::on_signals()?;
    let app = App::start(service, &settings, shutdown.clone()).await?;
    let (supervisor, drain_time) = (app.supervisor.clone(), settings.server().drain_time());
    let outcome = start(settings, app).await;
    shutdown.cancel();
    let finished = supervisor.finish(drain_time).await;
    tracing::info!("stopped");
    outcome.map_err(Into::into)?;
    Ok(finished?)
}

fn fail(service: &Service, code: u8, error: &(dyn Error + 'static)) -> ExitCode {
    eprintln!("{}: {}", service.name, with_causes(error));
    ExitCode::from(code)
}

/// The error and its causes in one line, each said once.
fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            write!(text, ": {said}").expect("a string takes any text");
        }
        cause = error.source();
    }
    text
}
