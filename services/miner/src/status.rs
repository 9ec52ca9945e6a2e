//! What the miner is doing, for those who ask.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use pentad_api::miner::v1::GetStatusResponse;

use crate::meter::Meter;
use crate::workers::Workers;

/// The service's counters and its present task. The mutex is held for a few instructions.
#[derive(Debug, Default)]
pub(crate) struct Status {
    pub(crate) meter: Arc<Meter>,
    found: AtomicU64,
    stale: AtomicU64,
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
    pub(crate) fn count_found(&self) {
        self.found.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_stale(&self) {
        self.stale.fetch_add(1, Ordering::Relaxed);
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
            blocks_found: self.found.load(Ordering::Relaxed),
            blocks_stale: self.stale.load(Ordering::Relaxed),
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
