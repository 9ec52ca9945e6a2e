//! `grpc.health.v1` that tells the truth: a service serves while the probes of all it depends on
//! succeed.
//!
//! Every service starts as NOT_SERVING. Probes run at once, then twice a second, and more often
//! while something is down; a change is pushed to those who watch, logged with its reason, and
//! shown as `pentad_dependency_up`. The empty service name stands for all services together.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use pentad_api::Connection;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus as ServingStatusMessage;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health as HealthRpc, HealthServer};
use tonic_health::server::{HealthReporter, HealthService};

use crate::metrics::Metrics;

/// How often probes run while all is well.
const PROBE_INTERVAL: Duration = Duration::from_millis(500);
/// How often they run while something is down: it is waited for.
const PROBE_INTERVAL_DOWN: Duration = Duration::from_millis(50);
/// A probe that takes longer has failed.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// All services together.
const WHOLE_SERVER: &str = "";

/// Why a dependency is not there, for the log.
pub type Unhealthy = String;

/// Tells whether one dependency is there.
pub trait HealthProbe: Send + Sync + 'static {
    /// The dependency, in a word: `store`, `chain`. Probes of one name count as one dependency.
    fn name(&self) -> &str;
    /// `Ok` while it is there; else why not.
    fn check(&self) -> BoxFuture<'_, Result<(), Unhealthy>>;
}

/// A probe behind a cheap handle, so that several services can depend on it.
#[derive(Clone)]
pub struct Probe(Arc<dyn HealthProbe>);

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Probe").field(&self.0.name()).finish()
    }
}

impl<P: HealthProbe> From<P> for Probe {
    fn from(probe: P) -> Self {
        Self(Arc::new(probe))
    }
}

/// A probe from a closure.
///
/// ```
/// use pentad_service_kit::health;
/// let store = health::probe("store", || async { Ok(()) });
/// # drop(store);
/// ```
pub fn probe<F, Fut>(name: &'static str, check: F) -> Probe
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Unhealthy>> + Send + 'static,
{
    Probe::from(Closure { name, check })
}

struct Closure<F> {
    name: &'static str,
    check: F,
}

impl<F, Fut> HealthProbe for Closure<F>
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Unhealthy>> + Send + 'static,
{
    fn name(&self) -> &str {
        self.name
    }

    fn check(&self) -> BoxFuture<'_, Result<(), Unhealthy>> {
        Box::pin((self.check)())
    }
}

/// A probe that asks another service for its health. `service` is its full name, such as
/// `pentad.chain.v1.ChainService`; never the whole server, which in the all-in-one node would
/// depend on itself.
#[must_use]
pub fn remote(name: &'static str, connection: Connection, service: &'static str) -> Probe {
    Probe::from(Remote { name, service, client: HealthClient::new(connection) })
}

struct Remote {
    name: &'static str,
    service: &'static str,
    client: HealthClient<Connection>,
}

impl HealthProbe for Remote {
    fn name(&self) -> &str {
        self.name
    }

    fn check(&self) -> BoxFuture<'_, Result<(), Unhealthy>> {
        let mut client = self.client.clone();
        let request = HealthCheckRequest { service: self.service.to_owned() };
        Box::pin(async move {
            match client.check(request).await {
                Ok(reply) if reply.get_ref().status() == ServingStatusMessage::Serving => Ok(()),
                Ok(_) => Err(format!("{} is not serving", self.service)),
                Err(status) => Err(format!("{}: {}", status.code(), status.message())),
            }
        })
    }
}

/// The health of all services of one server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Health {
    reporter: HealthReporter,
    dependents: BTreeMap<&'static str, Vec<Probe>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DependencyLabels {
    dependency: String,
}

type Outcomes = BTreeMap<String, Result<(), Unhealthy>>;

/// What the last probes found and what was said of it.
#[derive(Debug, Default)]
struct Known {
    outcomes: Outcomes,
    reported: BTreeMap<&'static str, bool>,
}

impl Health {
    pub(crate) fn depend<S: NamedService>(&mut self, probes: impl IntoIterator<Item = Probe>) {
        self.dependents.entry(S::NAME).or_default().extend(probes);
    }

    pub(crate) fn service(&self) -> HealthServer<impl HealthRpc> {
        HealthServer::new(HealthService::from_health_reporter(self.reporter.clone()))
    }

    /// Reports NOT_SERVING for everything, as before the first probes and while draining.
    pub(crate) async fn report_down(&self) {
        for name in self.dependents.keys().copied().chain([WHOLE_SERVER]) {
            self.reporter.set_service_status(name, ServingStatus::NotServing).await;
        }
    }

    /// Probes and reports until `stop`.
    pub(crate) async fn run(self, metrics: Metrics, stop: CancellationToken) {
        let up: Family<DependencyLabels, Gauge> = Family::default();
        metrics.register(|registry| {
            registry.register("dependency_up", "1 while the dependency is there", up.clone());
        });
        let mut known = Known::default();
        let probing = async {
            loop {
                // In the all-in-one node one service's health is another's dependency: a change
                // travels along the whole chain now, not one link per tick.
                for _ in 0..=self.dependents.len() {
                    if !self.probe_once(&mut known, &up).await {
                        break;
                    }
                }
                let is_up = known.outcomes.values().all(Result::is_ok);
                tokio::time::sleep(if is_up { PROBE_INTERVAL } else { PROBE_INTERVAL_DOWN }).await;
            }
        };
        stop.run_until_cancelled(probing).await;
    }

    /// Whether what is reported changed.
    async fn probe_once(&self, known: &mut Known, up: &Family<DependencyLabels, Gauge>) -> bool {
        let found = self.probe_all().await;
        for (dependency, outcome) in &found {
            let labels = DependencyLabels { dependency: dependency.clone() };
            up.get_or_create(&labels).set(i64::from(outcome.is_ok()));
            log_change(dependency, known.outcomes.get(dependency), outcome);
        }
        let changed = self.report(&found, &mut known.reported).await;
        known.outcomes = found;
        changed
    }

    async fn probe_all(&self) -> Outcomes {
        let probes: BTreeMap<&str, &Probe> =
            self.dependents.values().flatten().map(|probe| (probe.0.name(), probe)).collect();
        let checks = probes.into_iter().map(|(name, probe)| async move {
            let late = || Err(format!("no answer within {PROBE_TIMEOUT:?}"));
            let outcome = timeout(PROBE_TIMEOUT, probe.0.check()).await.unwrap_or_else(|_| late());
            (name.to_owned(), outcome)
        });
        join_all(checks).await.into_iter().collect()
    }

    /// Pushes what changed since the last time; whether anything did.
    async fn report(&self, found: &Outcomes, reported: &mut BTreeMap<&'static str, bool>) -> bool {
        let is_up = |probe: &Probe| found.get(probe.0.name()).is_some_and(Result::is_ok);
        let mut services: Vec<(&'static str, bool)> = self
            .dependents
            .iter()
            .map(|(name, probes)| (*name, probes.iter().all(is_up)))
            .collect();
        services.push((WHOLE_SERVER, services.iter().all(|(_, up)| *up)));
        let mut changed = false;
        for (name, up) in services {
            if reported.insert(name, up) != Some(up) {
                let status = if up { ServingStatus::Serving } else { ServingStatus::NotServing };
                self.reporter.set_service_status(name, status).await;
                changed = true;
            }
        }
        changed
    }
}

fn log_change(
    dependency: &str,
    before: Option<&Result<(), Unhealthy>>,
    now: &Result<(), Unhealthy>,
) {
    match (before, now) {
        (Some(before), now) if before == now => {}
        (_, Ok(())) => tracing::info!(dependency, "dependency is up"),
        // At the start, others are still starting.
        (None, Err(reason)) => tracing::info!(dependency, %reason, "waiting for dependency"),
        (Some(_), Err(reason)) => tracing::warn!(dependency, %reason, "dependency is down"),
    }
}
