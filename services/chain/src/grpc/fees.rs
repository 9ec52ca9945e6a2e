//! Fee estimate and supply.

use pentad_api::chain::v1 as proto;
use pentad_ledger::Mempool;
use pentad_ledger::fee_estimate::{
    Offer, RECENT_BLOCKS, TARGET_BLOCKS_MAX, estimate, is_full, offers,
};
use pentad_primitives::encode::Decode as _;
use pentad_primitives::{Block, BlockHeight};
use pentad_store::{StoreError, read_block_bytes, read_undo};

use super::capped;
use crate::error::ChainError;
use crate::reader::{BlockRef, Reader, View};

/// The rate to offer so as to be in one of the next blocks.
pub(super) async fn fee(
    reader: &Reader,
    request: proto::EstimateFeeRequest,
) -> Result<proto::EstimateFeeResponse, ChainError> {
    let target = capped("target_blocks", request.target_blocks, 1, TARGET_BLOCKS_MAX)?;
    let target = u32::try_from(target).unwrap_or(TARGET_BLOCKS_MAX);
    let block_bytes_max = reader.published().spec.limits().block_bytes as usize;
    let (_, (waiting, floor)) = reader.published().with_mempool(|mempool| {
        let room = block_bytes_max.saturating_mul(target as usize);
        (best_waiting(mempool, room), mempool.policy().min_fee_rate)
    });
    let (full, not_full) = reader.read(|view| recent_blocks(&view)).await?;
    let rate = estimate(target, waiting, &full, not_full, block_bytes_max, floor);
    Ok(proto::EstimateFeeResponse { fee_rate: rate.0, min_fee_rate: floor.0 })
}

/// The best of the mempool, as many as find room and one more.
fn best_waiting(mempool: &Mempool, room: usize) -> Vec<Offer> {
    if mempool.total_bytes() <= room {
        return Vec::new();
    }
    let mut waiting = Vec::new();
    let mut bytes = 0_usize;
    for entry in mempool.by_mining_score() {
        waiting.push(Offer { fee: entry.fee().units(), bytes: entry.bytes() });
        bytes = bytes.saturating_add(entry.bytes());
        if bytes > room {
            break;
        }
    }
    waiting
}

/// What the recent blocks that were full took, and how many were not.
fn recent_blocks(view: &View<'_>) -> Result<(Vec<Vec<Offer>>, usize), ChainError> {
    let block_bytes_max = view.published.spec.limits().block_bytes as usize;
    let mut full = Vec::new();
    let mut not_full = 0;
    let tip = view.tip.height.get();
    for height in (1..=tip).rev().take(RECENT_BLOCKS as usize) {
        let (_, entry) = view.block(BlockRef::Height(BlockHeight::new(height)))?;
        let bytes = read_block_bytes(&view.published.log, entry.body)?;
        let undo = entry.undo.filter(|_| is_full(bytes.len(), block_bytes_max));
        let Some(undo) = undo else {
            not_full += 1;
            continue;
        };
        let block = Block::from_bytes(&bytes).map_err(|error| StoreError::Record {
            position: entry.body,
            problem: error.to_string(),
        })?;
        full.push(offers(&block, &read_undo(&view.published.log, undo)?));
    }
    Ok((full, not_full))
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
