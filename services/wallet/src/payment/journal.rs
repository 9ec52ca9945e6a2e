//! Payments by idempotency key, written down before they are submitted: a retry, also after a
//! crash, finds the very bytes of the first attempt and never signs a second payment.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pentad_primitives::Transaction;
use pentad_primitives::encode::{Decode as _, Encode as _};
use thiserror::Error;

use crate::keystore::WalletName;

/// How long a key is remembered: nobody retries a payment for longer than a month.
const RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);
/// Pages that sled may keep in memory: the journal is small, and read once per keyed payment.
const CACHE_BYTES: u64 = 4 * 1024 * 1024;
/// First byte of every record.
const RECORD_VERSION: u8 = 1;
/// Between the wallet's name and the key in a sled key; names do not contain it.
const SEPARATOR: u8 = 0;

/// The durable journal of payments with an idempotency key.
#[derive(Debug)]
pub(crate) struct Journal {
    records: sled::Db,
}

/// A key in its wallet: two wallets may use one key for two payments.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PaymentKey(Vec<u8>);

impl PaymentKey {
    pub(crate) fn new(wallet: &WalletName, idempotency_key: &str) -> Self {
        let mut bytes = wallet.as_str().as_bytes().to_vec();
        bytes.push(SEPARATOR);
        bytes.extend_from_slice(idempotency_key.as_bytes());
        Self(bytes)
    }
}

/// One payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// The chain service has taken the transaction.
    pub(crate) submitted: bool,
    /// Unix seconds.
    pub(crate) time: u64,
    /// Hash of what was asked for.
    pub(crate) fingerprint: [u8; 32],
    /// Units.
    pub(crate) fee: u64,
    pub(crate) transaction: Transaction,
}

/// The journal cannot be read or written.
#[derive(Debug, Error)]
pub enum JournalError {
    /// The store failed.
    #[error("the payment journal cannot be used: {0}")]
    Store(#[from] sled::Error),
    /// A record is not what was written.
    #[error("a record of the payment journal is damaged")]
    Damaged,
}

impl Journal {
    /// Opens or makes the journal in `directory` and drops what is older than 30 days.
    pub(crate) fn open(directory: &Path) -> Result<Self, JournalError> {
        let records = sled::Config::new()
            .path(directory)
            .cache_capacity(CACHE_BYTES)
            // Every write that matters is flushed by the one who makes it.
            .flush_every_ms(None)
            .open()?;
        let journal = Self { records };
        journal.prune(unix_time().saturating_sub(RETENTION.as_secs()))?;
        Ok(journal)
    }

    pub(crate) fn get(&self, key: &PaymentKey) -> Result<Option<Record>, JournalError> {
        self.records
            .get(&key.0)?
            .map(|bytes| Record::from_bytes(&bytes))
            .transpose()
    }

    /// Returns once the record would survive the death of the process.
    pub(crate) async fn put(&self, key: &PaymentKey, record: &Record) -> Result<(), JournalError> {
        self.records.insert(&key.0, record.to_bytes())?;
        self.records.flush_async().await?;
        Ok(())
    }

    /// Notes that the chain service has the transaction. Not flushed: when the note is lost, a
    /// retry submits the same bytes again, which changes nothing.
    pub(crate) fn mark_submitted(
        &self,
        key: &PaymentKey,
        mut record: Record,
    ) -> Result<(), JournalError> {
        record.submitted = true;
        self.records.insert(&key.0, record.to_bytes())?;
        Ok(())
    }

    /// Forgets a payment that can never be made, so that its key can be used again.
    pub(crate) async fn remove(&self, key: &PaymentKey) -> Result<(), JournalError> {
        self.records.remove(&key.0)?;
        self.records.flush_async().await?;
        Ok(())
    }

    /// Payments that were written down, and perhaps never submitted.
    pub(crate) fn pending(&self) -> impl Iterator<Item = Result<Record, JournalError>> {
        self.records
            .iter()
            .values()
            .map(|bytes| Record::from_bytes(&bytes?))
            .filter(|record| record.as_ref().map_or(true, |record| !record.submitted))
    }

    pub(crate) async fn flush(&self) -> Result<(), JournalError> {
        self.records.flush_async().await?;
        Ok(())
    }

    fn prune(&self, oldest: u64) -> Result<(), JournalError> {
        for entry in self.records.iter() {
            let (key, bytes) = entry?;
            if Record::from_bytes(&bytes)?.time < oldest {
                self.records.remove(key)?;
            }
        }
        Ok(())
    }
}

impl Record {
    pub(crate) fn new(fingerprint: [u8; 32], fee: u64, transaction: Transaction) -> Self {
        Self {
            submitted: false,
            time: unix_time(),
            fingerprint,
            fee,
            transaction,
        }
    }

    /// `version: u8 | submitted: u8 | time: u64 | fingerprint: 32 | fee: u64 | transaction`;
    /// numbers little-endian.
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![RECORD_VERSION, u8::from(self.submitted)];
        bytes.extend_from_slice(&self.time.to_le_bytes());
        bytes.extend_from_slice(&self.fingerprint);
        bytes.extend_from_slice(&self.fee.to_le_bytes());
        self.transaction.encode(&mut bytes);
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, JournalError> {
        Self::parse(bytes).ok_or(JournalError::Damaged)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let ([RECORD_VERSION, submitted @ (0 | 1)], rest) = bytes.split_first_chunk()? else {
            return None;
        };
        let (time, rest) = rest.split_first_chunk()?;
        let (&fingerprint, rest) = rest.split_first_chunk()?;
        let (fee, rest) = rest.split_first_chunk()?;
        Some(Self {
            submitted: *submitted == 1,
            time: u64::from_le_bytes(*time),
            fingerprint,
            fee: u64::from_le_bytes(*fee),
            transaction: Transaction::from_bytes(rest).ok()?,
        })
    }
}

fn unix_time() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use pentad_primitives::{Amount, OutPoint, Script, TxIn, TxOut, Txid};

    use super::*;

    fn record() -> Record {
        let input = TxIn {
            previous_output: OutPoint {
                txid: Txid::from_bytes([3; 32]),
                vout: 1,
            },
            script_sig: Script::from(vec![1, 2]),
            sequence: u32::MAX,
        };
        let output = TxOut {
            amount: Amount::from_units(5).expect("in range"),
            script_pubkey: Script::from(vec![3]),
        };
        let transaction = Transaction {
            version: 1,
            inputs: vec![input],
            outputs: vec![output],
            lock_time: 0,
        };
        Record::new([9; 32], 226, transaction)
    }

    fn key(wallet: &str, key: &str) -> PaymentKey {
        PaymentKey::new(&wallet.parse().expect("a name"), key)
    }

    #[tokio::test]
    async fn records_survive_reopening() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let record = record();
        {
            let journal = Journal::open(directory.path()).expect("opens");
            journal.put(&key("a", "1"), &record).await.expect("written");
            assert_eq!(journal.get(&key("b", "1")).expect("readable"), None);
        }
        let journal = Journal::open(directory.path()).expect("opens again");
        assert_eq!(
            journal.get(&key("a", "1")).expect("readable"),
            Some(record.clone())
        );
        assert_eq!(journal.pending().count(), 1);
        journal
            .mark_submitted(&key("a", "1"), record)
            .expect("written");
        assert_eq!(journal.pending().count(), 0);
        journal.remove(&key("a", "1")).await.expect("written");
        assert_eq!(journal.get(&key("a", "1")).expect("readable"), None);
    }

    #[tokio::test]
    async fn old_records_are_dropped() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let journal = Journal::open(directory.path()).expect("opens");
        let old = Record {
            time: 1000,
            ..record()
        };
        journal.put(&key("a", "old"), &old).await.expect("written");
        journal
            .put(&key("a", "new"), &record())
            .await
            .expect("written");
        journal.prune(1001).expect("readable");
        assert_eq!(journal.get(&key("a", "old")).expect("readable"), None);
        assert!(journal.get(&key("a", "new")).expect("readable").is_some());
    }

    #[test]
    fn damaged_records_are_named() {
        let bytes = record().to_bytes();
        assert!(Record::from_bytes(&bytes).is_ok());
        for cut in [0, 1, 20, 50, bytes.len() - 1] {
            assert!(Record::from_bytes(&bytes[..cut]).is_err());
        }
        assert!(Record::from_bytes(&[[2].as_slice(), &bytes[1..]].concat()).is_err());
    }
}
