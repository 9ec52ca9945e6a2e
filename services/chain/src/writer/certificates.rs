//! The certificates of stored blocks: at a start they are as little trusted as a peer's.

use std::thread;

use pentad_primitives::BlockHash;
use pentad_store::log::LogReader;
use pentad_store::{BlockEntry, ChainStore, StoreError, read_certificate};

use crate::cores::cores;
use crate::finality::Finality;

/// Which stored blocks have their certificates checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// The tip, whose certificate proves all blocks below it, and what is not connected yet.
    Tip,
    /// All blocks: the index was rebuilt from the log.
    All,
}

/// Checks that stored blocks have the certificates that make them final. Under proof of work
/// there is nothing to check.
pub(super) fn check_stored(
    store: &ChainStore,
    entries: &[(BlockHash, BlockEntry)],
    finality: &Finality,
    extent: Extent,
) -> Result<(), StoreError> {
    let tip = store.tip().expect("genesis is connected").height;
    let is_meant = |entry: &BlockEntry| match extent {
        Extent::Tip => entry.height >= tip,
        Extent::All => true,
    };
    if !finality.is_instant() {
        return Ok(());
    }
    let above_genesis = entries.iter().filter(|(_, entry)| entry.height.get() > 0);
    let meant: Vec<_> = above_genesis.filter(|(_, entry)| is_meant(entry)).collect();
    let share = meant.len().div_ceil(cores()).max(1);
    let log = store.log_reader();
    thread::scope(|scope| {
        let checks: Vec<_> = meant
            .chunks(share)
            .map(|share| scope.spawn(|| share.iter().try_for_each(|it| check(&log, it, finality))))
            .collect();
        checks.into_iter().try_for_each(|check| {
            check.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })
}

fn check(
    log: &LogReader,
    (hash, entry): &(BlockHash, BlockEntry),
    finality: &Finality,
) -> Result<(), StoreError> {
    let certificate = read_certificate(log, entry)?.unwrap_or_default().into();
    let sound = finality.check(&certificate, hash).and_then(|certified| {
        certified.map_or(Ok(()), |certified| certified.check_height(entry.height))
    });
    sound.map_err(|refusal| StoreError::Record {
        position: entry.certificate.unwrap_or(entry.body),
        problem: format!("block {hash}: {}", refusal.message),
    })
}
