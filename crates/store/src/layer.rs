use std::collections::BTreeMap;
use std::ops::Bound;

use pentad_primitives::BlockHash;

use crate::rows::Row;

/// One move of the tip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// This block was put on the tip.
    Connect(BlockHash),
    /// This block was the tip.
    Disconnect(BlockHash),
}

/// Changes that are not in the engine yet: what lies under them there is out of date.
#[derive(Debug, Default)]
pub struct Layer {
    changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    steps: Vec<Step>,
    bytes: usize,
}

/// What an entry costs beside its key and value: pointers, lengths, its share of tree nodes.
const ENTRY_OVERHEAD_BYTES: usize = 64;

impl Layer {
    /// The changed value of `key`: `Some(None)` when it was removed.
    pub fn get(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        self.changes.get(key).map(Option::as_deref)
    }

    /// Sets or removes the value of a key.
    pub fn set(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.bytes += key.len() + value.as_ref().map_or(0, Vec::len) + ENTRY_OVERHEAD_BYTES;
        self.changes.insert(key, value);
    }

    /// Applies the rows of a block that becomes the tip, or of the tip that goes.
    pub fn step(&mut self, step: Step, rows: Vec<Row>) {
        match step {
            Step::Connect(_) => {
                for row in rows {
                    match row {
                        Row::Added((key, value)) => self.set(key, Some(value)),
                        Row::Removed((key, _)) => self.set(key, None),
                    }
                }
            }
            Step::Disconnect(_) => {
                for row in rows.into_iter().rev() {
                    match row {
                        Row::Added((key, _)) => self.set(key, None),
                        Row::Removed((key, value)) => self.set(key, Some(value)),
                    }
                }
            }
        }
        self.steps.push(step);
    }

    /// Changes of keys that begin with `prefix` and lie behind `after` and not behind `last`.
    pub fn range<'a>(
        &'a self,
        prefix: &'a [u8],
        after: Option<&'a [u8]>,
        last: Option<&'a [u8]>,
    ) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        self.changes
            .range::<[u8], _>((start, Bound::Unbounded))
            .map(|(key, value)| (key.as_slice(), value.as_deref()))
            .take_while(move |(key, _)| {
                key.starts_with(prefix) && last.is_none_or(|last| *key <= last)
            })
    }

    /// The moves of the tip in this layer.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Every change, in key order.
    pub fn changes(&self) -> impl Iterator<Item = (&Vec<u8>, &Option<Vec<u8>>)> {
        self.changes.iter()
    }

    /// Bytes that the layer holds in memory, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Nothing changed.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.steps.is_empty()
    }
}
