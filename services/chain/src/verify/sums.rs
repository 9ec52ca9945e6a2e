//! Two sets of rows compared in little memory.
//!
//! Rows are spread over buckets by their keys. A bucket holds the sum of its rows' hashes: rows
//! that a block adds are added, those that it removes are taken off, in any order. Sets that differ
//! have buckets that differ, but for one chance in 2⁶⁴: the hash is keyed at random.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};

/// Half a megabyte; the rows of a differing bucket are a 65,536th of all.
const BUCKETS: usize = 1 << 16;

/// The sum of a set of rows.
#[derive(Clone, Debug)]
pub(super) struct Sums {
    hasher: RandomState,
    buckets: Vec<u64>,
    /// Rows in the set.
    pub(super) rows: u64,
}

impl Sums {
    /// Of no rows.
    pub(super) fn new() -> Self {
        Self { hasher: RandomState::new(), buckets: vec![0; BUCKETS], rows: 0 }
    }

    /// Of no rows, to be compared with this one.
    pub(super) fn empty_like(&self) -> Self {
        Self { hasher: self.hasher.clone(), buckets: vec![0; BUCKETS], rows: 0 }
    }

    /// A row comes.
    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) {
        let (bucket, sum) = (self.bucket(key), self.hasher.hash_one((key, value)));
        self.buckets[bucket] = self.buckets[bucket].wrapping_add(sum);
        self.rows = self.rows.wrapping_add(1);
    }

    /// A row goes.
    pub(super) fn remove(&mut self, key: &[u8], value: &[u8]) {
        let (bucket, sum) = (self.bucket(key), self.hasher.hash_one((key, value)));
        self.buckets[bucket] = self.buckets[bucket].wrapping_sub(sum);
        self.rows = self.rows.wrapping_sub(1);
    }

    /// The buckets in which two sets differ.
    pub(super) fn differences(&self, other: &Self) -> BTreeSet<usize> {
        let pairs = self.buckets.iter().zip(&other.buckets).enumerate();
        pairs.filter(|(_, (one, other))| one != other).map(|(bucket, _)| bucket).collect()
    }

    /// Where a key belongs.
    pub(super) fn bucket(&self, key: &[u8]) -> usize {
        usize::try_from(self.hasher.hash_one(key) % BUCKETS as u64).expect("it is less than 65,536")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_sets_have_equal_sums_in_any_order() {
        let mut one = Sums::new();
        let mut other = one.empty_like();
        for n in 0..100_u8 {
            one.add(&[n], b"value");
            other.add(&[99 - n], b"value");
        }
        one.add(b"gone", b"x");
        one.remove(b"gone", b"x");
        assert!(one.differences(&other).is_empty());
        assert_eq!((one.rows, other.rows), (100, 100));
    }

    #[test]
    fn every_kind_of_difference_shows_in_its_bucket() {
        let mut whole = Sums::new();
        (0..100_u8).for_each(|n| whole.add(&[n], b"value"));
        let mut missing = whole.clone();
        missing.remove(&[7], b"value");
        let mut surplus = whole.clone();
        surplus.add(&[200], b"value");
        let mut altered = whole.clone();
        altered.remove(&[7], b"value");
        altered.add(&[7], b"other");
        for (sums, key) in [(&missing, [7]), (&surplus, [200]), (&altered, [7])] {
            assert_eq!(whole.differences(sums), BTreeSet::from([whole.bucket(&key)]));
        }
        // A row twice is not the row once.
        let mut twice = whole.clone();
        twice.add(&[7], b"value");
        assert_eq!(whole.differences(&twice).len(), 1);
    }
}
