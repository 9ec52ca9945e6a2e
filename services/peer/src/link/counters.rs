//! What went over a link.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use pentad_wire::{Class, Tallies, Tally};
use prometheus_client::metrics::counter::Counter;
use tokio::time::Instant;

/// Bytes of one link, added up for the service too.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    received: AtomicU64,
    sent: AtomicU64,
    skipped: AtomicU64,
    /// A std mutex is right: it is held while a few numbers are copied.
    by_class: Mutex<Tallies>,
    /// Bytes of frames that have begun to arrive, and since when the oldest of them has.
    arriving: Mutex<Option<(usize, Instant)>>,
    total: Totals,
}

/// Bytes of all links.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) received: Counter,
    pub(crate) sent: Counter,
    pub(crate) skipped: Counter,
}

impl Counters {
    pub(crate) fn new(total: Totals) -> Self {
        Self { total, ..Self::default() }
    }

    pub(super) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Relaxed);
        self.total.received.inc_by(bytes as u64);
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Relaxed);
        self.total.sent.inc_by(bytes as u64);
    }

    /// `frames` of unknown kinds were skipped since the link was opened.
    pub(super) fn skipped(&self, frames: u64) {
        let before = self.skipped.swap(frames, Relaxed);
        self.total.skipped.inc_by(frames.saturating_sub(before));
    }

    /// What was received since the link was opened.
    pub(super) fn tallied(&self, tallies: Tallies) {
        *self.by_class.lock().unwrap_or_else(PoisonError::into_inner) = tallies;
    }

    pub(super) fn arrives(&self, bytes: usize, since: Instant) {
        let arriving = (bytes > 0).then_some((bytes, since));
        *self.arriving.lock().unwrap_or_else(PoisonError::into_inner) = arriving;
    }

    /// Bytes of frames that have begun to arrive, and since when the oldest of them has.
    pub(crate) fn arriving(&self) -> Option<(usize, Instant)> {
        *self.arriving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn received_in(&self, class: Class) -> Tally {
        self.by_class.lock().unwrap_or_else(PoisonError::into_inner).of(class)
    }

    pub(crate) fn bytes_received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    pub(crate) fn bytes_sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }
}
