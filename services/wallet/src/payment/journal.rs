//! Payments on disk, until they are deep in the chain.
//!
//! A payment with an idempotency key is written down before it is submitted: a retry, also after
//! a crash, finds the very bytes of the first attempt and never signs a second payment. A payment
//! without one is written down before it is answered. Both are submitted again when they vanish
//! from the mempool, and their coins stay claimed, until they are settled.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pentad_primitives::{OutPoint, Txid};
use thiserror::Error;

use super::committer::Committer;
use super::record::{PaymentKey, Progress, Record, unix_time};

/// How long a caller's key is remembered: nobody retries a payment for longer than a month.
const RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);
/// Pages that sled may keep in memory: records are read once or twice, and soon after writing.
const CACHE_BYTES: u64 = 4 * 1024 * 1024;

/// The journal of payments.
#[derive(Debug)]
pub(crate) struct Journal {
    records: sled::Db,
    committer: Committer,
    /// Those whose progress is not final. A std mutex is right: it is never held for long, nor
    /// across an await.
    unsettled: Mutex<HashMap<PaymentKey, Unsettled>>,
}

/// What is kept in memory of a payment that is not settled.
#[derive(Clone, Debug)]
pub(crate) struct Unsettled {
    pub(crate) txid: Txid,
    pub(crate) inputs: Vec<OutPoint>,
    /// Unix seconds.
    time: u64,
}

/// The journal cannot be read or written.
#[derive(Debug, Error)]
pub enum JournalError {
    /// The store failed.
    #[error("the payment journal cannot be used: {0}")]
    Store(#[from] sled::Error),
    /// Its writer cannot be started.
    #[error("the payment journal has no writer: {0}")]
    Writer(#[from] std::io::Error),
    /// Its writer has ended.
    #[error("the writer of the payment journal has ended")]
    Ended,
    /// A record is not what was written.
    #[error("a record of the payment journal is damaged")]
    Damaged,
}

impl Journal {
    /// Opens or makes the journal in `directory`.
    pub(crate) fn open(directory: &Path) -> Result<Self, JournalError> {
        let records = sled::Config::new()
            .path(directory)
            .cache_capacity(CACHE_BYTES)
            // Every write that matters is flushed by the one who makes it.
            .flush_every_ms(None)
            .open()?;
        let committer = Committer::start(sled::Tree::clone(&records))?;
        let journal = Self { records, committer, unsettled: Mutex::default() };
        journal.load(unix_time().saturating_sub(RETENTION.as_secs()))?;
        Ok(journal)
    }

    /// Finds what is unsettled; forgets what is settled and older than `oldest`.
    fn load(&self, oldest: u64) -> Result<(), JournalError> {
        for entry in self.records.iter() {
            let (key, bytes) = entry?;
            let record = Record::from_bytes(&bytes).ok_or(JournalError::Damaged)?;
            if !record.progress.is_final() {
                self.unsettled().insert(PaymentKey::from_bytes(&key), Unsettled::of(&record));
            } else if record.time < oldest {
                self.records.remove(key)?;
            }
        }
        Ok(())
    }

    pub(crate) fn get(&self, key: &PaymentKey) -> Result<Option<Record>, JournalError> {
        let bytes = self.records.get(key.as_bytes())?;
        let parse = |bytes: sled::IVec| Record::from_bytes(&bytes).ok_or(JournalError::Damaged);
        bytes.map(parse).transpose()
    }

    /// Returns once the record would survive the death of the process. Many at one time share one
    /// write to the disk.
    pub(crate) async fn put(&self, key: &PaymentKey, record: &Record) -> Result<(), JournalError> {
        self.unsettled().insert(key.clone(), Unsettled::of(record));
        self.commit(key, Some(record.to_bytes())).await
    }

    /// Notes how far a payment has come. Not flushed: when the note is lost, the payment is looked
    /// up or submitted again, which changes nothing.
    pub(crate) fn note(&self, key: &PaymentKey, progress: Progress) -> Result<(), JournalError> {
        if progress.is_final() {
            self.unsettled().remove(key);
            if !key.is_callers() {
                self.records.remove(key.as_bytes())?;
                return Ok(());
            }
        }
        if let Some(record) = self.get(key)? {
            self.records.insert(key.as_bytes(), Record { progress, ..record }.to_bytes())?;
        }
        Ok(())
    }

    /// Forgets a payment that was never made, so that its key can be used again.
    pub(crate) async fn remove(&self, key: &PaymentKey) -> Result<(), JournalError> {
        self.unsettled().remove(key);
        self.commit(key, None).await
    }

    async fn commit(&self, key: &PaymentKey, value: Option<Vec<u8>>) -> Result<(), JournalError> {
        let written = self.committer.write(key.as_bytes().to_vec(), value).await;
        Ok(written.ok_or(JournalError::Ended)??)
    }

    /// The payments that are not settled, oldest first.
    pub(crate) fn list_unsettled(&self) -> Vec<(PaymentKey, Unsettled)> {
        let mut list: Vec<_> =
            self.unsettled().iter().map(|(key, payment)| (key.clone(), payment.clone())).collect();
        list.sort_by_key(|(_, payment)| payment.time);
        list
    }

    /// Blocks on the disk.
    pub(crate) fn flush(&self) -> Result<(), JournalError> {
        self.records.flush()?;
        Ok(())
    }

    fn unsettled(&self) -> MutexGuard<'_, HashMap<PaymentKey, Unsettled>> {
        self.unsettled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Unsettled {
    fn of(record: &Record) -> Self {
        let inputs = record.transaction.inputs.iter().map(|input| input.previous_output);
        Self { txid: record.transaction.txid(), inputs: inputs.collect(), time: record.time }
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::record;
    use super::*;

    fn key(wallet: &str, key: &str) -> PaymentKey {
        PaymentKey::of_caller(&wallet.parse().expect("a name"), key)
    }

    #[tokio::test]
    async fn records_survive_reopening() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let record = record(Progress::Recorded);
        {
            let journal = Journal::open(directory.path()).expect("opens");
            journal.put(&key("a", "1"), &record).await.expect("written");
            assert_eq!(journal.get(&key("b", "1")).expect("readable"), None);
        }
        let journal = Journal::open(directory.path()).expect("opens again");
        assert_eq!(journal.get(&key("a", "1")).expect("readable"), Some(record));
        assert_eq!(journal.list_unsettled().len(), 1);
        journal.remove(&key("a", "1")).await.expect("written");
        assert_eq!(journal.get(&key("a", "1")).expect("readable"), None);
        assert!(journal.list_unsettled().is_empty());
    }

    #[tokio::test]
    async fn settled_payments_are_kept_for_their_callers_only() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let record = record(Progress::Submitted);
        let keyed = key("a", "1");
        let unkeyed = PaymentKey::of_transaction(&record.transaction.txid());
        {
            let journal = Journal::open(directory.path()).expect("opens");
            for key in [&keyed, &unkeyed] {
                journal.put(key, &record).await.expect("written");
                journal.note(key, Progress::Settled).expect("written");
            }
            assert!(journal.list_unsettled().is_empty());
            journal.flush().expect("written");
        }
        let journal = Journal::open(directory.path()).expect("opens again");
        assert!(journal.list_unsettled().is_empty());
        let kept = journal.get(&keyed).expect("readable").expect("kept");
        assert_eq!(kept.progress, Progress::Settled);
        assert_eq!(journal.get(&unkeyed).expect("readable"), None);
    }

    #[tokio::test]
    async fn only_settled_payments_grow_too_old() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let journal = Journal::open(directory.path()).expect("opens");
        let old = Record { time: 1000, ..record(Progress::Settled) };
        journal.put(&key("a", "old"), &old).await.expect("written");
        let waiting = Record { time: 1000, ..record(Progress::Submitted) };
        journal.put(&key("a", "waiting"), &waiting).await.expect("written");
        journal.put(&key("a", "new"), &record(Progress::Settled)).await.expect("written");
        journal.load(1001).expect("readable");
        let is_there = |name| journal.get(&key("a", name)).expect("readable").is_some();
        assert_eq!(["old", "waiting", "new"].map(is_there), [false, true, true]);
    }
}
