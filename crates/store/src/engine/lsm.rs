use std::fmt;
use std::ops::Bound;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use lsm_tree::compaction::Leveled;
use lsm_tree::config::PartitioningPolicy;
use lsm_tree::{
    AbstractTree as _, AnyTree, Cache, Config, DescriptorTable, Guard as _, SeqNo,
    SequenceNumberCounter,
};

use super::{Batch, EngineError, IndexEngine, Pair, page_start, panic_message};
use crate::fail_point::{self, Point};

/// Files of the tree that are kept open.
const OPEN_FILES_MAX: usize = 64;
/// Tables that changes go to before they are merged into the sorted rest: a read may have to look
/// into each of them.
const YOUNG_TABLES_DUE: u8 = 4;
/// So many of them hold up the writer until they are merged.
const YOUNG_TABLES_MAX: usize = 12;
/// How far the merging thread stands back, as in `nice`: validators merge in the same moments,
/// since they write the same rows, and must vote meanwhile.
#[cfg(target_os = "linux")]
const MERGE_NICENESS: i32 = 10;
/// Levels of the tree, each of which may overflow into the next.
const LEVELS: usize = 7;

/// Limits of an LSM tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LsmOptions {
    /// Bytes of blocks of its files that the tree may keep in memory.
    pub cache_bytes: u64,
    /// Bytes of the newest changes, which are in memory only.
    pub memtable_bytes: u64,
    /// Bytes of a file.
    pub table_bytes: u64,
}

impl Default for LsmOptions {
    fn default() -> Self {
        const MIB: u64 = 1024 * 1024;
        // Recent changes and coins stay in our own caches: the tree's serves cold reads only, and
        // the parts of indexes and filters that they need. A larger memtable is merged less often;
        // what is in it has to be connected again after a crash.
        Self { cache_bytes: 4 * MIB, memtable_bytes: 8 * MIB, table_bytes: 16 * MIB }
    }
}

/// A log-structured merge tree without a journal of its own: the block log is one. Changes are
/// kept in a table in memory and written to a file, in the order of their keys, when there are
/// many; a crash loses the newest of them and nothing in between. A thread merges the files, one
/// at a time.
pub struct LsmEngine {
    tree: AnyTree,
    seqno: SequenceNumberCounter,
    options: LsmOptions,
    merging: Mutex<Option<JoinHandle<lsm_tree::Result<()>>>>,
}

impl LsmEngine {
    /// Opens or creates the tree in `directory`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(directory: &Path, options: LsmOptions) -> Result<Self, EngineError> {
        let seqno = SequenceNumberCounter::default();
        let config = Config::new(directory, seqno.clone(), SequenceNumberCounter::default())
            .use_cache(Arc::new(Cache::with_capacity_bytes(options.cache_bytes)))
            .use_descriptor_table(Some(Arc::new(DescriptorTable::new(OPEN_FILES_MAX))))
            // In parts, so that what they take in memory is the cache's business.
            .index_block_partitioning_policy(PartitioningPolicy::all(true))
            .filter_block_partitioning_policy(PartitioningPolicy::all(true));
        // From damage that it does not expect it panics.
        let opened = panic::catch_unwind(AssertUnwindSafe(|| config.open()));
        let tree = opened.map_err(|panic| EngineError::Damaged(panic_message(&*panic)))??;
        if let Some(highest) = tree.get_highest_persisted_seqno() {
            seqno.set(highest + 1);
        }
        Ok(Self { tree, seqno, options, merging: Mutex::default() })
    }

    fn apply(&self, changes: Batch) -> Result<(), EngineError> {
        fail_point::at(Point::EngineWrite, || {
            let seqno = self.seqno.next();
            for (key, value) in changes {
                match value {
                    Some(value) => self.tree.insert(key, value, seqno),
                    None => self.tree.remove(key, seqno),
                };
            }
            Ok::<_, lsm_tree::Error>(())
        })?;
        if self.tree.active_memtable().size() < self.options.memtable_bytes {
            return Ok(());
        }
        self.write_out()?;
        self.merge_if_due()
    }

    /// Writes what is in memory only into a file, durably.
    fn write_out(&self) -> Result<(), EngineError> {
        fail_point::at(Point::EngineFlush, || {
            let lock = self.tree.get_flush_lock();
            self.tree.rotate_memtable();
            self.tree.flush(&lock, self.seqno.get())
        })?;
        Ok(())
    }

    /// Has young tables merged on another thread; waits only where there are too many.
    fn merge_if_due(&self) -> Result<(), EngineError> {
        let mut merging = self.merging.lock().unwrap_or_else(PoisonError::into_inner);
        let tables = self.tree.level_table_count(0).unwrap_or_default();
        if let Some(thread) = merging.take() {
            if tables < YOUNG_TABLES_MAX && !thread.is_finished() {
                *merging = Some(thread);
                return Ok(());
            }
            join(thread)?;
        }
        if tables >= usize::from(YOUNG_TABLES_DUE) {
            let merge = self.merge();
            let thread = thread::Builder::new().name("chain-merge".to_owned()).spawn(merge);
            *merging = Some(thread.expect("the system has room for one more thread"));
        }
        Ok(())
    }

    /// Brings every level back to its size.
    fn merge(&self) -> impl FnOnce() -> lsm_tree::Result<()> + Send + use<> {
        let (tree, seqno) = (self.tree.clone(), self.seqno.clone());
        let strategy = Leveled::default()
            .with_l0_threshold(YOUNG_TABLES_DUE)
            .with_table_target_size(self.options.table_bytes);
        let strategy = Arc::new(strategy);
        move || {
            give_way();
            for _ in 0..LEVELS {
                // No read looks for what was there before: each takes the newest of a key.
                fail_point::at(Point::EngineMerge, || tree.compact(strategy.clone(), seqno.get()))?;
            }
            Ok(())
        }
    }
}

/// Lets all other threads have the processor first.
fn give_way() {
    // Where the system knows no niceness of a single thread, it is that of the process.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(MERGE_NICENESS) {
        tracing::debug!(%error, "the index is merged at full priority");
    }
}

fn join(thread: JoinHandle<lsm_tree::Result<()>>) -> Result<(), EngineError> {
    Ok(thread.join().unwrap_or_else(|panic| panic::resume_unwind(panic))?)
}

impl IndexEngine for LsmEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        let value = fail_point::at(Point::EngineRead, || self.tree.get(key, SeqNo::MAX))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn page(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, EngineError> {
        let start = page_start(prefix, after);
        let end = end_of(prefix);
        let end = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let pairs = self.tree.range::<&[u8], _>((start, end), SeqNo::MAX, None);
        let pairs = pairs.take(limit).map(|pair| {
            let (key, value) = pair.into_inner()?;
            Ok((key.to_vec(), value.to_vec()))
        });
        pairs.collect()
    }

    fn write(&self, batch: Batch) -> Result<(), EngineError> {
        self.apply(batch)
    }

    fn fill(&self, changes: Batch) -> Result<(), EngineError> {
        self.apply(changes)
    }

    fn keep_order(&self) -> Result<(), EngineError> {
        Ok(())
    }

    fn flush(&self) -> Result<(), EngineError> {
        self.write_out()?;
        let mut merging = self.merging.lock().unwrap_or_else(PoisonError::into_inner);
        merging.take().map_or(Ok(()), join)
    }
}

/// The first key behind all those that begin with `prefix`.
fn end_of(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

impl Drop for LsmEngine {
    /// Nothing may change the files of whoever opens them next.
    fn drop(&mut self) {
        let merging = self.merging.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(Err(error)) = merging.take().map(join) {
            tracing::warn!(%error, "files of the index are left unmerged");
        }
    }
}

impl fmt::Debug for LsmEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LsmEngine").field("options", &self.options).finish_non_exhaustive()
    }
}
