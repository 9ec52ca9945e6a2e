//! The hash of the UTXO set (MuHash3072), kept beside the index.
//!
//! The engine holds the hash of the set that it holds, written with the state at the end of a
//! descent. What lies above it is multiplied in when somebody asks, or when it goes down, whichever
//! comes first: that is noted, so no change is counted twice, and a coin that came and went between
//! two such notes costs nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pentad_crypto::MuHash;
use pentad_primitives::{OutPoint, Utxo};

use crate::engine::IndexEngine;
use crate::layer::{Layer, Net, net_coins};
use crate::read::IndexError;
use crate::rows::{MalformedRow, Row, Rows, Table, outpoint_of_key, utxo_from_bytes};

/// Rows read at once.
const PAGE_LEN: usize = 1_024;

/// What is known of the set's hash, by the generation of the newest layer that it covers. A fact
/// stays true whatever the engine does meanwhile; without one, no hash is kept.
#[derive(Debug, Default)]
pub(crate) struct SetHashes {
    /// One for the engine, and one for each time that somebody asked about a layer above it.
    known: Mutex<BTreeMap<u64, MuHash>>,
}

impl SetHashes {
    fn known(&self) -> MutexGuard<'_, BTreeMap<u64, MuHash>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a hash is kept.
    pub(crate) fn is_kept(&self) -> bool {
        !self.known().is_empty()
    }

    pub(crate) fn note(&self, generation: u64, hash: MuHash) {
        self.known().insert(generation, hash);
    }

    /// The layers up to this generation are in the engine: nobody asks about less any more.
    pub(crate) fn forget_below(&self, generation: u64) {
        let mut known = self.known();
        *known = known.split_off(&generation);
    }

    /// The hash with all of these layers, of which the newest is of this generation; `None` if no
    /// hash is kept, or if some of the layers have gone down since.
    pub(crate) fn with(
        &self,
        generation: u64,
        layers: &[Arc<Layer>],
    ) -> Result<Option<MuHash>, MalformedRow> {
        let newest =
            self.known().range(..=generation).next_back().map(|(at, it)| (*at, it.clone()));
        let Some((at, mut hash)) = newest else {
            return Ok(None);
        };
        let count = usize::try_from(generation - at).unwrap_or(usize::MAX);
        let Some(from) = layers.len().checked_sub(count) else {
            return Ok(None);
        };
        for Net { key, before, after } in net_coins(layers[from..].iter().map(AsRef::as_ref)) {
            before.map_or(Ok(()), |value| remove(&mut hash, key, value))?;
            after.map_or(Ok(()), |value| insert(&mut hash, key, value))?;
        }
        self.note(generation, hash.clone());
        Ok(Some(hash))
    }
}

/// The hash of the set that an engine holds, from all of its coins.
pub(crate) fn of_engine(engine: &dyn IndexEngine) -> Result<MuHash, IndexError> {
    let mut hash = MuHash::default();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = engine.page(&[Table::Utxo as u8], after.as_deref(), PAGE_LEN)?;
        for (key, value) in &page {
            insert(&mut hash, key, value)?;
        }
        match page.into_iter().last() {
            Some((last, _)) => after = Some(last),
            None => return Ok(hash),
        }
    }
}

/// Adds the row of a coin to the hash of a set.
///
/// # Errors
/// When it is none.
pub fn insert(hash: &mut MuHash, key: &[u8], value: &[u8]) -> Result<(), MalformedRow> {
    let (outpoint, utxo) = coin(key, value)?;
    hash.insert_utxo(&outpoint, &utxo);
    Ok(())
}

/// Takes the row of a coin out of the hash of a set.
///
/// # Errors
/// When it is none.
pub fn remove(hash: &mut MuHash, key: &[u8], value: &[u8]) -> Result<(), MalformedRow> {
    let (outpoint, utxo) = coin(key, value)?;
    hash.remove_utxo(&outpoint, &utxo);
    Ok(())
}

fn coin(key: &[u8], value: &[u8]) -> Result<(OutPoint, Utxo), MalformedRow> {
    let coin = outpoint_of_key(key).zip(utxo_from_bytes(value));
    coin.ok_or(MalformedRow(Table::Utxo))
}

/// Moves the hash of a set over a block, whose rows these are: forwards to the set after it, or
/// back to the set before it.
///
/// # Errors
/// None for a block's own rows.
pub fn step(hash: &mut MuHash, rows: &Rows, is_forwards: bool) -> Result<(), MalformedRow> {
    let coins = rows.iter().filter(|row| row.key().first() == Some(&(Table::Utxo as u8)));
    for row in coins {
        match (row, is_forwards) {
            (Row::Added(key, value), true) | (Row::Removed(key, value), false) => {
                insert(hash, key, value)?;
            }
            (Row::Added(key, value), false) | (Row::Removed(key, value), true) => {
                remove(hash, key, value)?;
            }
        }
    }
    Ok(())
}
