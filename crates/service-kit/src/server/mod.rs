//! Services behind one gRPC port.

mod connection;
mod places;

use std::convert::Infallible;
use std::time::{Duration, Instant};

use http::{Request, Response};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;
use tower::Service;

use crate::health::{Health, Probe};
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::stack::{Gate, MethodTable, Phases, Stack};
use connection::Arrival;
use places::Places;

/// Pause after a failed accept: out of file descriptors, retrying at once would only burn the CPU.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Collects services, then serves them over TCP, with TLS where the gate has a certificate
/// ([`Server::serve`]), or in process ([`Server::stack`]), behind the same layers.
///
/// ```no_run
/// # use pentad_service_kit::{Gate, Metrics, Server, health};
/// # use tonic_health::{pb::health_server::HealthServer, server::HealthService};
/// # async fn serve(
/// #     gate: Gate, example: HealthServer<HealthService>,
/// #     listener: tokio::net::TcpListener, shutdown: tokio_util::sync::CancellationToken,
/// # ) -> Result<(), pentad_service_kit::server::BuildError> {
/// let store = health::probe("store", || async { Ok(()) });
/// Server::new(gate, Metrics::new())
///     .service(example, [store])
///     .serve(listener, shutdown)
///     .await
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Server {
    routes: Routes,
    methods: Option<MethodTable>,
    gate: Gate,
    health: Health,
    metrics: Metrics,
    limits: Limits,
    reflection: bool,
    admin: bool,
    drain_time: Duration,
}

/// Why the services cannot be put together.
#[derive(Debug, Error)]
pub enum BuildError {
    /// The descriptors that are built in cannot be read.
    #[error("the built-in descriptors are damaged: {0}")]
    Descriptors(#[from] tonic_reflection::server::Error),
}

impl Server {
    /// A server without services: reflection and admin methods on, default limits, 10 s to drain.
    #[must_use]
    pub fn new(gate: Gate, metrics: Metrics) -> Self {
        Self {
            routes: Routes::default(),
            methods: None,
            gate,
            health: Health::default(),
            metrics,
            limits: Limits::default(),
            reflection: true,
            admin: true,
            drain_time: Duration::from_secs(10),
        }
    }

    /// Adds a generated service, and what it depends on to be healthy.
    #[must_use]
    pub fn service<S>(mut self, service: S, probes: impl IntoIterator<Item = Probe>) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        self.routes = self.routes.add_service(service);
        self.health.depend::<S>(probes);
        self
    }

    /// Replaces the table of methods, which is that of the protos.
    #[must_use]
    pub fn methods(mut self, methods: MethodTable) -> Self {
        self.methods = Some(methods);
        self
    }

    /// Replaces the limits.
    #[must_use]
    pub const fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Whether reflection is served.
    #[must_use]
    pub const fn reflection(mut self, on: bool) -> Self {
        self.reflection = on;
        self
    }

    /// Whether methods that ask for the right `admin` are served.
    #[must_use]
    pub const fn admin(mut self, on: bool) -> Self {
        self.admin = on;
        self
    }

    /// How long calls in flight may take to finish after the shutdown signal.
    #[must_use]
    pub const fn drain_time(mut self, time: Duration) -> Self {
        self.drain_time = time;
        self
    }

    /// The services behind all layers, with limits of their own, until `phases` end them.
    ///
    /// # Errors
    /// When the built-in descriptors are damaged.
    pub fn stack(&self, phases: Phases) -> Result<Stack, BuildError> {
        let mut routes = self.routes.clone().add_service(self.health.service());
        if self.reflection {
            routes = routes
                .add_service(self.descriptors().build_v1()?)
                .add_service(self.descriptors().build_v1alpha()?);
        }
        let methods = self.methods.clone();
        let methods = methods.unwrap_or_else(|| MethodTable::declared(self.reflection, self.admin));
        let gate = self.gate.clone();
        Ok(Stack::new(routes, methods, gate, &self.metrics, &self.limits, phases))
    }

    fn descriptors(&self) -> tonic_reflection::server::Builder<'static> {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(pentad_api::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    }

    /// Serves until `shutdown`, then drains: health says NOT_SERVING, streams end with UNAVAILABLE,
    /// unary calls finish; after the drain time what is left is cut off. Returns once all
    /// connections are closed.
    ///
    /// # Errors
    /// When the services cannot be put together.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> Result<(), BuildError> {
        let phases = Phases::default();
        let stack = self.stack(phases.clone())?;
        self.health.report_down().await;
        let probing = tokio::spawn(self.health.clone().run(self.metrics.clone(), shutdown.clone()));
        let connections = TaskTracker::new();
        self.accept(&listener, &connections, &stack, &phases, &shutdown).await;
        drop(listener);
        if let Err(error) = probing.await {
            tracing::error!(%error, "the health probes failed");
        }
        self.health.report_down().await;
        phases.draining.cancel();
        connections.close();
        if timeout(self.drain_time, connections.wait()).await.is_err() {
            tracing::warn!(connections = connections.len(), "cutting off what did not finish");
            phases.aborted.cancel();
            connections.wait().await;
        }
        Ok(())
    }

    /// Accepts connections until `shutdown`.
    async fn accept(
        &self,
        listener: &TcpListener,
        connections: &TaskTracker,
        stack: &Stack,
        phases: &Phases,
        shutdown: &CancellationToken,
    ) {
        let places = Places::new(&self.limits, self.metrics.connections.open.clone());
        while let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await {
            let (stream, client) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Some(place) = places.take(client.ip(), Instant::now()) else {
                self.metrics.connections.refused.inc();
                continue;
            };
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "cannot switch off Nagle's algorithm");
            }
            let arrival = Arrival {
                stack: stack.clone(),
                limits: self.limits,
                phases: phases.clone(),
                failed_handshakes: self.metrics.connections.failed_handshakes.clone(),
                address: client.ip(),
            };
            let tls = self.gate.trust().tls.clone();
            connections.spawn(async move {
                arrival.serve(stream, tls).await;
                drop(place);
            });
        }
    }
}
