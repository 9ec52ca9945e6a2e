use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Batch, EngineError, IndexEngine, Pair};
use crate::rows::Table;

/// Parts with a lock each, so that readers seldom meet.
const SHARDS: usize = 16;
/// Bytes of a coin beside its value: key, pointer and length, its share of a table that is
/// between half and nine tenths full, what the allocator rounds up.
const COIN_OVERHEAD_BYTES: usize = 112;

/// Key of an unspent output, behind the table's byte.
type CoinKey = [u8; 36];

/// Unspent outputs kept in memory above an engine: those written or read last, within a budget of
/// bytes.
///
/// It holds what the engine holds, never anything newer: changes that the engine does not have yet
/// are in the layers above both. A coin is looked up and kept under one lock, and a change is
/// written to the engine before it is noted here, so no read can leave an older value behind.
#[derive(Debug)]
pub struct CoinCache {
    engine: Arc<dyn IndexEngine>,
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
    shard_bytes_max: usize,
    usage: CoinCacheUsage,
}

/// How much memory a [`CoinCache`] takes. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct CoinCacheUsage {
    bytes: Arc<AtomicUsize>,
    hits: Arc<AtomicU64>,
    misses: Arc<AtomicU64>,
}

/// Reads that came to a [`CoinCache`] since the start; those that the layers above it answer do
/// not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CoinReads {
    /// It had the coin.
    pub hits: u64,
    /// The engine was asked.
    pub misses: u64,
}

impl CoinCacheUsage {
    /// Bytes that it holds in memory, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Reads so far.
    #[must_use]
    pub fn reads(&self) -> CoinReads {
        let [hits, misses] = [&self.hits, &self.misses].map(|count| count.load(Ordering::Relaxed));
        CoinReads { hits, misses }
    }
}

/// Two generations: once the young one has half of the room, it becomes the old one, and what was
/// old and not asked for meanwhile goes.
#[derive(Debug, Default)]
struct Shard {
    young: Generation,
    old: Generation,
}

#[derive(Debug, Default)]
struct Generation {
    coins: HashMap<CoinKey, Box<[u8]>>,
    bytes: usize,
}

impl Generation {
    fn take(&mut self, key: &CoinKey) -> Option<Box<[u8]>> {
        let value = self.coins.remove(key)?;
        self.bytes -= value.len() + COIN_OVERHEAD_BYTES;
        Some(value)
    }
}

impl Shard {
    fn bytes(&self) -> usize {
        self.young.bytes + self.old.bytes
    }

    fn get(&mut self, key: &CoinKey, bytes_max: usize) -> Option<Vec<u8>> {
        if let Some(value) = self.young.coins.get(key) {
            return Some(value.to_vec());
        }
        let value = self.old.take(key)?;
        let found = value.to_vec();
        self.keep(*key, value, bytes_max);
        Some(found)
    }

    fn keep(&mut self, key: CoinKey, value: Box<[u8]>, bytes_max: usize) {
        self.remove(&key);
        let bytes = value.len() + COIN_OVERHEAD_BYTES;
        if self.young.bytes + bytes > bytes_max / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        if bytes <= bytes_max / 2 {
            self.young.bytes += bytes;
            self.young.coins.insert(key, value);
        }
    }

    fn remove(&mut self, key: &CoinKey) {
        if self.young.take(key).is_none() {
            self.old.take(key);
        }
    }
}

impl CoinCache {
    /// Above `engine`, in about `bytes_max` bytes of memory.
    #[must_use]
    pub fn new(engine: Arc<dyn IndexEngine>, bytes_max: usize) -> Self {
        Self {
            engine,
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            shard_bytes_max: bytes_max / SHARDS,
            usage: CoinCacheUsage::default(),
        }
    }

    /// How much memory it takes, from now on.
    #[must_use]
    pub fn usage(&self) -> CoinCacheUsage {
        self.usage.clone()
    }

    fn shard(&self, key: &CoinKey) -> MutexGuard<'_, Shard> {
        let [low, ..] = self.hasher.hash_one(key).to_le_bytes();
        self.shards[usize::from(low) % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with a shard and accounts for what it holds then.
    fn with_shard<T>(
        &self,
        key: &CoinKey,
        work: impl FnOnce(&mut Shard) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let mut shard = self.shard(key);
        let before = shard.bytes();
        let outcome = work(&mut shard);
        self.usage.bytes.fetch_add(shard.bytes(), Ordering::Relaxed);
        self.usage.bytes.fetch_sub(before, Ordering::Relaxed);
        outcome
    }

    /// Has the engine write changes, then notes those of coins.
    fn noted(
        &self,
        changes: Batch,
        write: impl FnOnce(Batch) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let coins: Vec<(CoinKey, Option<Box<[u8]>>)> = changes
            .iter()
            .filter_map(|(key, value)| Some((coin_key(key)?, value.as_deref().map(Into::into))))
            .collect();
        write(changes)?;
        for (key, value) in coins {
            self.with_shard(&key, |shard| {
                match value {
                    Some(value) => shard.keep(key, value, self.shard_bytes_max),
                    None => shard.remove(&key),
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}

/// The key of a coin; `None` for a row of another table.
fn coin_key(key: &[u8]) -> Option<CoinKey> {
    match key.split_first()? {
        (table, rest) if *table == Table::Utxo as u8 => rest.try_into().ok(),
        _ => None,
    }
}

impl IndexEngine for CoinCache {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        let Some(coin) = coin_key(key) else {
            return self.engine.get(key);
        };
        self.with_shard(&coin, |shard| {
            if let Some(found) = shard.get(&coin, self.shard_bytes_max) {
                self.usage.hits.fetch_add(1, Ordering::Relaxed);
                return Ok(Some(found));
            }
            self.usage.misses.fetch_add(1, Ordering::Relaxed);
            let found = self.engine.get(key)?;
            if let Some(value) = &found {
                shard.keep(coin, value.as_slice().into(), self.shard_bytes_max);
            }
            Ok(found)
        })
    }

    fn page(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, EngineError> {
        self.engine.page(prefix, after, limit)
    }

    fn write(&self, batch: Batch) -> Result<(), EngineError> {
        self.noted(batch, |batch| self.engine.write(batch))
    }

    fn fill(&self, changes: Batch) -> Result<(), EngineError> {
        self.noted(changes, |changes| self.engine.fill(changes))
    }

    fn keep_order(&self) -> Result<(), EngineError> {
        self.engine.keep_order()
    }

    fn flush(&self) -> Result<(), EngineError> {
        self.engine.flush()
    }
}
