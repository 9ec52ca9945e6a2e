//! Transactions in a file of their own: the mempool over a restart.
//!
//! Magic (8), format version (4), count (4), each transaction's length (4) and bytes, CRC32C of all
//! that (4); integers are little-endian. The file is replaced as a whole. It is a convenience: who
//! finds it damaged goes on without.

use std::fs;
use std::io;
use std::path::PathBuf;

use pentad_primitives::Transaction;
use pentad_primitives::encode::{Decode as _, Encode as _};
use thiserror::Error;

use crate::data_dir::DataDir;
use crate::fail_point::{self, Point};

const MAGIC: [u8; 8] = *b"PENTADMP";
const FORMAT_VERSION: u32 = 1;
const FILE: &str = "mempool";

/// A file of transactions below a data directory.
#[derive(Clone, Debug)]
pub struct TransactionFile {
    path: PathBuf,
}

/// Why transactions cannot be saved or loaded.
#[derive(Debug, Error)]
pub enum TransactionFileError {
    /// The operating system refused an operation.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The file is not what was written.
    #[error("{} is damaged or of another version", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

impl TransactionFile {
    /// The mempool's file of a data directory.
    #[must_use]
    pub fn new(directory: &DataDir) -> Self {
        Self { path: directory.path().join(FILE) }
    }

    /// Replaces the contents.
    ///
    /// # Errors
    /// IO errors, which leave the file as it was.
    pub fn save<'a>(
        &self,
        transactions: impl ExactSizeIterator<Item = &'a Transaction>,
    ) -> Result<(), TransactionFileError> {
        let small = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&small(transactions.len()));
        for transaction in transactions {
            out.extend_from_slice(&small(transaction.encoded_len()));
            transaction.encode(&mut out);
        }
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        let unfinished = self.path.with_extension("new");
        let rename = || fs::rename(&unfinished, &self.path);
        fail_point::write(Point::MempoolWrite, &out, |bytes| fs::write(&unfinished, bytes))
            .and_then(|()| fail_point::at(Point::MempoolRename, rename))
            .map_err(|source| self.io_error("write", source))
    }

    /// What was saved last; nothing if there is no file.
    ///
    /// # Errors
    /// IO errors, and a file that is not what was written.
    pub fn load(&self) -> Result<Vec<Transaction>, TransactionFileError> {
        match fs::read(&self.path) {
            Ok(bytes) => decode(&bytes)
                .ok_or_else(|| TransactionFileError::Damaged { path: self.path.clone() }),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(source) => Err(self.io_error("read", source)),
        }
    }

    fn io_error(&self, action: &'static str, source: io::Error) -> TransactionFileError {
        TransactionFileError::Io { action, path: self.path.clone(), source }
    }
}

pub(crate) fn decode(bytes: &[u8]) -> Option<Vec<Transaction>> {
    let (body, crc) = bytes.split_last_chunk()?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
        return None;
    }
    let rest = body.strip_prefix(&MAGIC)?;
    let (version, rest) = number(rest)?;
    let (count, mut rest) = number(rest)?;
    let mut transactions = Vec::new();
    while !rest.is_empty() {
        let (length, tail) = number(rest)?;
        let (transaction, tail) = tail.split_at_checked(length as usize)?;
        transactions.push(Transaction::from_bytes(transaction).ok()?);
        rest = tail;
    }
    (version == FORMAT_VERSION && transactions.len() == count as usize).then_some(transactions)
}

fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u32::from_le_bytes(*number), rest))
}
