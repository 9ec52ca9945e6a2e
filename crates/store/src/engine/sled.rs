use std::ops::Bound;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fmt, thread};

use super::{Batch, EngineError, IndexEngine, Pair, page_start, panic_message};
use crate::fail_point::{self, Point};

/// How long a database may stay locked after its last handle was dropped.
const UNLOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause between two tries to open a database that is still locked.
const UNLOCK_POLL: Duration = Duration::from_millis(10);

/// Opens a sled database. Where this process had it open before, waits until sled, which does so
/// in a thread of its own, has let go of its file.
///
/// # Errors
/// When sled cannot read it, or it stays locked for seconds.
pub fn open_sled(config: &sled::Config) -> sled::Result<sled::Db> {
    let deadline = Instant::now() + UNLOCK_TIMEOUT;
    loop {
        match config.open() {
            Err(sled::Error::Io(error))
                if error.to_string().contains("lock") && Instant::now() < deadline =>
            {
                thread::sleep(UNLOCK_POLL);
            }
            outcome => return outcome,
        }
    }
}

/// Limits of a sled database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SledOptions {
    /// Bytes of pages that sled may keep in memory.
    pub cache_bytes: u64,
}

impl Default for SledOptions {
    fn default() -> Self {
        // Recent changes and coins stay in our own caches: sled's serves cold reads only. It counts
        // a page as long as it is on disk, and takes some five times that in memory.
        Self { cache_bytes: 2 * 1024 * 1024 }
    }
}

/// sled 0.34: one tree, so that a batch is atomic.
pub struct SledEngine {
    tree: sled::Db,
}

impl SledEngine {
    /// Opens or creates the database in `directory`.
    ///
    /// # Errors
    /// When sled cannot read it or it stays locked.
    pub fn open(directory: &Path, options: SledOptions) -> Result<Self, EngineError> {
        let config = sled::Config::new()
            .path(directory)
            .cache_capacity(options.cache_bytes)
            // The index says when: a timer would write behind the tip marker's back.
            .flush_every_ms(None);
        // Some damage sled reports, from some it panics.
        let opened = panic::catch_unwind(AssertUnwindSafe(|| open_sled(&config)));
        let tree = opened.map_err(|panic| EngineError::Damaged(panic_message(&*panic)))??;
        Ok(Self { tree })
    }

    /// With fail points every batch reaches the disk at once: a process that is killed there must
    /// not be saved by what sled still had in memory.
    fn settle(&self) -> sled::Result<()> {
        #[cfg(feature = "fail-points")]
        self.tree.flush()?;
        Ok(())
    }
}

impl IndexEngine for SledEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        let value = fail_point::at(Point::EngineRead, || self.tree.get(key))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn page(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, EngineError> {
        let start = page_start(prefix, after);
        let mut pairs = Vec::new();
        for pair in self.tree.range::<&[u8], _>((start, Bound::Unbounded)).take(limit) {
            let (key, value) = pair?;
            if !key.starts_with(prefix) {
                break;
            }
            pairs.push((key.to_vec(), value.to_vec()));
        }
        Ok(pairs)
    }

    fn write(&self, batch: Batch) -> Result<(), EngineError> {
        let mut changes = sled::Batch::default();
        for (key, value) in batch {
            match value {
                Some(value) => changes.insert(key, value),
                None => changes.remove(key),
            }
        }
        fail_point::at(Point::EngineWrite, || {
            self.tree.apply_batch(changes)?;
            self.settle()
        })?;
        Ok(())
    }

    fn fill(&self, changes: Batch) -> Result<(), EngineError> {
        let tree = &self.tree;
        let each = |(key, value): (Vec<u8>, Option<Vec<u8>>)| match value {
            Some(value) => tree.insert(key, value),
            None => tree.remove(key),
        };
        fail_point::at(Point::EngineWrite, || {
            changes.into_iter().try_for_each(|change| each(change).map(drop))?;
            self.settle()
        })?;
        Ok(())
    }

    fn keep_order(&self) -> Result<(), EngineError> {
        self.flush()
    }

    fn flush(&self) -> Result<(), EngineError> {
        fail_point::at(Point::EngineFlush, || self.tree.flush())?;
        Ok(())
    }
}

impl fmt::Debug for SledEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SledEngine").finish_non_exhaustive()
    }
}
