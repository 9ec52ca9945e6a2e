//! How layers go down into the engine: on a thread of their own, one descent at a time.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};

use pentad_crypto::MuHash;

use super::snapshot::Floor;
use super::{BATCH_LEN, DESCENT, IndexState, Interrupted, SET_HASH, STATE, Sealed, state_key};
use crate::engine::{Batch, IndexEngine};
use crate::fail_point::{self, Point};
use crate::layer::{Layer, Step, merged};
use crate::read::IndexError;
use crate::set_hash::SetHashes;

/// What goes down: the oldest layers, oldest first.
#[derive(Debug)]
pub(super) struct Descent {
    layers: Vec<Arc<Layer>>,
    /// That of the newest of them.
    state: IndexState,
    generation: u64,
    engine: Arc<dyn IndexEngine>,
    floor: Arc<Floor>,
    set_hashes: Arc<SetHashes>,
}

/// A descent under way. The layers stay above the engine until they have arrived.
#[derive(Debug)]
pub(super) struct Descending {
    /// How many of the sealed layers go.
    pub(super) count: usize,
    thread: JoinHandle<Result<(), IndexError>>,
}

impl Descent {
    /// Of these layers; `None` if there is none.
    pub(super) fn of(
        layers: &[Sealed],
        engine: Arc<dyn IndexEngine>,
        floor: Arc<Floor>,
        set_hashes: Arc<SetHashes>,
    ) -> Option<Self> {
        let Sealed { state, generation, .. } = *layers.last()?;
        let layers = layers.iter().map(|sealed| Arc::clone(&sealed.layer)).collect();
        Some(Self { layers, state, generation, engine, floor, set_hashes })
    }

    /// Writes the layers into the engine, once nobody holds them fast.
    pub(super) fn run(self) -> Result<(), IndexError> {
        let hash = self.set_hashes.with(self.generation, &self.layers)?;
        let _gate = self.floor.gate.write().unwrap_or_else(PoisonError::into_inner);
        self.floor.generation.store(self.generation, Ordering::SeqCst);
        write(&self.layers, self.state, hash.as_ref(), &*self.engine)?;
        self.set_hashes.forget_below(self.generation);
        Ok(())
    }

    /// The same on a thread of its own.
    pub(super) fn start(self) -> Descending {
        let count = self.layers.len();
        let thread = thread::Builder::new().name("chain-index".to_owned()).spawn(|| self.run());
        Descending { count, thread: thread.expect("the system has room for one more thread") }
    }
}

impl Descending {
    /// It will not keep whoever joins it waiting.
    pub(super) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits until the layers have arrived.
    pub(super) fn join(self) -> Result<(), IndexError> {
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn write(
    layers: &[Arc<Layer>],
    state: IndexState,
    set_hash: Option<&MuHash>,
    engine: &dyn IndexEngine,
) -> Result<(), IndexError> {
    let steps: Vec<Step> = layers.iter().flat_map(|layer| layer.steps()).copied().collect();
    let note = Interrupted { log_end: state.log_end, steps };
    fail_point::pass(Point::DescentNote);
    engine.write(vec![(state_key(DESCENT), Some(note.to_bytes()))])?;
    let mut batch = Batch::new();
    for (key, value) in merged(layers.iter().map(AsRef::as_ref)) {
        batch.push((key.to_vec(), value.map(<[u8]>::to_vec)));
        if batch.len() >= BATCH_LEN {
            engine.fill(std::mem::take(&mut batch))?;
            fail_point::pass(Point::DescentBatch);
            // Nobody waits for this, while others may wait for the core.
            thread::yield_now();
        }
    }
    engine.fill(batch)?;
    fail_point::pass(Point::DescentWritten);
    // The new state may be on disk only after all that it stands for.
    engine.keep_order()?;
    fail_point::pass(Point::DescentState);
    engine.write(vec![
        (state_key(STATE), Some(state.to_bytes())),
        // Whoever does not keep it must not leave an old one behind.
        (state_key(SET_HASH), set_hash.map(MuHash::to_bytes)),
        (state_key(DESCENT), None),
    ])?;
    fail_point::pass(Point::DescentDone);
    Ok(())
}
