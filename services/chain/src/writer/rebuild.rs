//! Connecting the blocks of the log to an empty index, every rule checked again.
//!
//! That the log holds undo data for a block says that it was found valid once; here nobody takes
//! its word for it. Signatures are verified ahead of the writer, on all cores, against the outputs
//! that the undo data claims to be spent. The writer finds the outputs that really are: where they
//! are the same, so is the verdict; else it verifies anew.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use pentad_ledger::verify::{CheckedBlock, block_signatures, verify_signatures};
use pentad_ledger::{BlockUndo, ChainSpec};
use pentad_primitives::BlockHash;
use pentad_store::log::{LogPosition, LogReader};
use pentad_store::{StoreError, read_block, read_undo};

use super::{Writer, signatures};
use crate::cores::cores;
use crate::progress::{Phase, Progress};
use crate::refusal::Refusal;

/// Bytes of changes that may wait above the engine meanwhile: nobody else needs the memory yet, and
/// every coin that comes and goes among them spares the engine four writes.
const LAYER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Blocks that may be ready before the writer gets to them: each is in memory.
const READY_MAX: usize = 6;
/// Time between two words in the log on how far it is.
const REPORT_INTERVAL: Duration = Duration::from_secs(2);

/// A block of the log.
#[derive(Debug)]
struct Stored {
    body: LogPosition,
    undo: Option<LogPosition>,
}

/// A block whose own bytes keep the rules.
struct Prepared {
    block: CheckedBlock,
    /// What the log says that it spends.
    claimed: Option<BlockUndo>,
    /// The signatures are valid if that is true.
    is_sound: bool,
}

type Outcome = thread::Result<Result<Result<Prepared, Refusal>, StoreError>>;

/// Blocks on their way from those who prepare them to the writer, in order.
struct Line {
    blocks: Vec<Stored>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The next to prepare.
    next: usize,
    /// The next that the writer wants.
    wanted: usize,
    ready: BTreeMap<usize, Outcome>,
    is_closed: bool,
}

impl Line {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// Prepares blocks until there are none left.
    fn work(&self, log: &LogReader, spec: &ChainSpec) {
        let mut state = self.state();
        loop {
            while !state.is_closed && state.next >= state.wanted + READY_MAX {
                state = self.wait(state);
            }
            let at = state.next;
            let Some(stored) = self.blocks.get(at).filter(|_| !state.is_closed) else {
                return;
            };
            state.next += 1;
            drop(state);
            let outcome = catch_unwind(AssertUnwindSafe(|| prepare(stored, log, spec)));
            state = self.state();
            state.ready.insert(at, outcome);
            self.changed.notify_all();
        }
    }

    /// The next block.
    fn take(&self) -> Result<Result<Prepared, Refusal>, StoreError> {
        let mut state = self.state();
        loop {
            let wanted = state.wanted;
            if let Some(outcome) = state.ready.remove(&wanted) {
                state.wanted += 1;
                self.changed.notify_all();
                return outcome.unwrap_or_else(|panic| resume_unwind(panic));
            }
            state = self.wait(state);
        }
    }
}

/// Sends those who prepare blocks home, however the writer leaves.
struct Closing<'a>(&'a Line);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.state().is_closed = true;
        self.0.changed.notify_all();
    }
}

fn prepare(
    stored: &Stored,
    log: &LogReader,
    spec: &ChainSpec,
) -> Result<Result<Prepared, Refusal>, StoreError> {
    let block = match CheckedBlock::check(read_block(log, stored.body)?, spec) {
        Ok(block) => block,
        Err(error) => return Ok(Err(Refusal::from(&error))),
    };
    let Some(position) = stored.undo else {
        return Ok(Ok(Prepared { block, claimed: None, is_sound: false }));
    };
    let claimed = BlockUndo { spent: read_undo(log, position)? };
    let is_sound = verify_signatures(block_signatures(&block, &claimed)).is_ok();
    Ok(Ok(Prepared { block, claimed: Some(claimed), is_sound }))
}

impl Writer {
    /// Connects what the log holds. Blocks that break a rule stay off the chain, with all above.
    /// `certified` are final, the highest first.
    pub(super) fn rebuild(&mut self, certified: &[BlockHash]) -> Result<(), StoreError> {
        let layer_bytes_max = self.store.set_layer_bytes_max(LAYER_BYTES_MAX);
        self.store.set_layer_bytes_max(layer_bytes_max.max(LAYER_BYTES_MAX));
        self.restore_finality(certified, Self::connect_to)?;
        self.connect_log()?;
        // What is too much for ordinary work goes down.
        self.store.set_layer_bytes_max(layer_bytes_max);
        self.finish_group()?;
        self.store.tidy()
    }

    fn connect_log(&mut self) -> Result<(), StoreError> {
        loop {
            let (tip, best) = (self.tip(), self.tree.best_candidate());
            if tip == best {
                break;
            }
            self.connect_to(&best)?;
        }
        self.settle_tip();
        Ok(())
    }

    /// Moves the tip to a block of the log. Stops at one that breaks a rule, and returns it.
    fn connect_to(
        &mut self,
        target: &BlockHash,
    ) -> Result<Option<(BlockHash, Refusal)>, StoreError> {
        let path = self.tree.path(&self.tip(), target).expect("both are in the tree");
        for hash in &path.undo {
            self.disconnect(hash)?;
        }
        let refused = self.connect_again(&path.apply)?;
        if let Some((hash, refusal)) = &refused {
            let reason = refusal.reason;
            tracing::error!(%hash, reason, "a stored block is invalid: {}", refusal.message);
            self.tree.mark_invalid(hash);
            self.store.mark_invalid(hash)?;
        }
        Ok(refused)
    }

    /// Connects blocks that follow one another; returns the first that breaks a rule.
    fn connect_again(
        &mut self,
        hashes: &[BlockHash],
    ) -> Result<Option<(BlockHash, Refusal)>, StoreError> {
        let stored = |hash| {
            let entry = self.store.block_entry(hash)?;
            Ok(Stored { body: entry.body, undo: entry.undo })
        };
        let blocks = hashes.iter().map(stored).collect::<Result<_, StoreError>>()?;
        let line = Line { blocks, state: Mutex::default(), changed: Condvar::new() };
        let (log, spec) = (self.store.log_reader(), self.spec.clone());
        thread::scope(|scope| {
            let closing = Closing(&line);
            for _ in 0..cores() {
                scope.spawn(|| line.work(&log, &spec));
            }
            let outcome = self.connect_line(closing.0, hashes);
            drop(closing);
            outcome
        })
    }

    fn connect_line(
        &mut self,
        line: &Line,
        hashes: &[BlockHash],
    ) -> Result<Option<(BlockHash, Refusal)>, StoreError> {
        let total = hashes.len() as u64;
        let mut reported = Instant::now();
        for (done, hash) in (0_u64..).zip(hashes) {
            self.progress.send_replace(Progress { phase: Phase::Verifying, done, total });
            if reported.elapsed() >= REPORT_INTERVAL {
                reported = Instant::now();
                let height = self.store.tip().map_or(0, |tip| tip.height.get());
                tracing::info!(height, percent = done * 100 / total, "verifying all blocks again");
            }
            let prepared = match line.take()? {
                Ok(prepared) => prepared,
                Err(refusal) => return Ok(Some((*hash, refusal))),
            };
            if let Err(refusal) = self.connect_prepared(&prepared)? {
                return Ok(Some((*hash, refusal)));
            }
            self.bound_group()?;
        }
        self.progress.send_replace(Progress { phase: Phase::Verifying, done: total, total });
        Ok(None)
    }

    fn connect_prepared(&mut self, prepared: &Prepared) -> Result<Result<(), Refusal>, StoreError> {
        let Prepared { block, claimed, is_sound } = prepared;
        let undo = match self.check_but_signatures(block)? {
            Ok(undo) => undo,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let is_as_claimed = claimed.as_ref() == Some(&undo);
        if !(is_as_claimed && *is_sound)
            && let Err(error) = signatures::verify(block_signatures(block, &undo).collect())
        {
            return Ok(Err(Refusal::from(&error)));
        }
        if claimed.is_some() && !is_as_claimed {
            tracing::warn!(block = %block.hash(), "undo data in the log is wrong; writing it anew");
            self.store.forget_undo(&block.hash())?;
        }
        self.put_on_tip(block, &undo)?;
        Ok(Ok(()))
    }
}
