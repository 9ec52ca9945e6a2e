//! The certificates of stored blocks: at a start they are as little trusted as a peer's.

use std::thread;

use pentad_primitives::{BlockHash, BlockHeight};
use pentad_store::log::LogReader;
use pentad_store::{BlockEntry, ChainStore, StoreError, read_certificate};

use crate::cores::cores;
use crate::finality::Finality;

/// Which stored blocks have their certificates checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// The last final block, whose certificate proves all below it, and what stands above.
    Last,
    /// All blocks: the index was rebuilt from the log.
    All,
}

/// Checks that stored blocks have the certificates that make them final. Under proof of work
/// there is nothing to check, and where validators make blocks of work final only those blocks
/// have certificates.
pub(super) fn check_stored(
    store: &ChainStore,
    entries: &[(BlockHash, BlockEntry)],
    finality: &Finality,
    extent: Extent,
) -> Result<(), StoreError> {
    if finality.membership().is_none() {
        return Ok(());
    }
    let needs_one = |entry: &BlockEntry| match finality.is_instant() {
        true => entry.height > BlockHeight::GENESIS,
        false => entry.has_certificate(),
    };
    let tip = store.tip().expect("genesis is connected").height;
    let certified = entries.iter().filter(|(_, it)| needs_one(it) && it.height <= tip);
    let first = match extent {
        Extent::All => None,
        Extent::Last => certified.map(|(_, entry)| entry.height).max(),
    };
    let is_meant = |entry: &BlockEntry| needs_one(entry) && Some(entry.height) >= first;
    let meant: Vec<_> = entries.iter().filter(|(_, entry)| is_meant(entry)).collect();
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
