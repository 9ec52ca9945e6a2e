//! Payments on disk, until they are deep in the chain.
//!
//! A payment with an idempotency key is written down before it is submitted: a retry, also after
//! a crash, finds the very bytes of the first attempt and never signs a second payment. A payment
//! without one is written down before it is answered. Both are submitted again when they vanish
//! from the mempool, and their coins stay claimed, until they are settled.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pentad_primitives::{OutPoint, Txid};
use pentad_store::open_sled;
use thiserror::Error;

use super::committer::Committer;
use super::record::{Made, PaymentKey, Progress, Record, unix_time};
use crate::metrics::{Kept, WriteTimes};

/// How long a caller's key is remembered: nobody retries a payment for longer than a month.
const RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);
/// Pages that sled may keep in memory: records are read once or twice, and soon after writing.
const CACHE_BYTES: u64 = 4 * 1024 * 1024;
/// Tree of payments that were made in the place of others, whose ids it keeps.
const REPLACED: &str = "replaced";

/// The journal of payments.
#[derive(Debug)]
pub(crate) struct Journal {
    records: sled::Db,
    replaced: sled::Tree,
    committer: Committer,
    times: WriteTimes,
    /// A std mutex is right: it is never held for long, nor across an await.
    unsettled: Mutex<Waiting>,
}

/// The payments whose progress is not final.
#[derive(Debug, Default)]
struct Waiting {
    payments: HashMap<PaymentKey, Unsettled>,
    /// Which of them took the place of another.
    successors: HashMap<Txid, PaymentKey>,
}

/// What is kept in memory of a payment that is not settled.
#[derive(Clone, Debug)]
pub(crate) struct Unsettled {
    pub(crate) txid: Txid,
    pub(crate) inputs: Vec<OutPoint>,
    /// How many outputs it has.
    outputs: u32,
    /// The payment in whose place it stands.
    replaces: Option<Txid>,
    /// Unix seconds.
    time: u64,
}

impl Unsettled {
    /// What it makes.
    pub(crate) fn outputs(&self) -> impl Iterator<Item = OutPoint> + use<> {
        let txid = self.txid;
        (0..self.outputs).map(move |vout| OutPoint { txid, vout })
    }
}

/// A payment that is not settled, and after it those that took its place, each that of the one
/// before: one of them is made.
pub(crate) type Versions = Vec<(PaymentKey, Unsettled)>;

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
    pub(crate) fn open(directory: &Path, times: WriteTimes) -> Result<Self, JournalError> {
        let config = sled::Config::new()
            .path(directory)
            .cache_capacity(CACHE_BYTES)
            // Every write that matters is flushed by the one who makes it.
            .flush_every_ms(None);
        let records = open_sled(&config)?;
        let committer = Committer::start(sled::Tree::clone(&records))?;
        let replaced = records.open_tree(REPLACED)?;
        let journal = Self { records, replaced, committer, times, unsettled: Mutex::default() };
        journal.load(unix_time().saturating_sub(RETENTION.as_secs()))?;
        Ok(journal)
    }

    /// Other rows that have to last.
    pub(crate) fn tree(&self, name: &str) -> Result<sled::Tree, JournalError> {
        Ok(self.records.open_tree(name)?)
    }

    /// Finds what is unsettled; forgets what is settled and older than `oldest`.
    fn load(&self, oldest: u64) -> Result<(), JournalError> {
        for entry in self.records.iter() {
            let (key, bytes) = entry?;
            let record = Record::from_bytes(&bytes).ok_or(JournalError::Damaged)?;
            if !record.progress.is_final() {
                self.unsettled().insert(PaymentKey::from_bytes(&key), &record);
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
        self.unsettled().insert(key.clone(), record);
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

    /// Another version of a payment is deep in the chain: whoever asks for this one is answered
    /// with that. Not flushed, and before the other one is settled.
    pub(crate) fn supersede(&self, key: &PaymentKey, made: &Made) -> Result<(), JournalError> {
        self.unsettled().remove(key);
        match self.get(key)?.filter(|_| key.is_callers()) {
            Some(record) => {
                let record = Record { progress: Progress::Settled, made: made.clone(), ..record };
                self.records.insert(key.as_bytes(), record.to_bytes())?;
            }
            None => drop(self.records.remove(key.as_bytes())?),
        }
        Ok(())
    }

    /// Keeps in whose place a payment was made, the first one first. Not flushed.
    pub(crate) fn note_replaced(&self, made: &Txid, before: &[Txid]) -> Result<(), JournalError> {
        let ids: Vec<u8> = before.iter().flat_map(|txid| *txid.as_bytes()).collect();
        self.replaced.insert(made.as_bytes(), ids)?;
        Ok(())
    }

    /// In whose place a payment stands, the first one first.
    pub(crate) fn replaced(&self, txid: &Txid) -> Result<Vec<Txid>, JournalError> {
        if let Some(ids) = self.replaced.get(txid.as_bytes())? {
            return Ok(ids.as_chunks().0.iter().map(|id| Txid::from_bytes(*id)).collect());
        }
        Ok(self.unsettled().before(txid))
    }

    /// The payment that stands in the place of another one now, if one does.
    pub(crate) fn successor(&self, txid: &Txid) -> Option<(PaymentKey, Txid)> {
        self.unsettled().last_after(txid)
    }

    /// A payment that is not settled, by its transaction id.
    pub(crate) fn find(&self, txid: &Txid) -> Option<PaymentKey> {
        let waiting = self.unsettled();
        let found = waiting.payments.iter().find(|(_, payment)| payment.txid == *txid);
        found.map(|(key, _)| key.clone())
    }

    /// Forgets a payment that was never made, so that its key can be used again.
    pub(crate) async fn remove(&self, key: &PaymentKey) -> Result<(), JournalError> {
        self.unsettled().remove(key);
        self.commit(key, None).await
    }

    async fn commit(&self, key: &PaymentKey, value: Option<Vec<u8>>) -> Result<(), JournalError> {
        let writing = async {
            let written = self.committer.write(key.as_bytes().to_vec(), value).await;
            Ok(written.ok_or(JournalError::Ended)??)
        };
        self.times.wait(Kept::Payments, writing).await
    }

    /// The payments that are not settled, oldest first.
    pub(crate) fn list_unsettled(&self) -> Vec<Versions> {
        let mut list = self.unsettled().versions();
        list.sort_by_key(|versions| versions.first().map(|(_, payment)| payment.time));
        list
    }

    /// How many transactions are not settled, those that took another's place counted as well.
    pub(crate) fn unsettled_len(&self) -> usize {
        self.unsettled().payments.len()
    }

    /// Blocks on the disk.
    pub(crate) fn flush(&self) -> Result<(), JournalError> {
        self.records.flush()?;
        Ok(())
    }

    fn unsettled(&self) -> MutexGuard<'_, Waiting> {
        self.unsettled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn insert(&mut self, key: PaymentKey, record: &Record) {
        let Made { transaction, replaces, .. } = &record.made;
        if let Some(replaced) = replaces {
            self.successors.insert(*replaced, key.clone());
        }
        let inputs = transaction.inputs.iter().map(|input| input.previous_output).collect();
        let outputs = u32::try_from(transaction.outputs.len()).unwrap_or(u32::MAX);
        let (txid, replaces, time) = (transaction.txid(), *replaces, record.time);
        self.payments.insert(key, Unsettled { txid, inputs, outputs, replaces, time });
    }

    fn remove(&mut self, key: &PaymentKey) {
        let replaced = self.payments.remove(key).and_then(|payment| payment.replaces);
        if let Some(replaced) = replaced.filter(|it| self.successors.get(it) == Some(key)) {
            self.successors.remove(&replaced);
        }
    }

    fn next(&self, txid: &Txid) -> Option<(PaymentKey, Unsettled)> {
        let key = self.successors.get(txid)?;
        Some((key.clone(), self.payments.get(key)?.clone()))
    }

    fn last_after(&self, txid: &Txid) -> Option<(PaymentKey, Txid)> {
        let mut last = None;
        let mut at = *txid;
        while let Some((key, payment)) = self.next(&at) {
            at = payment.txid;
            last = Some((key, at));
        }
        last
    }

    /// The ids of those in whose place a payment stands, the first one first.
    fn before(&self, txid: &Txid) -> Vec<Txid> {
        if self.successors.is_empty() {
            return Vec::new();
        }
        let by_txid: HashMap<Txid, Option<Txid>> =
            self.payments.values().map(|payment| (payment.txid, payment.replaces)).collect();
        let replaced = |txid: &Txid| by_txid.get(txid).copied().flatten();
        let mut before: Vec<Txid> = std::iter::successors(replaced(txid), replaced).collect();
        before.reverse();
        before
    }

    fn versions(&self) -> Vec<Versions> {
        let known: HashSet<Txid> = self.payments.values().map(|payment| payment.txid).collect();
        let is_first =
            |payment: &&Unsettled| payment.replaces.is_none_or(|it| !known.contains(&it));
        let firsts = self.payments.iter().filter(|(_, payment)| is_first(payment));
        let versions = |(key, payment): (&PaymentKey, &Unsettled)| {
            let first = (key.clone(), payment.clone());
            std::iter::successors(Some(first), |(_, before)| self.next(&before.txid)).collect()
        };
        firsts.map(versions).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::{made, record};
    use super::*;

    fn key(wallet: &str, key: &str) -> PaymentKey {
        PaymentKey::of_caller(&wallet.parse().expect("a name"), key)
    }

    fn open(directory: &tempfile::TempDir) -> Result<Journal, JournalError> {
        Journal::open(directory.path(), WriteTimes::default())
    }

    #[tokio::test]
    async fn records_survive_reopening() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let record = record(Progress::Recorded);
        {
            let journal = open(&directory).expect("opens");
            journal.put(&key("a", "1"), &record).await.expect("written");
            assert_eq!(journal.get(&key("b", "1")).expect("readable"), None);
        }
        let journal = open(&directory).expect("opens again");
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
        let unkeyed = PaymentKey::of_transaction(&record.made.transaction.txid());
        {
            let journal = open(&directory).expect("opens");
            for key in [&keyed, &unkeyed] {
                journal.put(key, &record).await.expect("written");
                journal.note(key, Progress::Settled).expect("written");
            }
            assert!(journal.list_unsettled().is_empty());
            journal.flush().expect("written");
        }
        let journal = open(&directory).expect("opens again");
        assert!(journal.list_unsettled().is_empty());
        let kept = journal.get(&keyed).expect("readable").expect("kept");
        assert_eq!(kept.progress, Progress::Settled);
        assert_eq!(journal.get(&unkeyed).expect("readable"), None);
    }

    #[tokio::test]
    async fn versions_of_a_payment_stand_in_their_order() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let transaction = |lock_time| {
            let transaction = record(Progress::Submitted).made.transaction;
            pentad_primitives::Transaction { lock_time, ..transaction }
        };
        let [first, second, third] = [1, 2, 3].map(transaction);
        let ids = [&first, &second, &third].map(|it| it.txid());
        {
            let journal = open(&directory).expect("opens");
            // The last one first: their times are equal, and what is read again has no order.
            for (name, transaction, replaces) in
                [("3", third, Some(ids[1])), ("1", first, None), ("2", second, Some(ids[0]))]
            {
                let made = Made { replaces, ..made(transaction) };
                let record = Record::new(Progress::Submitted, [9; 32], made);
                journal.put(&key("a", name), &record).await.expect("written");
            }
        }
        let journal = open(&directory).expect("opens again");
        let [versions] = journal.list_unsettled().try_into().expect("one payment");
        assert_eq!(versions.iter().map(|(_, it)| it.txid).collect::<Vec<_>>(), ids);
        assert_eq!(journal.replaced(&ids[2]).expect("readable"), ids[..2]);
        assert_eq!(journal.successor(&ids[0]), Some((key("a", "3"), ids[2])));
        assert_eq!(journal.successor(&ids[2]), None);
        // The second one is deep in the chain.
        let made = journal.get(&key("a", "2")).expect("readable").expect("there").made;
        journal.note_replaced(&ids[1], &ids[..1]).expect("written");
        for name in ["1", "3"] {
            journal.supersede(&key("a", name), &made).expect("written");
        }
        journal.note(&key("a", "2"), Progress::Settled).expect("written");
        assert!(journal.list_unsettled().is_empty());
        assert_eq!(journal.replaced(&ids[1]).expect("readable"), ids[..1]);
        for name in ["1", "2", "3"] {
            let record = journal.get(&key("a", name)).expect("readable").expect("kept");
            assert_eq!(
                (record.progress, record.made.transaction.txid()),
                (Progress::Settled, ids[1])
            );
        }
    }

    #[tokio::test]
    async fn only_settled_payments_grow_too_old() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let journal = open(&directory).expect("opens");
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
