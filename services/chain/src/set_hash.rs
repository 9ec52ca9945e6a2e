//! The hash of the UTXO set: as it is kept, at the tip and on the way there, or made from all.

use std::sync::Arc;

use pentad_crypto::MuHash;
use pentad_primitives::{BlockHash, BlockHeight, Hash256};
use pentad_store::{MalformedRow, StoreError, Table, insert_coin, step_set_hash};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::spawn_blocking;

use crate::error::ChainError;
use crate::reader::{BlockRef, Reader, View};
use crate::scan::{Scan, Way, rows_of};

/// Blocks that are taken back at most: no two checkpoints are further apart.
const BLOCKS_BACK_MAX: u32 = 1_024;

/// A block and the hash of the set after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SetHash {
    pub(crate) block: BlockHash,
    pub(crate) height: BlockHeight,
    pub(crate) hash: Hash256,
}

/// The kept hash of the set after a block from which a way leads to the tip; `None` where no hash
/// is kept.
///
/// # Errors
/// When the store fails.
pub(crate) fn kept_after(view: &View<'_>, block: &BlockHash) -> Result<Option<MuHash>, ChainError> {
    let Some(mut hash) = view.tip.snapshot.set_hash()? else {
        return Ok(None);
    };
    let Way { undone, applied } = Way::to_tip(view, block)?;
    let moves = applied.iter().map(|entry| (entry, false));
    for (entry, is_forwards) in moves.chain(undone.iter().rev().map(|entry| (entry, true))) {
        step_set_hash(&mut hash, &rows_of(view, entry)?, is_forwards).map_err(malformed)?;
    }
    Ok(Some(hash))
}

/// The kept hash of the set after the main chain's block at a height.
///
/// # Errors
/// When there is no such block, it is far below the tip, or no hash is kept.
pub(crate) async fn kept_at(reader: &Reader, height: BlockHeight) -> Result<SetHash, ChainError> {
    let read = reader.read(move |view| {
        let (block, _) = view.block(BlockRef::Height(height))?;
        if view.depth(height) > BLOCKS_BACK_MAX {
            return Err(ChainError::TooDeep { height, max: BLOCKS_BACK_MAX });
        }
        let hash = kept_after(&view, &block)?.ok_or(ChainError::NoSetHash)?;
        Ok(SetHash { block, height, hash: hash.hash() })
    });
    read.await
}

/// Makes the hash from the whole set where none is kept, for one caller at a time.
#[derive(Clone, Debug)]
pub(crate) struct Scanner {
    place: Arc<Semaphore>,
}

impl Default for Scanner {
    fn default() -> Self {
        Self { place: Arc::new(Semaphore::new(1)) }
    }
}

impl Scanner {
    /// The hash of the set at the tip.
    ///
    /// # Errors
    /// When the store fails, and when too much has changed meanwhile.
    pub(crate) async fn at_tip(&self, reader: &Reader) -> Result<SetHash, ChainError> {
        let kept = reader.read(|view| {
            let (block, height) = (view.tip.hash, view.tip.height);
            let hash = view.tip.snapshot.set_hash()?;
            Ok(hash.map(|hash| SetHash { block, height, hash: hash.hash() }))
        });
        if let Some(kept) = kept.await? {
            return Ok(kept);
        }
        let place = Arc::clone(&self.place).acquire_owned().await;
        let place = place.expect("the semaphore is never closed");
        let (reader, (answer, answered)) = (reader.clone(), oneshot::channel());
        spawn_blocking(move || {
            let _place = place;
            let outcome = scan(&reader, || !answer.is_closed());
            // Nobody listens if the caller went.
            drop(answer.send(outcome));
        });
        answered.await.unwrap_or(Err(ChainError::Broken))
    }
}

fn scan(reader: &Reader, is_wanted: impl Fn() -> bool) -> Result<SetHash, ChainError> {
    let tip = reader.published().tip();
    let mut hash = MuHash::default();
    let mut scan = Scan::new(tip.hash, &[Table::Utxo as u8]);
    while let Some(rows) = scan.next(reader)? {
        for (key, value) in &rows {
            insert_coin(&mut hash, key, value).map_err(malformed)?;
        }
        if !is_wanted() {
            return Err(ChainError::Stopped);
        }
    }
    Ok(SetHash { block: tip.hash, height: tip.height, hash: hash.hash() })
}

fn malformed(row: MalformedRow) -> ChainError {
    StoreError::Index(row.into()).into()
}
