//! The index as a whole, against the rows that the main chain makes.

use std::collections::{BTreeMap, BTreeSet};

use pentad_crypto::MuHash;
use pentad_primitives::{BlockHash, BlockHeader, Decode as _};
use pentad_store::log::LogPosition;
use pentad_store::{
    BlockEntry, Contents, Row, Table, insert_coin, read_header_bytes, remove_coin, set_hash_key,
};

use super::sums::Sums;
use super::{Event, Phase, Place, Stop, Verification, damage_of};
use crate::scan::Scan;
use crate::set_hash;

/// Buckets whose rows are compared one by one: a sixty-fourth of all rows.
const BUCKETS_SEARCHED_MAX: usize = 1 << 10;

impl<F: FnMut(Event) -> bool> Verification<'_, F> {
    /// Compares every row of the index with those that the main chain makes.
    pub(super) fn check_index(&mut self, chain: &[BlockHash], expected: &Sums) -> Result<(), Stop> {
        let mut found = expected.empty_like();
        let total = expected.rows;
        let mut done = 0;
        self.progress(Phase::Index, 0, total)?;
        let tip = self.tip.hash;
        let kept = self.read(|view| set_hash::kept_after(&view, &tip))?;
        let mut made = kept.as_ref().map(|_| Made(MuHash::default()));
        let mut scan = Scan::new(self.tip.hash, &[]);
        while let Some(rows) = scan.next(self.reader)? {
            for (key, value) in &rows {
                match Kind::of(key) {
                    Kind::OfChain => {
                        found.add(key, value);
                        made.iter_mut().for_each(|made| made.insert(key, value));
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
        let is_all = differing.len() <= BUCKETS_SEARCHED_MAX;
        if !differing.is_empty() {
            // The rest comes to light once these are mended.
            differing = differing.into_iter().take(BUCKETS_SEARCHED_MAX).collect();
            self.search(chain, expected, &differing, made.as_mut())?;
        }
        match kept.map(|kept| kept.hash()).zip(made.map(|made| made.0.hash())) {
            Some((kept, made)) if is_all && kept != made => {
                let problem = format!(
                    "the kept hash of the UTXO set is {kept}; the outputs that the chain leaves \
                     unspent have {made}"
                );
                self.damage(Place::Row(set_hash_key()), problem)
            }
            _ => Ok(()),
        }
    }

    /// Names the rows that differ, of those in some buckets, and puts `made` right.
    fn search(
        &mut self,
        chain: &[BlockHash],
        sums: &Sums,
        buckets: &BTreeSet<usize>,
        mut made: Option<&mut Made>,
    ) -> Result<(), Stop> {
        let mut expected = self.expected_rows(chain, sums, buckets)?;
        let mut scan = Scan::new(self.tip.hash, &[]);
        while let Some(rows) = scan.next(self.reader)? {
            for (key, value) in rows {
                let is_wanted = buckets.contains(&sums.bucket(&key));
                if !is_wanted || !matches!(Kind::of(&key), Kind::OfChain) {
                    continue;
                }
                let right = expected.remove(&key);
                if right.as_ref() != Some(&value)
                    && let Some(made) = &mut made
                {
                    made.remove(&key, &value);
                    right.iter().for_each(|right| made.insert(&key, right));
                }
                match right {
                    None => self.damage(Place::Row(key), "no block makes this row")?,
                    Some(right) if right != value => {
                        self.damage(Place::Row(key), "the row is not what its block makes")?;
                    }
                    Some(_) => {}
                }
            }
        }
        for (key, value) in expected {
            made.iter_mut().for_each(|made| made.insert(&key, &value));
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
        if !is_block {
            return self.damage(place(), "the row points to another place");
        }
        match entry.certificate {
            Some(position) => self.check_points_to_certificate(key, position),
            None => Ok(()),
        }
    }

    /// Where the row of a block says that its certificate is, it must be.
    fn check_points_to_certificate(&mut self, key: &[u8], at: LogPosition) -> Result<(), Stop> {
        let is_told = self.told.contains(&Place::Record(at));
        let problem = match self.record(at)? {
            Ok(Contents::Certificate(hash, _)) if key.get(1..) == Some(hash.as_bytes()) => {
                return Ok(());
            }
            Ok(_) => "the row points to another place for its certificate".to_owned(),
            // The record is damaged, not the row.
            Err(_) if is_told => return Ok(()),
            Err(problem) => format!("where the row points to for its certificate, {problem}"),
        };
        self.damage(Place::Row(key.to_vec()), problem)
    }
}

/// The hash of the coins among rows.
struct Made(MuHash);

impl Made {
    fn insert(&mut self, key: &[u8], value: &[u8]) {
        if is_coin(key) {
            // A row that is none is left out, and named for what it is.
            insert_coin(&mut self.0, key, value).ok();
        }
    }

    fn remove(&mut self, key: &[u8], value: &[u8]) {
        if is_coin(key) {
            remove_coin(&mut self.0, key, value).ok();
        }
    }
}

fn is_coin(key: &[u8]) -> bool {
    key.first() == Some(&(Table::Utxo as u8))
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
