//! The key-value stores that can hold an index, behind one small interface.

mod coins;
mod disk;
mod lsm;
mod memory;
mod sled;

use std::any::Any;
use std::fmt;
use std::ops::Bound;

pub use self::coins::{CoinCache, CoinCacheUsage, CoinReads};
pub use self::disk::{DiskEngine, DiskOptions};
pub use self::lsm::{LsmEngine, LsmOptions};
pub use self::memory::MemoryEngine;
pub use self::sled::{SledEngine, SledOptions, open_sled};
use thiserror::Error;

/// Changes that are written together: each key with its new value, `None` to remove it.
pub type Batch = Vec<(Vec<u8>, Option<Vec<u8>>)>;
/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Why an engine cannot answer.
#[derive(Debug, Error)]
pub enum EngineError {
    /// sled's own error.
    #[error("index store: {0}")]
    Sled(#[from] ::sled::Error),
    /// The LSM tree's own error.
    #[error("index store: {0}")]
    Lsm(#[from] lsm_tree::Error),
    /// The engine met something in its files that it does not know how to read.
    #[error("index store: damaged: {0}")]
    Damaged(String),
}

/// An ordered map from bytes to bytes that survives the process. No key is empty. It is a cache of
/// the block log: losing it costs a rebuild, never a coin.
pub trait IndexEngine: fmt::Debug + Send + Sync + 'static {
    /// The value of `key`.
    ///
    /// # Errors
    /// When the store fails.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError>;

    /// Up to `limit` pairs in key order: keys that begin with `prefix` and are greater than
    /// `after` (from the first one on where that is `None`).
    ///
    /// # Errors
    /// When the store fails.
    fn page(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, EngineError>;

    /// Writes the whole batch or nothing of it. A later batch never survives a crash that an
    /// earlier one does not.
    ///
    /// # Errors
    /// When the store fails.
    fn write(&self, batch: Batch) -> Result<(), EngineError>;

    /// Writes many changes one by one: a crash may keep the first of them and not the last. Costs
    /// less memory than [`Self::write`], and reads go on meanwhile.
    ///
    /// # Errors
    /// When the store fails.
    fn fill(&self, changes: Batch) -> Result<(), EngineError>;

    /// Sees to it that what is written from now on survives no crash which takes anything that was
    /// written before.
    ///
    /// # Errors
    /// When the store fails.
    fn keep_order(&self) -> Result<(), EngineError>;

    /// Makes everything written so far durable.
    ///
    /// # Errors
    /// When the store fails.
    fn flush(&self) -> Result<(), EngineError>;
}

/// Where a page begins: behind `after`, and with `prefix` at the earliest.
fn page_start<'a>(prefix: &'a [u8], after: Option<&'a [u8]>) -> Bound<&'a [u8]> {
    match after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    }
}

/// What a panic said.
fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| Some((*panic.downcast_ref::<&str>()?).to_owned())).unwrap_or_default()
}
