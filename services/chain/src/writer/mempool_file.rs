//! Looking after the mempool: what has waited too long goes, the rest survives a restart.

use std::time::{Duration, Instant};

use pentad_api::chain::v1::RemovalReason;
use pentad_ledger::verify::CheckedTransaction;
use pentad_primitives::Transaction;
use pentad_store::{DataDir, IndexError, StoreError, TransactionFile};

use super::Writer;
use crate::view::MempoolEvent;

/// Least time between two saves of the mempool: what a kill may cost.
const SAVE_INTERVAL: Duration = Duration::from_secs(2);
/// A large mempool is saved less often: this many bytes for each second since the last save.
const SAVE_BYTES_PER_SECOND: u64 = 2_000_000;

/// The mempool on disk, and how far it lags behind.
#[derive(Debug)]
pub(super) struct MempoolFile {
    file: TransactionFile,
    /// The mempool's counter of changes when it was saved.
    saved: u64,
    saved_at: Instant,
}

impl MempoolFile {
    pub(super) fn new(directory: &DataDir) -> Self {
        Self { file: TransactionFile::new(directory), saved: 0, saved_at: Instant::now() }
    }
}

impl Writer {
    /// Admits again what waited when the mempool was last saved.
    pub(super) fn load_mempool(&mut self) -> Result<(), StoreError> {
        let transactions = match self.waiting.file.load() {
            Ok(transactions) => transactions,
            Err(error) => {
                tracing::warn!(%error, "starting with an empty mempool");
                return Ok(());
            }
        };
        let found = transactions.len();
        let mut admitted = 0;
        for transaction in transactions {
            if let Ok(checked) = CheckedTransaction::check(transaction, &self.spec.limits())
                && self.on_transaction(checked, None)?.is_ok_and(|admission| admission.is_new)
            {
                admitted += 1;
            }
        }
        if found > 0 {
            tracing::info!(found, admitted, "mempool loaded");
        }
        self.waiting.saved = self.published.mempool_changes();
        Ok(())
    }

    /// What is to be done now and then.
    pub(super) fn keep_house(&mut self) -> Result<(), StoreError> {
        if let Some(failure) = self.published.index_failure() {
            return Err(IndexError::Reported(failure.to_owned()).into());
        }
        self.expire();
        let bytes = self.published.mempool().total_bytes();
        self.metrics.on_memory(self.store.memory(), bytes);
        self.published.flow.on_coin_reads(self.store.coin_reads());
        let MempoolFile { saved, saved_at, .. } = self.waiting;
        let seconds = bytes as u64 / SAVE_BYTES_PER_SECOND;
        let interval = SAVE_INTERVAL.max(Duration::from_secs(seconds));
        if self.published.mempool_changes() != saved && saved_at.elapsed() >= interval {
            self.save_mempool();
        }
        Ok(())
    }

    /// Failing to save is a pity, no reason to stop.
    pub(super) fn save_mempool(&mut self) {
        let changes = self.published.mempool_changes();
        let waiting = self.published.mempool().gather(|entry| entry.transaction().clone());
        let transactions = waiting.in_topological_order();
        if let Err(error) =
            self.waiting.file.save(transactions.iter().map(AsRef::<Transaction>::as_ref))
        {
            tracing::warn!(%error, "the mempool is not saved");
        }
        self.waiting.saved = changes;
        self.waiting.saved_at = Instant::now();
    }

    /// Drops what has waited too long.
    fn expire(&mut self) {
        let now = self.clock.unix_seconds();
        let count = self.published.change(|mempool| {
            let gone = mempool.expire(now).into_iter();
            let events = gone.map(|txid| MempoolEvent::Removed(txid, RemovalReason::Expired));
            let events = events.collect();
            (mempool.len(), None, events)
        });
        self.metrics.on_mempool(count);
    }
}
