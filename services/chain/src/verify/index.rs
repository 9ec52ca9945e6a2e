//! The index as a whole, against the rows that the main chain makes.
//!
//! The index moves on while it is read. Whatever changes a row after the start is looked up in the
//! blocks that were connected or disconnected since, and what the row was before is kept: so a page
//! that is read later is put back to what it was.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use pentad_ledger::verify::CheckedBlock;
use pentad_primitives::{BlockHash, BlockHeader, Decode as _};
use pentad_store::{
    BlockEntry, IndexRead as _, Pair, Row, Rows, StoreError, Table, read_block, read_header_bytes,
    read_undo, rows,
};

use super::sums::Sums;
use super::{Event, Phase, Place, Stop, Verification, damage_of};
use crate::error::ChainError;
use crate::reader::{BlockRef, View};

/// Rows read at once.
const PAGE_LEN: usize = 1_024;
/// Buckets whose rows are compared one by one: a sixty-fourth of all rows.
const BUCKETS_SEARCHED_MAX: usize = 1 << 10;

/// Bytes of rows that may have changed since the start: a verification keeps what they were.
const CHANGES_BYTES_MAX: usize = 256 * 1024 * 1024;

/// What rows were at the start that have changed since, `None` for those that were not there.
type Before = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// A key and what its row was.
type Change = (Vec<u8>, Option<Vec<u8>>);

/// Reads the index as it was when the chain stood at the tip that is checked.
struct Scan {
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
    fn new(tip: BlockHash) -> Self {
        Self { tip, before: Before::new(), before_bytes: 0, after: None, is_done: false }
    }

    /// The next rows, in the order of their keys; `None` at the end.
    fn next<F: FnMut(Event) -> bool>(
        &mut self,
        verification: &Verification<'_, F>,
    ) -> Result<Option<Vec<Pair>>, Stop> {
        if self.is_done {
            return Ok(None);
        }
        let (tip, after) = (&self.tip, self.after.as_deref());
        let room = CHANGES_BYTES_MAX.saturating_sub(self.before_bytes);
        let (page, changes, tip) = verification.read(|view| {
            let changes = changes_since(&view, tip, room)?;
            Ok((view.tip.snapshot.page(&[], after, PAGE_LEN)?, changes, view.tip.hash))
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
        for (key, value) in self.before.range((from, to)) {
            match value {
                Some(value) => rows.insert(key.clone(), value.clone()),
                None => rows.remove(key),
            };
        }
        self.after = last;
        rows.into_iter().collect()
    }
}

/// What the rows were that the way from a block to the tip changes, in the order of the moves. The
/// way is found by parents alone, not by the rows that are checked.
fn changes_since(
    view: &View<'_>,
    from: &BlockHash,
    room: usize,
) -> Result<Vec<Change>, ChainError> {
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

fn rows_of(view: &View<'_>, entry: &BlockEntry) -> Result<Rows, ChainError> {
    let log = &view.published.log;
    let block = CheckedBlock::assume_valid(read_block(log, entry.body)?);
    let spent = entry.undo.map(|undo| read_undo(log, undo)).transpose()?.unwrap_or_default();
    let rows = rows(block.block(), block.txids(), entry.height, &spent);
    Ok(rows.map_err(StoreError::from)?)
}

impl<F: FnMut(Event) -> bool> Verification<'_, F> {
    /// Compares every row of the index with those that the main chain makes.
    pub(super) fn check_index(&mut self, chain: &[BlockHash], expected: &Sums) -> Result<(), Stop> {
        let mut found = expected.empty_like();
        let total = expected.rows;
        let mut done = 0;
        self.progress(Phase::Index, 0, total)?;
        let mut scan = Scan::new(self.tip.hash);
        while let Some(rows) = scan.next(self)? {
            for (key, value) in &rows {
                match Kind::of(key) {
                    Kind::OfChain => {
                        found.add(key, value);
                        done += 1;
                    }
                    Kind::Block => self.check_points_to_block(key, value)?,
                    Kind::Own => {}
                    Kind::Unknown => {
                        self.damage(Place::Row(key.clone()), "the row belongs to no table")?;
                    }
                }
            }
            self.progress(Phase::Index, done.min(total), total)?;
        }
        self.progress(Phase::Index, total, total)?;
        self.report.rows += done;
        let mut differing = expected.differences(&found);
        if differing.is_empty() {
            return Ok(());
        }
        // The rest comes to light once these are mended.
        differing = differing.into_iter().take(BUCKETS_SEARCHED_MAX).collect();
        self.search(chain, expected, &differing)
    }

    /// Names the rows that differ, of those in some buckets.
    fn search(
        &mut self,
        chain: &[BlockHash],
        sums: &Sums,
        buckets: &BTreeSet<usize>,
    ) -> Result<(), Stop> {
        let mut expected = self.expected_rows(chain, sums, buckets)?;
        let mut scan = Scan::new(self.tip.hash);
        while let Some(rows) = scan.next(self)? {
            for (key, value) in rows {
                let is_wanted = buckets.contains(&sums.bucket(&key));
                if !is_wanted || !matches!(Kind::of(&key), Kind::OfChain) {
                    continue;
                }
                match expected.remove(&key) {
                    None => self.damage(Place::Row(key), "no block makes this row")?,
                    Some(right) if right != value => {
                        self.damage(Place::Row(key), "the row is not what its block makes")?;
                    }
                    Some(_) => {}
                }
            }
        }
        for key in expected.into_keys() {
            self.damage(Place::Row(key), "the row is missing")?;
        }
        Ok(())
    }

    /// The rows that the main chain leaves in some buckets.
    fn expected_rows(
        &mut self,
        chain: &[BlockHash],
        sums: &Sums,
        buckets: &BTreeSet<usize>,
    ) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Stop> {
        let mut expected: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        let total = chain.len() as u64;
        self.progress(Phase::Search, 0, total)?;
        for (done, hash) in (1..).zip(chain) {
            if let Some(stored) = self.stored(hash)? {
                let is_wanted = |key: &[u8]| buckets.contains(&sums.bucket(key));
                let mut is_absent = false;
                let outcome = stored.each_row(|row| match row {
                    Row::Added(key, value) if is_wanted(key) => {
                        expected.insert(key.to_vec(), value.to_vec());
                    }
                    Row::Removed(key, value) if is_wanted(key) => {
                        is_absent |= expected.remove(key).as_deref() != Some(value);
                    }
                    Row::Added(..) | Row::Removed(..) => {}
                });
                if is_absent {
                    let problem = "the block spends an output that the chain below has not, or not \
                                   any more";
                    self.damage(Place::Block(*hash), problem)?;
                }
                if let Err(problem) = outcome {
                    self.damage(Place::Block(*hash), problem)?;
                }
            }
            self.progress(Phase::Search, done, total)?;
        }
        Ok(expected)
    }

    /// A row of a stored block must lead to that block.
    fn check_points_to_block(&mut self, key: &[u8], value: &[u8]) -> Result<(), Stop> {
        let place = || Place::Row(key.to_vec());
        self.report.rows += 1;
        let Some(entry) = BlockEntry::from_bytes(value) else {
            return self.damage(place(), "the row is malformed");
        };
        let log = &self.reader.published().log;
        let header = match read_header_bytes(log, &entry) {
            Ok(bytes) => BlockHeader::from_bytes(&bytes).ok(),
            Err(error) => {
                let problem = damage_of(error)?;
                return self.damage(place(), format!("where the row points to, {problem}"));
            }
        };
        let is_block = header.is_some_and(|it| key.get(1..) == Some(it.block_hash().as_bytes()));
        if is_block { Ok(()) } else { self.damage(place(), "the row points to another place") }
    }
}

/// Whose a row is.
enum Kind {
    /// Made by the blocks of the main chain.
    OfChain,
    /// Of a stored block.
    Block,
    /// The index's own note.
    Own,
    Unknown,
}

impl Kind {
    fn of(key: &[u8]) -> Self {
        let of_chain = [
            Table::Height,
            Table::Transaction,
            Table::Utxo,
            Table::ScriptUtxo,
            Table::ScriptHistory,
        ];
        match key.first() {
            Some(table) if of_chain.iter().any(|it| *it as u8 == *table) => Self::OfChain,
            Some(table) if *table == Table::Block as u8 => Self::Block,
            Some(table) if *table == Table::State as u8 => Self::Own,
            _ => Self::Unknown,
        }
    }
}
