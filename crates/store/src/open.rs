//! Opening a store: which engine, which files, and what to do when the index is of no use.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::chain_store::{ChainStore, StoreError};
use crate::data_dir::DataDir;
use crate::engine::{
    CoinCache, CoinCacheUsage, DiskEngine, DiskOptions, IndexEngine, MemoryEngine,
};
use crate::fail_point::{self, Point};
use crate::format::BLOCKS;
use crate::index::Index;
use crate::log::{BlockLog, LogError, LogOptions};
use crate::read::IndexError;
use crate::recovery::{self, RebuildReason, Recovery};

/// Where the index lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineKind {
    /// In memory: rebuilt from the block log at every start.
    Memory,
    /// On disk, below the data directory.
    Disk(DiskOptions),
}

impl From<DiskEngine> for EngineKind {
    /// With its default limits.
    fn from(engine: DiskEngine) -> Self {
        Self::Disk(DiskOptions { engine: Some(engine), ..DiskOptions::default() })
    }
}

/// How a store works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// Where the index lives.
    pub engine: EngineKind,
    /// The block log's files.
    pub log: LogOptions,
    /// Bytes of recent changes that may wait above the engine.
    pub layer_bytes_max: usize,
    /// Bytes of unspent outputs of the engine that are kept in memory.
    pub coin_cache_bytes_max: usize,
    /// Keep the hash of the UTXO set; a store that did not so far makes it from the whole set.
    pub keeps_set_hash: bool,
    /// Throw the index away and rebuild it.
    pub reindex: bool,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            engine: EngineKind::Disk(DiskOptions::default()),
            log: LogOptions::default(),
            // Some full blocks: the more go down together, the more coins came and went among
            // them, which the engine then never sees. An idle node needs none of it.
            layer_bytes_max: 18 * 1024 * 1024,
            // Fifty thousand coins: what some full blocks create.
            coin_cache_bytes_max: 8 * 1024 * 1024,
            keeps_set_hash: false,
            reindex: false,
        }
    }
}

impl ChainStore {
    /// Opens the store below `directory`, mends what a crash left and says what it did.
    ///
    /// # Errors
    /// When durable records of the block log are damaged or missing, or on IO errors. A damaged
    /// index is no error: it is rebuilt.
    pub fn open(
        directory: &DataDir,
        options: &StoreOptions,
    ) -> Result<(Self, Recovery), StoreError> {
        let places = Places {
            log: directory.path().join(BLOCKS),
            index: directory.path().join("index"),
            options: *options,
        };
        if options.reindex || directory.wants_reindex() {
            let opened = places.rebuild(RebuildReason::AskedFor)?;
            directory
                .reindexed()
                .map_err(|source| IndexError::Directory { action: "renew", source })?;
            return Ok(opened);
        }
        match places.open_as_it_is() {
            Ok(None) => places.rebuild(RebuildReason::OtherEngine),
            Ok(Some(opened)) => Ok(opened),
            Err(StoreError::Index(error)) => {
                tracing::warn!(%error, "the index cannot be used");
                places.rebuild(RebuildReason::Damaged)
            }
            Err(StoreError::Log(error @ LogError::LostTail { .. })) => {
                tracing::warn!(%error, "the index is ahead of the block log");
                places.rebuild(RebuildReason::AheadOfLog)
            }
            Err(error) => Err(error),
        }
    }
}

struct Places {
    log: PathBuf,
    index: PathBuf,
    options: StoreOptions,
}

impl Places {
    /// `None` when the index that is there is kept by another engine than it should be.
    fn open_as_it_is(&self) -> Result<Option<(ChainStore, Recovery)>, StoreError> {
        if let EngineKind::Disk(disk) = self.options.engine
            && disk.differs(&self.index)?
        {
            return Ok(None);
        }
        self.open().map(Some)
    }

    fn open(&self) -> Result<(ChainStore, Recovery), StoreError> {
        let (engine, coin_cache) = self.engine()?;
        let (mut index, interrupted) = Index::open(engine)?;
        if self.options.keeps_set_hash {
            index.keep_set_hash()?;
        }
        let checked = index.state().log_end;
        let (log, torn) = BlockLog::open(&self.log, self.options.log, checked)?;
        let layer_bytes_max = self.options.layer_bytes_max;
        let mut store = ChainStore::new(log, index, layer_bytes_max, coin_cache);
        let mut recovery = recovery::replay(&mut store, checked, interrupted)?;
        recovery.torn = torn;
        if self.options.keeps_set_hash {
            store.make_set_hash()?;
        }
        Ok((store, recovery))
    }

    fn rebuild(&self, why: RebuildReason) -> Result<(ChainStore, Recovery), StoreError> {
        tracing::warn!(index = %self.index.display(), %why, "rebuilding the index");
        remove_directory(&self.index)?;
        let (store, mut recovery) = self.open()?;
        recovery.rebuilt = Some(why);
        Ok((store, recovery))
    }

    /// The engine, and how much memory the coins above it take.
    fn engine(&self) -> Result<(Arc<dyn IndexEngine>, CoinCacheUsage), IndexError> {
        match self.options.engine {
            EngineKind::Memory => {
                Ok((Arc::new(MemoryEngine::default()), CoinCacheUsage::default()))
            }
            EngineKind::Disk(options) => {
                let engine = options.open(&self.index)?;
                let cache = CoinCache::new(engine, self.options.coin_cache_bytes_max);
                let usage = cache.usage();
                Ok((Arc::new(cache), usage))
            }
        }
    }
}

fn remove_directory(path: &Path) -> Result<(), IndexError> {
    match fail_point::at(Point::IndexRemove, || fs::remove_dir_all(path)) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(IndexError::Directory { action: "remove", source })
        }
        _ => Ok(()),
    }
}
