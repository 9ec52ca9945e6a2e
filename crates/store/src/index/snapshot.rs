use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use pentad_crypto::MuHash;

use super::IndexState;
use crate::engine::{IndexEngine, Pair};
use crate::layer::{HashedKey, Layer};
use crate::read::{IndexError, IndexRead};
use crate::set_hash::SetHashes;

/// The index as it was when a layer was sealed. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(super) engine: Arc<dyn IndexEngine>,
    /// Oldest first.
    pub(super) layers: Arc<[Arc<Layer>]>,
    pub(super) generation: u64,
    pub(super) floor: Arc<Floor>,
    pub(super) set_hashes: Arc<SetHashes>,
    /// The state it shows.
    pub state: IndexState,
}

/// What snapshots need to know about layers that went down.
#[derive(Debug, Default)]
pub(super) struct Floor {
    /// Generation of the newest layer that is in the engine or on its way there.
    pub(super) generation: AtomicU64,
    /// Held for writing while layers go down.
    pub(super) gate: RwLock<()>,
}

impl IndexRead for Snapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        get(self.layers.iter().map(AsRef::as_ref), &*self.engine, key)
    }

    fn page(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, IndexError> {
        page(|| self.layers.iter().map(AsRef::as_ref), &*self.engine, prefix, after, limit)
    }
}

impl Snapshot {
    /// Whether everything read from this snapshot so far belongs together. Once false it stays
    /// false: read again from a newer one.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.floor.generation.load(Ordering::SeqCst) <= self.generation
    }

    /// Whether the hash of the UTXO set is kept.
    #[must_use]
    pub fn keeps_set_hash(&self) -> bool {
        self.set_hashes.is_kept()
    }

    /// The hash of the UTXO set, if it is kept and the snapshot [is intact](Self::is_intact). Costs
    /// as much as what changed since somebody asked or layers went down, some 3 µs a coin.
    ///
    /// # Errors
    /// When a row is damaged.
    pub fn set_hash(&self) -> Result<Option<MuHash>, IndexError> {
        Ok(self.set_hashes.with(self.generation, &self.layers)?)
    }

    /// Keeps layers from going down while the guard lives, which stops the writer before long:
    /// for a read that lost its snapshot several times in a row.
    #[must_use]
    pub fn pin(&self) -> Pin<'_> {
        Pin { _gate: self.floor.gate.read().unwrap_or_else(PoisonError::into_inner) }
    }
}

/// Holds the layers where they are; see [`Snapshot::pin`].
#[derive(Debug)]
pub struct Pin<'a> {
    _gate: RwLockReadGuard<'a, ()>,
}

/// The newest value of a key; layers are oldest first.
pub(super) fn get<'a>(
    layers: impl DoubleEndedIterator<Item = &'a Layer>,
    engine: &dyn IndexEngine,
    key: &[u8],
) -> Result<Option<Vec<u8>>, IndexError> {
    let hashed = HashedKey::new(key);
    match layers.rev().find_map(|layer| layer.get(hashed)) {
        Some(changed) => Ok(changed.map(<[u8]>::to_vec)),
        None => Ok(engine.get(key)?),
    }
}

/// A page of the engine with the changes of the layers, oldest first.
pub(super) fn page<'a, I: Iterator<Item = &'a Layer>>(
    layers: impl Fn() -> I,
    engine: &dyn IndexEngine,
    prefix: &[u8],
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Vec<Pair>, IndexError> {
    let mut pairs = Vec::new();
    let mut after = after.map(<[u8]>::to_vec);
    while pairs.len() < limit {
        let below = engine.page(prefix, after.as_deref(), limit)?;
        // A full page says nothing about keys behind its last one.
        let last = (below.len() == limit).then(|| below.last().map(|pair| pair.0.clone()));
        let last = last.flatten();
        let mut merged: BTreeMap<Vec<u8>, Option<Vec<u8>>> =
            below.into_iter().map(|(key, value)| (key, Some(value))).collect();
        for layer in layers() {
            for changed in layer.range(prefix, after.as_deref(), last.as_deref()) {
                merged.insert(changed.key.to_vec(), changed.value.map(<[u8]>::to_vec));
            }
        }
        pairs.extend(merged.into_iter().filter_map(|(key, value)| Some((key, value?))));
        if last.is_none() {
            break;
        }
        after = last;
    }
    pairs.truncate(limit);
    Ok(pairs)
}
