//! Fee estimate and supply.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use pentad_api::chain::v1 as proto;
use pentad_ledger::Mempool;
use pentad_ledger::fee_estimate::{
    Crowd, Offer, RECENT_BLOCKS, TARGET_BLOCKS_MAX, estimate, is_full, least_taken, offers,
};
use pentad_ledger::mempool::{Entry, FeeRate};
use pentad_primitives::encode::Decode as _;
use pentad_primitives::{Block, BlockHash, BlockHeight};
use pentad_store::{BlockEntry, StoreError, read_block_bytes, read_undo};

use super::capped;
use crate::error::ChainError;
use crate::reader::{BlockRef, Reader, View};

/// An estimate may be of a mempool of which so small a part has changed since: going through it
/// again then costs each change the look at so many transactions, however often somebody asks.
const STALE_PART: usize = 64;
/// Blocks whose rates are remembered: the recent ones, and as many of a branch beside them.
const BLOCKS_KNOWN_MAX: usize = 2 * RECENT_BLOCKS as usize;

/// What estimates are made of, so that each costs little however large mempool and blocks are.
#[derive(Debug, Default)]
pub(crate) struct FeeWitnesses {
    /// The mempool's counter of changes, and what stood in front then.
    crowd: Mutex<Option<(u64, Arc<Crowd>)>>,
    /// The least rates that blocks took; none of a block with room to spare.
    blocks: Mutex<VecDeque<(BlockHash, Option<FeeRate>)>>,
}

impl FeeWitnesses {
    /// What stands in front in a mempool of so many transactions after so many changes.
    fn crowd(&self, changes: u64, waiting: usize, count: impl FnOnce() -> Crowd) -> Arc<Crowd> {
        let mut known = self.crowd.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, crowd)) = &*known
            && changes.saturating_sub(*at) <= (waiting / STALE_PART) as u64
        {
            return Arc::clone(crowd);
        }
        let crowd = Arc::new(count());
        *known = Some((changes, Arc::clone(&crowd)));
        crowd
    }

    /// The least rate that a block took.
    fn taken(
        &self,
        hash: BlockHash,
        read: impl FnOnce() -> Result<Option<FeeRate>, ChainError>,
    ) -> Result<Option<FeeRate>, ChainError> {
        let lock = || self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, rate)) = lock().iter().find(|(known, _)| *known == hash) {
            return Ok(*rate);
        }
        let rate = read()?;
        let mut blocks = lock();
        blocks.truncate(BLOCKS_KNOWN_MAX - 1);
        blocks.push_front((hash, rate));
        Ok(rate)
    }
}

/// The rate to offer so as to be in one of the next blocks.
pub(super) async fn fee(
    reader: &Reader,
    witnesses: &Arc<FeeWitnesses>,
    request: proto::EstimateFeeRequest,
) -> Result<proto::EstimateFeeResponse, ChainError> {
    let target = capped("target_blocks", request.target_blocks, 1, TARGET_BLOCKS_MAX)?;
    let target = u32::try_from(target).unwrap_or(TARGET_BLOCKS_MAX);
    let (published, asked) = (Arc::clone(reader.published()), Arc::clone(witnesses));
    let gather = move |mempool: &Mempool| {
        let block_bytes_max = published.spec.limits().block_bytes as usize;
        let count = || Crowd::of(best_waiting(mempool), block_bytes_max);
        let crowd = asked.crowd(published.mempool_changes(), mempool.len(), count);
        (crowd, mempool.policy().min_fee_rate)
    };
    let witnesses = Arc::clone(witnesses);
    let read = move |view: View<'_>, (crowd, floor): (Arc<Crowd>, FeeRate)| {
        let (taken, not_full) = recent_blocks(&view, &witnesses)?;
        let rate = estimate(target, &crowd, &taken, not_full, floor);
        Ok(proto::EstimateFeeResponse { fee_rate: rate.0, min_fee_rate: floor.0 })
    };
    reader.read_with(gather, read).await
}

fn best_waiting(mempool: &Mempool) -> impl Iterator<Item = Offer> {
    let offer = |entry: &Entry| Offer { fee: entry.fee().units(), bytes: entry.bytes() };
    mempool.by_mining_score().map(offer)
}

/// The least rates of the recent blocks that were full, and how many were not.
fn recent_blocks(
    view: &View<'_>,
    witnesses: &FeeWitnesses,
) -> Result<(Vec<FeeRate>, usize), ChainError> {
    let mut taken = Vec::new();
    let mut not_full = 0;
    let tip = view.tip.height.get();
    for height in (1..=tip).rev().take(RECENT_BLOCKS as usize) {
        let (hash, entry) = view.block(BlockRef::Height(BlockHeight::new(height)))?;
        match witnesses.taken(hash, || least_rate(view, &entry))? {
            Some(rate) => taken.push(rate),
            None => not_full += 1,
        }
    }
    Ok((taken, not_full))
}

/// The least rate that a block took, if it was full.
fn least_rate(view: &View<'_>, entry: &BlockEntry) -> Result<Option<FeeRate>, ChainError> {
    let block_bytes_max = view.published.spec.limits().block_bytes as usize;
    let bytes = read_block_bytes(&view.published.log, entry.body)?;
    let Some(undo) = entry.undo.filter(|_| is_full(bytes.len(), block_bytes_max)) else {
        return Ok(None);
    };
    let block = Block::from_bytes(&bytes)
        .map_err(|error| StoreError::Record { position: entry.body, problem: error.to_string() })?;
    Ok(Some(least_taken(offers(&block, &read_undo(&view.published.log, undo)?))))
}

/// Coins issued at the tip.
pub(super) fn supply(reader: &Reader) -> proto::GetSupplyResponse {
    let published = reader.published();
    let tip = published.tip();
    let next = tip.height.next().map_or(0, |height| published.spec.subsidy(height).units());
    proto::GetSupplyResponse {
        issued: published.spec.issued(tip.height).units(),
        next_subsidy: next,
        height: tip.height.get(),
        tip: tip.hash.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn mempool_is_gone_through_again_once_a_64th_of_it_has_changed() {
        let witnesses = FeeWitnesses::default();
        let counted = Cell::new(0);
        let ask = |changes, waiting| {
            witnesses.crowd(changes, waiting, || {
                counted.set(counted.get() + 1);
                Crowd::default()
            });
            counted.get()
        };
        assert_eq!([ask(5, 640), ask(5, 640), ask(15, 640), ask(16, 640)], [1, 1, 1, 2]);
        // Of a small one, every change counts.
        assert_eq!([ask(16, 63), ask(17, 63), ask(17, 63)], [2, 3, 3]);
    }

    #[test]
    fn block_is_read_once_and_few_are_remembered() {
        let witnesses = FeeWitnesses::default();
        let read = Cell::new(0);
        let hash = |number: u8| BlockHash::from_bytes([number; 32]);
        let ask = |number: u8| {
            let rate = witnesses.taken(hash(number), || {
                read.set(read.get() + 1);
                Ok((number > 0).then_some(FeeRate(u64::from(number))))
            });
            rate.expect("no error")
        };
        for _ in 0..2 {
            assert_eq!([ask(0), ask(7)], [None, Some(FeeRate(7))]);
        }
        assert_eq!(read.get(), 2);
        for number in 0..100 {
            ask(number);
        }
        let known = witnesses.blocks.lock().expect("no panic").len();
        assert_eq!(known, BLOCKS_KNOWN_MAX);
        // Nothing is remembered of a block that could not be read.
        let failed = witnesses.taken(hash(200), || Err(ChainError::Broken));
        assert!(failed.is_err());
        assert_eq!(ask(200), Some(FeeRate(200)));
    }
}
