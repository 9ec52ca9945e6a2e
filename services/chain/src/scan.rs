//! Rows of the index as they were at one tip, read page by page while the index moves on.
//!
//! Whatever changes a row after the start is looked up in the blocks that were connected or
//! disconnected since, and what the row was before is kept: so a page that is read later is put
//! back to what it was.

use std::collections::BTreeMap;
use std::ops::Bound;

use pentad_ledger::verify::CheckedBlock;
use pentad_primitives::BlockHash;
use pentad_store::{
    BlockEntry, IndexRead as _, Pair, Row, Rows, StoreError, read_block, read_undo, rows,
};

use crate::error::ChainError;
use crate::reader::{BlockRef, Reader, View};

/// Rows read at once.
const PAGE_LEN: usize = 1_024;
/// Bytes of rows that may have changed since the start: a scan keeps what they were.
const CHANGES_BYTES_MAX: usize = 256 * 1024 * 1024;

/// What rows were at the start that have changed since, `None` for those that were not there.
type Before = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// A key and what its row was.
type Change = (Vec<u8>, Option<Vec<u8>>);

/// Reads rows as they were when the chain stood at a tip.
pub(crate) struct Scan {
    /// What the keys begin with.
    prefix: &'static [u8],
    /// The tip up to which `before` reaches.
    tip: BlockHash,
    before: Before,
    /// Bytes that the rows in `before` take at most.
    before_bytes: usize,
    /// The last key that was read.
    after: Option<Vec<u8>>,
    is_done: bool,
}

impl Scan {
    /// The rows whose keys begin with `prefix`, as they are at the tip now.
    pub(crate) fn new(tip: BlockHash, prefix: &'static [u8]) -> Self {
        Self { prefix, tip, before: Before::new(), before_bytes: 0, after: None, is_done: false }
    }

    /// The next rows, in the order of their keys; `None` at the end.
    ///
    /// # Errors
    /// When the store fails, and when too much has changed meanwhile.
    pub(crate) fn next(&mut self, reader: &Reader) -> Result<Option<Vec<Pair>>, ChainError> {
        if self.is_done {
            return Ok(None);
        }
        let (tip, prefix, after) = (&self.tip, self.prefix, self.after.as_deref());
        let room = CHANGES_BYTES_MAX.saturating_sub(self.before_bytes);
        let (page, changes, tip) = reader.read_here(|view| {
            let changes = changes_since(&view, tip, room)?;
            Ok((view.tip.snapshot.page(prefix, after, PAGE_LEN)?, changes, view.tip.hash))
        })?;
        self.tip = tip;
        for (key, value) in changes {
            self.before_bytes += size_of_change(&key, value.as_deref());
            // The first that changed it knows what it was.
            self.before.entry(key).or_insert(value);
        }
        Ok(Some(self.put_back(page)))
    }

    /// A page as it was at the start.
    fn put_back(&mut self, page: Vec<Pair>) -> Vec<Pair> {
        self.is_done = page.len() < PAGE_LEN;
        let last = page.last().filter(|_| !self.is_done).map(|(key, _)| key.clone());
        let from =
            self.after.as_ref().map_or(Bound::Unbounded, |after| Bound::Excluded(after.clone()));
        let to = last.as_ref().map_or(Bound::Unbounded, |last| Bound::Included(last.clone()));
        let mut rows: BTreeMap<Vec<u8>, Vec<u8>> = page.into_iter().collect();
        let before = self.before.range((from, to));
        for (key, value) in before.filter(|(key, _)| key.starts_with(self.prefix)) {
            match value {
                Some(value) => rows.insert(key.clone(), value.clone()),
                None => rows.remove(key),
            };
        }
        self.after = last;
        rows.into_iter().collect()
    }
}

/// The way from a block to the tip.
pub(crate) struct Way {
    /// Blocks that are not below the tip, the block first.
    pub(crate) undone: Vec<BlockEntry>,
    /// Blocks up to the tip, the tip first.
    pub(crate) applied: Vec<BlockEntry>,
}

impl Way {
    /// It is found by parents alone, not by the rows that may have to be checked.
    ///
    /// # Errors
    /// When a block of it is not known.
    pub(crate) fn to_tip(view: &View<'_>, from: &BlockHash) -> Result<Self, ChainError> {
        let entry = |hash: &BlockHash| view.block(BlockRef::Hash(*hash)).map(|(_, entry)| entry);
        let (mut old, mut new) = (*from, view.tip.hash);
        let (mut undone, mut applied) = (Vec::new(), Vec::new());
        while old != new {
            let (old_entry, new_entry) = (entry(&old)?, entry(&new)?);
            if old_entry.height >= new_entry.height {
                old = old_entry.header.prev_block_hash;
                undone.push(old_entry);
            } else {
                new = new_entry.header.prev_block_hash;
                applied.push(new_entry);
            }
        }
        Ok(Self { undone, applied })
    }
}

/// What the rows were that the way from a block to the tip changes, in the order of the moves.
fn changes_since(
    view: &View<'_>,
    from: &BlockHash,
    room: usize,
) -> Result<Vec<Change>, ChainError> {
    let Way { undone, applied } = Way::to_tip(view, from)?;
    let (mut changes, mut bytes) = (Vec::new(), 0);
    let mut push = |key: &[u8], value: Option<&[u8]>| {
        bytes += size_of_change(key, value);
        changes.push((key.to_vec(), value.map(<[u8]>::to_vec)));
        if bytes > room { Err(ChainError::MovedOn) } else { Ok(()) }
    };
    for entry in &undone {
        // Disconnecting runs backwards.
        rows_of(view, entry)?.iter().rev().try_for_each(|row| match row {
            Row::Added(key, value) => push(key, Some(value)),
            Row::Removed(key, _) => push(key, None),
        })?;
    }
    for entry in applied.iter().rev() {
        rows_of(view, entry)?.iter().try_for_each(|row| match row {
            Row::Added(key, _) => push(key, None),
            Row::Removed(key, value) => push(key, Some(value)),
        })?;
    }
    Ok(changes)
}

/// Bytes in memory, pointers and lengths included.
const fn size_of_change(key: &[u8], value: Option<&[u8]>) -> usize {
    let value = match value {
        Some(value) => value.len(),
        None => 0,
    };
    size_of::<Change>() + key.len() + value
}

/// The rows of a block that has been connected.
///
/// # Errors
/// When the log fails.
pub(crate) fn rows_of(view: &View<'_>, entry: &BlockEntry) -> Result<Rows, ChainError> {
    let log = &view.published.log;
    let block = CheckedBlock::assume_valid(read_block(log, entry.body)?);
    let spent = entry.undo.map(|undo| read_undo(log, undo)).transpose()?.unwrap_or_default();
    let rows = rows(block.block(), block.txids(), entry.height, &spent);
    Ok(rows.map_err(StoreError::from)?)
}
