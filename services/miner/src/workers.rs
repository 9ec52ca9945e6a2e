//! The workers that are connected, for those who ask.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use pentad_api::miner::v1::Worker;

use crate::error::MinerError;
use crate::shares::Shares;

/// Workers at once.
pub(crate) const WORKERS_MAX: usize = 256;

/// All of them. The mutexes are held for a few instructions.
#[derive(Debug, Default)]
pub(crate) struct Workers(Mutex<Registry>);

#[derive(Debug, Default)]
struct Registry {
    last: u64,
    workers: BTreeMap<u64, Arc<Mutex<Record>>>,
}

/// What one worker has done.
#[derive(Debug)]
pub(crate) struct Record {
    name: String,
    slots: u32,
    since: Instant,
    pub(crate) shares: Shares,
    pub(crate) accepted: u64,
    pub(crate) blocks: u64,
    pub(crate) stale: u64,
    pub(crate) wrong: u64,
}

/// A worker that stays in the list for as long as this lives.
#[derive(Debug)]
pub(crate) struct Listed<'a> {
    workers: &'a Workers,
    id: u64,
    record: Arc<Mutex<Record>>,
}

impl Workers {
    /// Takes a worker in.
    pub(crate) fn enter(&self, name: String, slots: u32) -> Result<Listed<'_>, MinerError> {
        let now = Instant::now();
        let record = Arc::new(Mutex::new(Record {
            name,
            slots,
            since: now,
            shares: Shares::new(now),
            accepted: 0,
            blocks: 0,
            stale: 0,
            wrong: 0,
        }));
        let mut registry = self.registry();
        if registry.workers.len() >= WORKERS_MAX {
            return Err(MinerError::Crowded { max: WORKERS_MAX });
        }
        registry.last += 1;
        let id = registry.last;
        registry.workers.insert(id, Arc::clone(&record));
        Ok(Listed { workers: self, id, record })
    }

    /// How many there are, and hashes per second of all.
    pub(crate) fn total(&self, now: Instant) -> (u32, f64) {
        let records: Vec<_> = self.registry().workers.values().cloned().collect();
        // From 0: the sum of no floats is -0, and would be shown as that.
        let rate = records.iter().fold(0.0, |sum, record| sum + lock(record).shares.rate(now));
        (u32::try_from(records.len()).unwrap_or(u32::MAX), rate)
    }

    /// Each of them, in the order in which they came.
    pub(crate) fn list(&self, now: Instant) -> Vec<Worker> {
        let records: Vec<_> = self.registry().workers.values().cloned().collect();
        records.iter().map(|record| lock(record).message(now)).collect()
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    fn message(&self, now: Instant) -> Worker {
        Worker {
            name: self.name.clone(),
            slots: self.slots,
            hash_rate: self.shares.rate(now),
            shares: self.accepted,
            blocks: self.blocks,
            stale: self.stale,
            wrong: self.wrong,
            seconds: now.duration_since(self.since).as_secs(),
        }
    }
}

impl Listed<'_> {
    pub(crate) fn record(&self) -> MutexGuard<'_, Record> {
        lock(&self.record)
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.workers.registry().workers.remove(&self.id);
    }
}

fn lock(record: &Mutex<Record>) -> MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}
