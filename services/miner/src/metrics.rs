//! Metrics of the miner service and of a worker.
//!
//! | metric | meaning |
//! |---|---|
//! | `pentad_miner_hash_rate` | header hashes per second of the threads here, over ten seconds |
//! | `pentad_miner_workers` | external workers that are connected |
//! | `pentad_miner_workers_hash_rate` | what their shares prove, over the last minute |
//! | `pentad_miner_blocks_found_total` | blocks found and connected |
//! | `pentad_miner_blocks_stale_total` | blocks found too late |
//! | `pentad_miner_switch_seconds` | from new work to each thread's first look at it |
//! | `pentad_worker_hash_rate` | header hashes per second over the last ten seconds |
//! | `pentad_worker_connected` | 1 while a miner answers |
//! | `pentad_worker_solutions_total{outcome}` | solutions handed in: share, block, stale, wrong |

use std::sync::atomic::AtomicU64;

use pentad_api::miner::v1::SolutionOutcome;
use pentad_service_kit::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

/// How fast a miner is.
#[derive(Debug, Default)]
pub(crate) struct MinerMetrics {
    rate: Gauge<f64, AtomicU64>,
    workers: Gauge,
    workers_rate: Gauge<f64, AtomicU64>,
}

impl MinerMetrics {
    pub(crate) fn register_in(&self, registry: &mut Registry) {
        registry.register("hash_rate", "Header hashes per second here", self.rate.clone());
        registry.register("workers", "External workers", self.workers.clone());
        let rate = self.workers_rate.clone();
        registry.register("workers_hash_rate", "Hashes per second of workers", rate);
    }

    pub(crate) fn set(&self, rate: f64, workers: u32, workers_rate: f64) {
        self.rate.set(rate);
        self.workers.set(workers.into());
        self.workers_rate.set(workers_rate);
    }
}

/// What a worker counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct WorkerMetrics {
    rate: Gauge<f64, AtomicU64>,
    connected: Gauge,
    solutions: Family<OutcomeLabels, Counter>,
}

impl WorkerMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let this = Self::default();
        metrics.register(|registry| {
            let registry = registry.sub_registry_with_prefix("worker");
            registry.register("hash_rate", "Header hashes per second", this.rate.clone());
            registry.register("connected", "A miner answers", this.connected.clone());
            registry.register("solutions", "Solutions handed in", this.solutions.clone());
        });
        this
    }

    pub(crate) fn set_rate(&self, rate: f64) {
        self.rate.set(rate);
    }

    pub(crate) fn set_connected(&self, connected: bool) {
        self.connected.set(connected.into());
    }

    pub(crate) fn on_outcome(&self, outcome: SolutionOutcome) {
        let outcome = match outcome {
            SolutionOutcome::Share => "share",
            SolutionOutcome::Block => "block",
            SolutionOutcome::Stale => "stale",
            SolutionOutcome::Unspecified
            | SolutionOutcome::Duplicate
            | SolutionOutcome::Wrong
            | SolutionOutcome::Refused => "wrong",
        };
        self.solutions.get_or_create(&OutcomeLabels { outcome }).inc();
    }
}
