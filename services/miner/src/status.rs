//! What the miner is doing, for those who ask.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use pentad_api::miner::v1::GetStatusResponse;
use pentad_service_kit::Metrics;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Unit;

use crate::meter::Meter;
use crate::metrics::MinerMetrics;
use crate::workers::Workers;

/// The service's counters and its present task. The mutex is held for a few instructions.
#[derive(Debug, Default)]
pub(crate) struct Status {
    pub(crate) meter: Arc<Meter>,
    found: Counter,
    stale: Counter,
    metrics: MinerMetrics,
    task: Mutex<Option<Task>>,
    pub(crate) workers: Workers,
}

/// What is being mined.
#[derive(Clone, Debug, Default)]
pub(crate) struct Task {
    pub(crate) threads: u32,
    pub(crate) payout_address: String,
    /// Height that is worked on; 0 until there is work.
    pub(crate) height: u32,
    /// It was told to rest.
    pub(crate) paused: bool,
}

impl Status {
    pub(crate) fn register(&self, metrics: &Metrics) {
        metrics.register(|registry| {
            let registry = registry.sub_registry_with_prefix("miner");
            registry.register("blocks_found", "Blocks found and connected", self.found.clone());
            registry.register("blocks_stale", "Blocks found too late", self.stale.clone());
            let (switch, seconds) = (self.meter.switch.clone(), Unit::Seconds);
            registry.register_with_unit("switch", "To begin with new work", seconds, switch);
            self.metrics.register_in(registry);
        });
    }

    /// Notes how fast the search is; called a few times a second.
    pub(crate) fn sample(&self, now: Instant) {
        self.meter.sample(now);
        let (workers, workers_rate) = self.workers.total(now);
        self.metrics.set(self.meter.rate(now), workers, workers_rate);
    }

    pub(crate) fn count_found(&self) {
        self.found.inc();
    }

    pub(crate) fn count_stale(&self) {
        self.stale.inc();
    }

    pub(crate) fn set_task(&self, task: Option<Task>) {
        *self.task() = task;
    }

    pub(crate) fn set_height(&self, height: u32) {
        if let Some(task) = self.task().as_mut() {
            task.height = height;
        }
    }

    pub(crate) fn set_paused(&self, paused: bool) {
        if let Some(task) = self.task().as_mut() {
            task.paused = paused;
        }
    }

    pub(crate) fn message(&self) -> GetStatusResponse {
        let task = self.task().clone();
        let mining = task.is_some();
        let Task { threads, payout_address, height, paused } = task.unwrap_or_default();
        let now = Instant::now();
        let hash_rate = self.meter.rate(now);
        let (workers, workers_hash_rate) = self.workers.total(now);
        GetStatusResponse {
            mining,
            threads,
            payout_address,
            hash_rate,
            hashes: self.meter.hashes(),
            blocks_found: self.found.get(),
            blocks_stale: self.stale.get(),
            height,
            paused,
            workers,
            workers_hash_rate,
            total_hash_rate: hash_rate + workers_hash_rate,
        }
    }

    fn task(&self) -> MutexGuard<'_, Option<Task>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
