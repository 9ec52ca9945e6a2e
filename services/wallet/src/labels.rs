//! What people call addresses and payments.
//!
//! Rows of a tree of the journal, which is what must last: wallet, 0, the address or the
//! transaction id as it is displayed; the value is the label. Addresses and ids are never equal.

use std::sync::{Mutex, PoisonError};

use pentad_api::Failure;
use pentad_keystore::WalletName;
use thiserror::Error;
use tonic::Code;

use crate::payment::JournalError;

/// Longest label, bytes: a line.
pub(crate) const LABEL_BYTES_MAX: usize = 100;
/// Most labels of a wallet: with all of them a backup still fits a message.
pub(crate) const LABELS_MAX: usize = 5_000;

/// Why something is not labelled.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LabelError {
    /// Too long, or of more than one line.
    #[error("label: expected {LABEL_BYTES_MAX} bytes at most, no control characters")]
    Text,
    /// The wallet has as many as it may have.
    #[error("wallet \"{0}\" has {LABELS_MAX} labels already")]
    TooMany(WalletName),
    /// Neither an address nor a transaction.
    #[error("subject: name the address or the transaction that is to be labelled")]
    NoSubject,
    /// The wallet has no such transaction.
    #[error("wallet \"{wallet}\" has no transaction {txid}")]
    UnknownTransaction {
        /// Which wallet was named.
        wallet: WalletName,
        /// What was named.
        txid: String,
    },
}

/// What the caller is told.
pub(crate) fn label_failure(error: &LabelError) -> Failure {
    let failure = |code, reason| Failure::new(code, reason, error.to_string());
    match error {
        LabelError::Text => failure(Code::InvalidArgument, "INVALID_LABEL").with_field("label"),
        LabelError::TooMany(_) => failure(Code::ResourceExhausted, "TOO_MANY_LABELS")
            .with_hint("take some away: an empty label removes one"),
        LabelError::NoSubject => failure(Code::InvalidArgument, "NO_SUBJECT").with_field("subject"),
        LabelError::UnknownTransaction { wallet, .. } => {
            failure(Code::NotFound, "UNKNOWN_TRANSACTION")
                .with_field("txid")
                .with_hint(format!("pentad history {wallet} lists those there are"))
        }
    }
}

/// A label that is not too long; an empty one takes a label away.
pub(crate) fn check(label: &str) -> Result<(), LabelError> {
    let is_line = label.len() <= LABEL_BYTES_MAX && !label.chars().any(char::is_control);
    is_line.then_some(()).ok_or(LabelError::Text)
}

/// The labels of all wallets.
#[derive(Debug)]
pub(crate) struct Labels {
    rows: sled::Tree,
    /// Held from the count to the write.
    setting: Mutex<()>,
}

impl Labels {
    pub(crate) fn new(rows: sled::Tree) -> Self {
        Self { rows, setting: Mutex::default() }
    }

    /// The label of the first of these that has one; empty where none has.
    pub(crate) fn first(
        &self,
        wallet: &WalletName,
        subjects: &[String],
    ) -> Result<String, JournalError> {
        for subject in subjects {
            if let Some(label) = self.rows.get(key(wallet, subject))? {
                return text(&label);
            }
        }
        Ok(String::new())
    }

    /// Subjects and their labels, in the order of the former, from behind `after` on.
    pub(crate) fn list(
        &self,
        wallet: &WalletName,
        after: &str,
        limit: usize,
    ) -> Result<Vec<(String, String)>, JournalError> {
        let prefix = key(wallet, "");
        // Behind it comes what is longer, if only by a byte.
        let start = [key(wallet, after), vec![0]].concat();
        let rows = self.rows.range(start..).take_while(|row| match row {
            Ok((key, _)) => key.starts_with(&prefix),
            Err(_) => true,
        });
        let row = |row: sled::Result<(sled::IVec, sled::IVec)>| {
            let (key, label) = row?;
            Ok((text(&key[prefix.len()..])?, text(&label)?))
        };
        rows.take(limit).map(row).collect()
    }

    /// Whether one more may be set.
    pub(crate) fn has_room(
        &self,
        wallet: &WalletName,
        subject: &str,
    ) -> Result<bool, JournalError> {
        let is_known = self.rows.contains_key(key(wallet, subject))?;
        Ok(is_known || self.rows.scan_prefix(key(wallet, "")).count() < LABELS_MAX)
    }

    /// Sets labels that were checked; empty ones are taken away. Returns once that is durable: for
    /// blocking threads. `false`, and nothing done, where there is no room for all.
    pub(crate) fn set(
        &self,
        wallet: &WalletName,
        labels: &[(String, String)],
    ) -> Result<bool, JournalError> {
        let _setting = self.setting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut count = self.rows.scan_prefix(key(wallet, "")).count();
        let mut batch = sled::Batch::default();
        for (subject, label) in labels {
            let key = key(wallet, subject);
            if label.is_empty() {
                batch.remove(key);
                continue;
            }
            count += usize::from(!self.rows.contains_key(&key)?);
            batch.insert(key, label.as_bytes());
        }
        if count > LABELS_MAX {
            return Ok(false);
        }
        self.rows.apply_batch(batch).and_then(|()| self.rows.flush())?;
        Ok(true)
    }
}

fn key(wallet: &WalletName, subject: &str) -> Vec<u8> {
    [wallet.as_str().as_bytes(), &[0], subject.as_bytes()].concat()
}

fn text(bytes: &[u8]) -> Result<String, JournalError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| JournalError::Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> (tempfile::TempDir, sled::Db, Labels) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let rows = sled::open(directory.path()).expect("opens");
        let labels = Labels::new(rows.open_tree("labels").expect("opens"));
        (directory, rows, labels)
    }

    fn pair(subject: &str, label: &str) -> (String, String) {
        (subject.to_owned(), label.to_owned())
    }

    #[test]
    fn each_wallet_has_its_own_in_order() {
        let (_directory, _db, labels) = labels();
        let [a, ab] = ["a", "ab"].map(|name| name.parse::<WalletName>().expect("a name"));
        let all = [pair("x", "1"), pair("y", "2"), pair("xy", "3")];
        assert!(labels.set(&a, &all).expect("written"));
        assert!(labels.set(&ab, &[pair("x", "4")]).expect("written"));
        let listed = labels.list(&a, "", 9).expect("readable");
        assert_eq!(listed, [pair("x", "1"), pair("xy", "3"), pair("y", "2")]);
        assert_eq!(labels.list(&a, "x", 1).expect("readable"), [pair("xy", "3")]);
        let subjects = ["z", "x"].map(str::to_owned);
        assert_eq!(labels.first(&ab, &subjects).expect("readable"), "4");
        assert_eq!(labels.first(&ab, &subjects[..1]).expect("readable"), "");
        assert!(labels.set(&a, &[pair("xy", ""), pair("x", "5")]).expect("written"));
        let listed = labels.list(&a, "", 9).expect("readable");
        assert_eq!(listed, [pair("x", "5"), pair("y", "2")]);
    }

    #[test]
    fn their_number_is_bounded() {
        let (_directory, _db, labels) = labels();
        let wallet = "a".parse::<WalletName>().expect("a name");
        let all: Vec<_> = (0..LABELS_MAX).map(|number| pair(&number.to_string(), "x")).collect();
        assert!(labels.set(&wallet, &all).expect("written"));
        assert!(!labels.set(&wallet, &[pair("more", "x")]).expect("counted"));
        assert!(!labels.has_room(&wallet, "more").expect("counted"));
        assert!(labels.set(&wallet, &[pair("7", "y")]).expect("another word for the same"));
        assert!(labels.set(&wallet, &[pair("7", "")]).expect("taken away"));
        assert!(labels.set(&wallet, &[pair("more", "x")]).expect("written"));
    }

    #[test]
    fn a_label_is_a_line() {
        let long = "ä".repeat(LABEL_BYTES_MAX / 2);
        for label in ["", "rent, \"May\"", &long] {
            assert_eq!(check(label), Ok(()));
        }
        for label in ["a\nb", "\u{7f}", &format!("{long}x")] {
            assert_eq!(check(label), Err(LabelError::Text));
        }
    }
}
