//! `grpc.health.v1` that tells the truth: a service serves while the probes of all it depends on
//! succeed.
//!
//! Every service starts as NOT_SERVING. Probes run at once, then twice a second, and more often
//! while something is down; a change is pushed to those who watch, logged with its reason, and
//! shown as `pentad_dependency_up`. The empty service name stands for all services together.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use pentad_api::Connection;
use pentad_api::status::root_cause;
use pentad_trust::HandshakeError;
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
/// Reasons that are told of a dependency until it is up again. A connection may break in turn in
/// several ways, twenty times a second.
const REASONS_MAX: usize = 8;
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
                Err(status) => Err(match HandshakeError::among(&status) {
                    Some(error) => error.to_string(),
                    None => root_cause(&status),
                }),
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
    /// Why dependencies that are down are, as far as it was told.
    told: BTreeMap<String, BTreeSet<Unhealthy>>,
    /// Dependencies that have been up.
    met: BTreeSet<String>,
}

/// What is new about a dependency.
#[derive(Debug, PartialEq, Eq)]
enum News<'a> {
    Up,
    /// It has not been there yet: at the start, others are still starting.
    Awaited(&'a str),
    Down(&'a str),
}

impl Known {
    /// What is to be told of an outcome.
    fn news<'a>(&mut self, dependency: &str, now: &'a Result<(), Unhealthy>) -> Option<News<'a>> {
        let before = self.outcomes.get(dependency);
        let Err(reason) = now else {
            self.told.remove(dependency);
            self.met.insert(dependency.to_owned());
            return (before != Some(now)).then_some(News::Up);
        };
        let told = self.told.entry(dependency.to_owned()).or_default();
        let is_new = told.len() < REASONS_MAX && told.insert(reason.clone());
        let is_met = self.met.contains(dependency);
        is_new.then_some(if is_met { News::Down(reason) } else { News::Awaited(reason) })
    }
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
            match known.news(dependency, outcome) {
                None => {}
                Some(News::Up) => tracing::info!(dependency, "dependency is up"),
                Some(News::Awaited(reason)) => {
                    tracing::info!(dependency, %reason, "waiting for dependency");
                }
                Some(News::Down(reason)) => {
                    tracing::warn!(dependency, %reason, "dependency is down");
                }
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_told_once_until_the_dependency_is_up() {
        let mut known = Known::default();
        let mut is_told = |reason: Option<&str>, news: Option<News<'_>>| {
            let outcome = reason.map_or(Ok(()), |reason| Err(reason.to_owned()));
            assert_eq!(known.news("chain", &outcome), news);
            known.outcomes.insert("chain".to_owned(), outcome);
        };
        is_told(Some("refused"), Some(News::Awaited("refused")));
        is_told(Some("reset"), Some(News::Awaited("reset")));
        for reason in ["refused", "reset", "refused"] {
            is_told(Some(reason), None);
        }
        is_told(None, Some(News::Up));
        is_told(None, None);
        is_told(Some("refused"), Some(News::Down("refused")));
        for number in 1..REASONS_MAX {
            let reason = number.to_string();
            is_told(Some(&reason), Some(News::Down(&reason)));
        }
        is_told(Some("one too many"), None);
    }
}
