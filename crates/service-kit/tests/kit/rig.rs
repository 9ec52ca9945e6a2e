//! A server on a free port with an [`Echo`] in it.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use pentad_api::Connection;
use pentad_service_kit::{
    Binding, Cookie, Gate, InProcess, Limits, Metrics, Probe, Server, ServerConfig, TlsFiles, Trust,
};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::echo::Echo;

/// Longer than anything here takes, even on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Unix time in seconds.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_secs()).expect("before the end of time")
}

/// Fails the test instead of hanging.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it takes too long")
}

/// Polls until the condition holds.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub struct Rig {
    pub echo: Echo,
    pub gate: Gate,
    pub metrics: Metrics,
    pub address: SocketAddr,
    pub cookie_file: PathBuf,
    pub shutdown: CancellationToken,
    pub serving: JoinHandle<()>,
    pub in_process: InProcess,
    pub binding: Binding,
    _dir: TempDir,
}

pub struct Plan {
    pub echo: Echo,
    pub limits: Limits,
    pub drain_time: Duration,
    pub probes: Vec<Probe>,
    pub tls: TlsFiles,
    pub tokens: Option<PathBuf>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            echo: Echo::new(),
            limits: Limits::default(),
            drain_time: PATIENCE,
            probes: Vec::new(),
            tls: TlsFiles::default(),
            tokens: None,
        }
    }
}

/// Spans have trace ids in every test: which callsites are on is known to the whole process, so a
/// subscriber of one test alone would race with the others.
static TRACES: LazyLock<()> = LazyLock::new(|| {
    let provider = SdkTracerProvider::builder().build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    tracing_subscriber::registry().with(layer).init();
});

impl Rig {
    pub async fn start() -> Self {
        Self::with(Plan::default()).await
    }

    pub async fn limited(limits: Limits) -> Self {
        Self::with(Plan { limits, ..Plan::default() }).await
    }

    pub async fn with(plan: Plan) -> Self {
        LazyLock::force(&TRACES);
        let dir = tempfile::tempdir().expect("a temporary directory");
        let cookie_file = dir.path().join("cookie");
        let cookie = Cookie::load_or_create(&cookie_file).expect("a cookie");
        let metrics = Metrics::new();
        let tokens_file = plan.tokens;
        let config = ServerConfig { tokens_file, reload_ms: 10, ..ServerConfig::default() };
        let trust = Trust::load(&plan.tls, &config, &metrics).expect("files of use");
        let gate = Gate::trusting(cookie, &cookie_file, trust.clone());
        let shutdown = CancellationToken::new();
        tokio::spawn(trust.watch(shutdown.clone()));
        let server = Server::new(gate.clone(), metrics.clone())
            .service(plan.echo.clone(), plan.probes)
            .methods(Echo::methods())
            .limits(plan.limits)
            .drain_time(plan.drain_time);
        let in_process = InProcess::default();
        let binding = in_process.bind(&server).expect("bound");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let stop = shutdown.clone();
        let serving = tokio::spawn(async move {
            server.serve(listener, stop).await.expect("served");
        });
        let echo = plan.echo;
        Self {
            echo,
            gate,
            metrics,
            address,
            cookie_file,
            shutdown,
            serving,
            in_process,
            binding,
            _dir: dir,
        }
    }

    /// Over TCP, without a credential.
    pub fn stranger(&self) -> Connection {
        Connection::lazy(&format!("http://{}", self.address)).expect("an address")
    }

    /// Over TLS, known by and knowing what `files` hold, without another credential.
    pub fn tls(&self, files: &TlsFiles) -> Connection {
        let tls = files.load().expect("files of use");
        let address = format!("https://localhost:{}", self.address.port());
        Connection::open(&address, tls.as_ref()).expect("an address")
    }

    /// Over TCP, with the cookie.
    pub fn tcp(&self) -> Connection {
        self.stranger().with_credential(self.gate.cookie().reveal()).expect("a token")
    }

    /// In process, with the cookie.
    pub fn local(&self) -> Connection {
        self.in_process.connection(&self.gate).expect("a token")
    }

    /// Ends the server and waits for it.
    pub async fn stop(self) {
        self.shutdown.cancel();
        drop(self.binding);
        soon(self.serving).await.expect("no panic");
    }
}
