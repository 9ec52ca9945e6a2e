//! The index: an engine with layers of recent changes above it.
//!
//! One writer fills an open layer and seals it; sealed layers never change. A [`Snapshot`] is
//! the list of sealed layers at one moment over the engine. The oldest layers go down into the
//! engine in bounded batches; meanwhile they still lie above it, so that snapshots which hold
//! them see no difference. A snapshot older than that notices ([`Snapshot::is_intact`]) and is
//! taken anew: the newest layers always stay above the engine, so this is rare.
//!
//! A descent into the engine begins with a note of the tip moves it stands for and ends with
//! the new state. A crash in between is mended at the next start by making the same moves again
//! from the block log.

mod interrupted;
mod snapshot;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use pentad_primitives::{BlockHash, BlockHeight};

use crate::engine::{Batch, IndexEngine, Pair};
use crate::fail_point::{self, Point};
use crate::layer::{Layer, Step};
use crate::log::LogPosition;
use crate::read::{IndexError, IndexRead};
use crate::rows::{MalformedRow, Row, Table};
use snapshot::{Descent, get, page};

pub use interrupted::Interrupted;
pub use snapshot::{Pin, Snapshot};

/// Changes in one batch of the engine: sled's memory grows with the size of a batch.
const BATCH_LEN: usize = 256;
/// Sealed layers that stay above the engine while the tip moves on: readers have that many
/// commits of time.
const LAYERS_KEPT: usize = 8;
/// Sealed layers at most before the oldest go down together: a read looks through all of them.
const LAYERS_MAX: usize = 16;

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
    descent: Arc<Descent>,
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

const STATE: &str = "state";
const DESCENT: &str = "descent";

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
            descent: Arc::default(),
        };
        Ok((index, interrupted))
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
    pub fn set(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.open.set(key, Some(value));
    }

    /// Moves the tip: `rows` are those of the block that comes or goes, `tip` is the new one.
    pub fn step(&mut self, step: Step, rows: Vec<Row>, tip: Option<Tip>) {
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

    /// Closes the open layer and returns the index as it is now. What the layer says must be
    /// durable in the block log by then.
    pub fn seal(&mut self) -> Snapshot {
        if !self.open.is_empty() {
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
            descent: Arc::clone(&self.descent),
            state: self.state,
        }
    }

    /// Writes the oldest layers into the engine when there are many of them or they hold more
    /// than `budget` bytes. Readers must have been given the last sealed snapshot before.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn descend_if_due(&mut self, budget: usize) -> Result<(), IndexError> {
        let over_budget = self.layer_bytes() > budget;
        if self.sealed.len() > LAYERS_MAX {
            self.descend(self.sealed.len() - LAYERS_KEPT)?;
        } else if over_budget && self.sealed.len() > 1 {
            self.descend(self.sealed.len() - 1)?;
        } else if over_budget {
            self.descend(self.sealed.len())?;
        }
        Ok(())
    }

    /// Writes all sealed layers into the engine.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn descend_all(&mut self) -> Result<(), IndexError> {
        self.descend(self.sealed.len())
    }

    fn descend(&mut self, count: usize) -> Result<(), IndexError> {
        let Some(last) = count.checked_sub(1).and_then(|last| self.sealed.get(last)) else {
            return Ok(());
        };
        let state = last.state;
        let _gate = self.descent.gate.write().unwrap_or_else(PoisonError::into_inner);
        self.descent.floor.store(last.generation, Ordering::SeqCst);

        let going = &self.sealed[..count];
        let mut changes = BTreeMap::new();
        for (key, value) in going.iter().flat_map(|sealed| sealed.layer.changes()) {
            changes.insert(key, value);
        }
        let steps: Vec<Step> =
            going.iter().flat_map(|sealed| sealed.layer.steps()).copied().collect();
        let note = Interrupted { log_end: state.log_end, steps };
        fail_point::pass(Point::DescentNote);
        let mut batch: Batch = vec![(state_key(DESCENT), Some(note.to_bytes()))];
        for (key, value) in changes {
            batch.push((key.clone(), value.clone()));
            if batch.len() >= BATCH_LEN {
                self.engine.write(std::mem::take(&mut batch))?;
                fail_point::pass(Point::DescentBatch);
            }
        }
        self.engine.write(batch)?;
        fail_point::pass(Point::DescentWritten);
        // The new state may be on disk only after all that it stands for.
        self.engine.flush()?;
        fail_point::pass(Point::DescentState);
        self.engine
            .write(vec![(state_key(STATE), Some(state.to_bytes())), (state_key(DESCENT), None)])?;
        fail_point::pass(Point::DescentDone);
        self.sealed.drain(..count);
        Ok(())
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
