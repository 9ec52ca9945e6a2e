//! What the service depends on, for its health and for those who ask why nothing moves.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Shared by the tasks of the service; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Vitals(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    chain_up: AtomicBool,
    relay_up: AtomicBool,
    /// Since when the safety log waits for its disk.
    disk_since: Mutex<Option<Instant>>,
    /// Why the replica takes no part any more.
    halted: Mutex<Option<String>>,
    /// Why the chain service does not take a block that a quorum committed.
    ledger_fault: Mutex<Option<String>>,
}

impl Vitals {
    pub(crate) fn set_chain_up(&self, up: bool) {
        self.0.chain_up.store(up, Ordering::Relaxed);
    }

    pub(crate) fn chain_up(&self) -> bool {
        self.0.chain_up.load(Ordering::Relaxed)
    }

    pub(crate) fn set_relay_up(&self, up: bool) {
        self.0.relay_up.store(up, Ordering::Relaxed);
    }

    pub(crate) fn relay_up(&self) -> bool {
        self.0.relay_up.load(Ordering::Relaxed)
    }

    pub(crate) fn set_disk_busy(&self, busy: bool) {
        *lock(&self.0.disk_since) = busy.then(Instant::now);
    }

    /// How long the safety log has waited for its disk.
    pub(crate) fn disk_wait(&self) -> Option<Duration> {
        lock(&self.0.disk_since).map(|since| since.elapsed())
    }

    /// Whether the validator can vote; else why not.
    pub(crate) fn check(&self) -> Result<(), String> {
        if let Some(reason) = self.halted().or_else(|| self.ledger_fault()) {
            Err(reason)
        } else if !self.chain_up() {
            Err("the chain service does not answer".to_owned())
        } else if !self.relay_up() {
            Err("the peer service does not take messages".to_owned())
        } else {
            Ok(())
        }
    }

    /// Why the driver does not answer.
    pub(crate) fn why_silent(&self) -> String {
        match self.disk_wait() {
            Some(wait) => format!("its safety log has waited {wait:.1?} for the disk"),
            None if !self.chain_up() => "it has not reached the chain service yet".to_owned(),
            None => "it is busy".to_owned(),
        }
    }

    pub(crate) fn halt(&self, reason: &str) {
        *lock(&self.0.halted) = Some(reason.to_owned());
    }

    pub(crate) fn set_ledger_fault(&self, reason: Option<String>) {
        *lock(&self.0.ledger_fault) = reason;
    }

    pub(crate) fn ledger_fault(&self) -> Option<String> {
        lock(&self.0.ledger_fault).clone()
    }

    pub(crate) fn halted(&self) -> Option<String> {
        lock(&self.0.halted).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
