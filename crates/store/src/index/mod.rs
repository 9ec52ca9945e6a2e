//! The index: an engine with layers of recent changes above it.
//!
//! One writer fills an open layer and seals it; sealed layers never change. A [`Snapshot`] is
//! the list of sealed layers at one moment over the engine. The oldest layers go down into the
//! engine in bounded batches, on a thread of their own; until they have arrived they still lie
//! above it, so that the writer and the snapshots which hold them see no difference. A snapshot
//! older than that notices ([`Snapshot::is_intact`]) and is taken anew: the newest layers always
//! stay above the engine, so this is rare.
//!
//! A descent into the engine begins with a note of the tip moves it stands for and ends with
//! the new state. A crash in between is mended at the next start by making the same moves again
//! from the block log.

mod descent;
mod interrupted;
mod snapshot;

use std::sync::Arc;

use pentad_crypto::MuHash;
use pentad_primitives::{BlockHash, BlockHeight};

use crate::engine::{IndexEngine, Pair};
use crate::layer::{Layer, Step};
use crate::log::LogPosition;
use crate::read::{IndexError, IndexRead};
use crate::rows::{MalformedRow, Rows, Table};
use crate::set_hash::{self, SetHashes};
use descent::{Descending, Descent};
use snapshot::{Floor, get, page};

pub use interrupted::Interrupted;
pub use snapshot::{Pin, Snapshot};

/// Changes that are handed to the engine at a time, copied out of their layers.
const BATCH_LEN: usize = 256;
/// Sealed layers that stay above the engine while the tip moves on: readers have that many
/// commits of time.
const LAYERS_KEPT: usize = 8;
/// Sealed layers at most before the oldest go down together: a read looks through all of them.
const LAYERS_MAX: usize = 16;
/// Changes that are put in order while the log is being synced: fewer take no time.
const SORTED_ASIDE_MIN: usize = 1024;

/// The tip of the main chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tip {
    /// Its hash.
    pub hash: BlockHash,
    /// Its height.
    pub height: BlockHeight,
}

/// Up to where an index reflects the block log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexState {
    /// The tip, once there is one.
    pub tip: Option<Tip>,
    /// Every record before this position has its rows.
    pub log_end: LogPosition,
}

impl IndexState {
    /// Of an empty index.
    pub const EMPTY: Self = Self { tip: None, log_end: LogPosition::START };

    fn to_bytes(self) -> Vec<u8> {
        let mut out = self.log_end.to_be_bytes().to_vec();
        if let Some(tip) = self.tip {
            out.extend_from_slice(tip.hash.as_bytes());
            out.extend_from_slice(&tip.height.get().to_le_bytes());
        }
        out
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (log_end, tip) = bytes.split_first_chunk()?;
        let log_end = LogPosition::from_be_bytes(*log_end);
        if tip.is_empty() {
            return Some(Self { tip: None, log_end });
        }
        let (hash, height) = tip.split_first_chunk()?;
        let height = BlockHeight::new(u32::from_le_bytes(height.try_into().ok()?));
        Some(Self { tip: Some(Tip { hash: BlockHash::from_bytes(*hash), height }), log_end })
    }
}

/// The writer's side of an index.
#[derive(Debug)]
pub struct Index {
    engine: Arc<dyn IndexEngine>,
    sealed: Vec<Sealed>,
    open: Layer,
    /// The state with the open layer.
    state: IndexState,
    generation: u64,
    floor: Arc<Floor>,
    set_hashes: Arc<SetHashes>,
    descent: Option<Descending>,
}

#[derive(Clone, Debug)]
struct Sealed {
    layer: Arc<Layer>,
    state: IndexState,
    generation: u64,
}

fn state_key(name: &str) -> Vec<u8> {
    [&[Table::State as u8], name.as_bytes()].concat()
}

/// Key of the row that holds the hash of the UTXO set.
#[must_use]
pub fn set_hash_key() -> Vec<u8> {
    state_key(SET_HASH)
}

const STATE: &str = "state";
const DESCENT: &str = "descent";
const SET_HASH: &str = "utxo-set-hash";

impl Index {
    /// Opens the index in `engine`. The second value is a descent that a crash interrupted: the
    /// caller makes its moves again with [`Self::step`] before any other.
    ///
    /// # Errors
    /// When the engine fails or its notes do not decode.
    pub fn open(engine: Arc<dyn IndexEngine>) -> Result<(Self, Option<Interrupted>), IndexError> {
        let malformed = MalformedRow(Table::State);
        let state = match engine.get(&state_key(STATE))? {
            Some(bytes) => IndexState::from_bytes(&bytes).ok_or(malformed.clone())?,
            None => IndexState::EMPTY,
        };
        let interrupted = match engine.get(&state_key(DESCENT))? {
            Some(bytes) => Some(Interrupted::from_bytes(&bytes).ok_or(malformed)?),
            None => None,
        };
        let index = Self {
            engine,
            sealed: Vec::new(),
            open: Layer::default(),
            state,
            generation: 0,
            floor: Arc::default(),
            set_hashes: Arc::default(),
            descent: None,
        };
        Ok((index, interrupted))
    }

    /// Keeps the hash of the UTXO set from now on, if the index held it so far or is empty. To be
    /// called before anything is changed.
    ///
    /// # Errors
    /// When the engine fails or the hash does not decode.
    pub fn keep_set_hash(&mut self) -> Result<(), IndexError> {
        let held = match self.engine.get(&state_key(SET_HASH))? {
            Some(bytes) => Some(MuHash::from_bytes(&bytes).ok_or(MalformedRow(Table::State))?),
            None => self.state.tip.is_none().then(MuHash::default),
        };
        if let Some(hash) = held {
            self.set_hashes.note(self.generation, hash);
        }
        Ok(())
    }

    /// Keeps the hash of the UTXO set from now on, whatever the index held so far: if need be, it
    /// is made from all coins of the engine. To be called while no coin lies above it.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn make_set_hash(&mut self) -> Result<(), IndexError> {
        if !self.set_hashes.is_kept() {
            tracing::info!("making the hash of the UTXO set, from all of it");
            self.set_hashes.note(self.generation, set_hash::of_engine(&*self.engine)?);
        }
        Ok(())
    }

    /// The state with everything done so far.
    #[must_use]
    pub fn state(&self) -> IndexState {
        self.state
    }

    /// Notes that records of the log before `end` have their rows.
    pub fn set_log_end(&mut self, end: LogPosition) {
        self.state.log_end = end;
    }

    /// Sets one row.
    pub fn set(&mut self, key: &[u8], value: &[u8]) {
        self.open.set(key, value);
    }

    /// Moves the tip: `rows` are those of the block that comes or goes, `tip` is the new one.
    pub fn step(&mut self, step: Step, rows: Rows, tip: Option<Tip>) {
        self.open.step(step, rows);
        self.state.tip = tip;
    }

    /// Bytes of changes in the open layer, about.
    #[must_use]
    pub fn open_bytes(&self) -> usize {
        self.open.bytes()
    }

    /// Bytes of changes in all layers, about.
    #[must_use]
    pub fn layer_bytes(&self) -> usize {
        self.open.bytes() + self.sealed.iter().map(|sealed| sealed.layer.bytes()).sum::<usize>()
    }

    /// Puts the changes of the open layer in order, which sealing it would take time for.
    pub fn sort_open(&self) {
        self.open.sort();
    }

    /// Whether the open layer is so large that putting it in order takes time.
    #[must_use]
    pub fn is_open_large(&self) -> bool {
        self.open.len() >= SORTED_ASIDE_MIN
    }

    /// Closes the open layer and returns the index as it is now. What the layer says must be
    /// durable in the block log by then.
    pub fn seal(&mut self) -> Snapshot {
        if !self.open.is_empty() {
            self.open.sort();
            self.generation += 1;
            self.sealed.push(Sealed {
                layer: Arc::new(std::mem::take(&mut self.open)),
                state: self.state,
                generation: self.generation,
            });
        }
        Snapshot {
            engine: Arc::clone(&self.engine),
            layers: self.sealed.iter().map(|sealed| Arc::clone(&sealed.layer)).collect(),
            generation: self.generation,
            floor: Arc::clone(&self.floor),
            set_hashes: Arc::clone(&self.set_hashes),
            state: self.state,
        }
    }

    /// Sends the oldest layers down into the engine when there are many of them or they hold more
    /// than half of `budget` bytes, and waits only where they hold more than all of it. Readers
    /// must have been given the last sealed snapshot before.
    ///
    /// # Errors
    /// When the engine fails, or failed the last time.
    pub fn descend_if_due(&mut self, budget: usize) -> Result<(), IndexError> {
        if self.descent.as_ref().is_some_and(Descending::has_ended) {
            self.finish_descent()?;
        }
        loop {
            let count = self.due(budget);
            if self.descent.is_none() && count > 0 {
                self.descent = self.descent_of(count).map(Descent::start);
            }
            if self.descent.is_none() || self.layer_bytes() <= budget {
                return Ok(());
            }
            self.finish_descent()?;
        }
    }

    /// The descent of so many of the oldest layers.
    fn descent_of(&self, count: usize) -> Option<Descent> {
        let (engine, floor) = (Arc::clone(&self.engine), Arc::clone(&self.floor));
        Descent::of(&self.sealed[..count], engine, floor, Arc::clone(&self.set_hashes))
    }

    /// How many layers should go down.
    fn due(&self, budget: usize) -> usize {
        let many = self.sealed.len() > LAYERS_MAX;
        match self.layer_bytes() {
            bytes if bytes > budget / 2 && self.sealed.len() == 1 => 1,
            bytes if bytes > budget / 2 => self.sealed.len().saturating_sub(1),
            _ if many => self.sealed.len() - LAYERS_KEPT,
            _ => 0,
        }
    }

    fn finish_descent(&mut self) -> Result<(), IndexError> {
        if let Some(descent) = self.descent.take() {
            let count = descent.count;
            descent.join()?;
            self.sealed.drain(..count);
        }
        Ok(())
    }

    /// Writes all sealed layers into the engine and makes it durable.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn descend_all(&mut self) -> Result<(), IndexError> {
        self.finish_descent()?;
        if let Some(descent) = self.descent_of(self.sealed.len()) {
            descent.run()?;
            self.sealed.clear();
        }
        Ok(self.engine.flush()?)
    }
}

impl Drop for Index {
    /// Nothing may write behind the back of whoever opens the engine next.
    fn drop(&mut self) {
        if let Err(error) = self.finish_descent() {
            tracing::warn!(%error, "the index is left as it is; the next start mends it");
        }
    }
}

impl IndexRead for Index {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        let layers = self.sealed.iter().map(|sealed| &*sealed.layer).chain([&self.open]);
        get(layers, &*self.engine, key)
    }

    fn page(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, IndexError> {
        let layers = || self.sealed.iter().map(|sealed| &*sealed.layer).chain([&self.open]);
        page(layers, &*self.engine, prefix, after, limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes_of_the_state() {
        let keys: [&[u8]; 3] = [b"sstate", b"sdescent", b"sutxo-set-hash"];
        assert_eq!([STATE, DESCENT, SET_HASH].map(state_key), keys);
        let log_end = LogPosition { segment: 1, offset: 0x0203 };
        let empty = IndexState { tip: None, log_end };
        assert_eq!(empty.to_bytes(), b"\0\0\0\x01\0\0\x02\x03");
        let tip = Tip { hash: BlockHash::from_bytes([7; 32]), height: BlockHeight::new(0x0405) };
        let state = IndexState { tip: Some(tip), log_end };
        let bytes = [b"\0\0\0\x01\0\0\x02\x03", &[7; 32][..], b"\x05\x04\0\0"].concat();
        assert_eq!(state.to_bytes(), bytes);
        for state in [empty, state] {
            assert_eq!(IndexState::from_bytes(&state.to_bytes()), Some(state));
        }
        assert_eq!(IndexState::from_bytes(&bytes[..43]), None);
    }
}
