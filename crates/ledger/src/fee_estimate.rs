//! What a payment should offer to be in one of the next blocks.
//!
//! Two witnesses, the more demanding one counts: the mempool, where a payment must stand in front
//! of what fills the blocks until then; and recent blocks that were full, whose miners left out
//! what paid less than they took. Where there is room, the least rate that is relayed is enough.

use pentad_primitives::encode::Encode as _;
use pentad_primitives::{Block, Utxo};

use crate::mempool::FeeRate;

/// Blocks to wait for at most that an estimate tells apart from patience.
pub const TARGET_BLOCKS_MAX: u32 = 100;
/// Recent blocks worth looking at.
pub const RECENT_BLOCKS: u32 = 6;
/// A block with more than this part of the limit, in percent, had no room to spare.
const FULL_PERCENT: usize = 90;
/// The cheapest part of a block, in percent of its bytes, that counts as luck: parents that were
/// paid for by their children, payments of the miner's own.
const LUCK_PERCENT: usize = 10;

/// Fee and size of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Units of 10⁻⁸ coins.
    pub fee: u64,
    /// Encoded bytes.
    pub bytes: usize,
}

impl Offer {
    /// The fee over the size, rounded up.
    #[must_use]
    pub fn rate(self) -> FeeRate {
        let bytes = u64::try_from(self.bytes).unwrap_or(u64::MAX).max(1);
        FeeRate(self.fee.saturating_mul(1_000).div_ceil(bytes))
    }
}

/// Whether a block of so many bytes had no room to spare: only then do its fees say anything.
#[must_use]
pub fn is_full(block_bytes: usize, block_bytes_max: usize) -> bool {
    block_bytes.saturating_mul(100) >= block_bytes_max.saturating_mul(FULL_PERCENT)
}

/// What the transactions of a block offered, the coinbase apart; `spent` are the outputs that
/// its inputs spend, in block order.
#[must_use]
pub fn offers(block: &Block, spent: &[Utxo]) -> Vec<Offer> {
    let mut spent = spent.iter().map(|utxo| utxo.output.amount.units());
    let payments = block.transactions.iter().filter(|transaction| !transaction.is_coinbase());
    let offer = payments.map(|transaction| {
        let inputs = spent.by_ref().take(transaction.inputs.len()).fold(0, u64::saturating_add);
        let amounts = transaction.outputs.iter().map(|output| output.amount.units());
        let outputs = amounts.fold(0, u64::saturating_add);
        Offer { fee: inputs.saturating_sub(outputs), bytes: transaction.encoded_len() }
    });
    offer.collect()
}

/// The rate to offer so as to be in one of the next `target` blocks.
///
/// `waiting` are the transactions of the mempool, best to mine first; `full` what each recent
/// block that was [full](is_full) took, `not_full` how many recent blocks were not.
#[must_use]
pub fn estimate(
    target: u32,
    waiting: impl IntoIterator<Item = Offer>,
    full: &[Vec<Offer>],
    not_full: usize,
    block_bytes_max: usize,
    floor: FeeRate,
) -> FeeRate {
    let blocks = usize::try_from(target.clamp(1, TARGET_BLOCKS_MAX)).unwrap_or(1);
    let room = block_bytes_max.saturating_mul(blocks);
    let by_mempool = crowded_out(waiting, room, floor);
    // The longer one can wait, the more of the recent blocks must have refused a lower rate.
    let mut least: Vec<_> = full.iter().map(|offers| least_taken(offers, floor)).collect();
    least.extend(std::iter::repeat_n(floor, not_full));
    least.sort_unstable();
    let last = least.len().saturating_sub(1);
    let place = if blocks == 1 {
        last.saturating_add(1) / 2
    } else {
        last.checked_div(blocks).unwrap_or(0)
    };
    let by_blocks = least.get(place).copied().unwrap_or(floor);
    floor.max(by_mempool).max(by_blocks)
}

/// The rate of the first transaction that finds no room, and a unit more.
fn crowded_out(waiting: impl IntoIterator<Item = Offer>, room: usize, floor: FeeRate) -> FeeRate {
    let mut left = room;
    for offer in waiting {
        match left.checked_sub(offer.bytes) {
            Some(rest) => left = rest,
            None => return FeeRate(offer.rate().0.saturating_add(1)),
        }
    }
    floor
}

/// The least rate that a full block took, luck apart.
fn least_taken(offers: &[Offer], floor: FeeRate) -> FeeRate {
    let mut offers = offers.to_vec();
    offers.sort_unstable_by_key(|offer| offer.rate());
    let bytes = offers.iter().map(|offer| offer.bytes).fold(0, usize::saturating_add);
    let mut luck = bytes.saturating_mul(LUCK_PERCENT) / 100;
    for offer in offers {
        match luck.checked_sub(offer.bytes) {
            Some(rest) => luck = rest,
            None => return offer.rate(),
        }
    }
    floor
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOOR: FeeRate = FeeRate(1_000);
    const MAX: usize = 10_000;

    fn offers(rates: &[u64]) -> Vec<Offer> {
        rates.iter().map(|rate| Offer { fee: *rate, bytes: 1_000 }).collect()
    }

    #[test]
    fn room_for_all_asks_for_the_least_rate() {
        assert_eq!(estimate(1, [], &[], 0, MAX, FLOOR), FLOOR);
        assert_eq!(estimate(1, offers(&[9_000; 10]), &[], 6, MAX, FLOOR), FLOOR);
        assert_eq!(estimate(1, [], &[], 0, MAX, FeeRate::ZERO), FeeRate::ZERO);
    }

    #[test]
    fn full_mempool_asks_for_more_the_sooner() {
        let waiting: Vec<u64> = (1..=40).rev().map(|rate| rate * 1_000).collect();
        let rate = |target| estimate(target, offers(&waiting), &[], 0, MAX, FLOOR);
        assert_eq!(rate(1), FeeRate(30_001));
        assert_eq!(rate(3), FeeRate(10_001));
        assert_eq!(rate(4), FLOOR);
    }

    #[test]
    fn full_blocks_ask_for_what_they_took_apart_from_luck() {
        let block = offers(&[0, 5_000, 6_000, 7_000, 8_000, 9_000, 9_000, 9_000, 9_000, 9_000]);
        let full = vec![block; 4];
        assert_eq!(estimate(1, [], &full, 2, MAX, FLOOR), FeeRate(5_000));
        // Two of six had room, and one can wait.
        assert_eq!(estimate(6, [], &full, 2, MAX, FLOOR), FLOOR);
        assert_eq!(estimate(1, [], &full[..1], 5, MAX, FLOOR), FLOOR);
    }

    #[test]
    fn hostile_numbers_do_not_overflow() {
        let most = Offer { fee: u64::MAX, bytes: usize::MAX };
        let nothing = Offer { fee: u64::MAX, bytes: 0 };
        let full = vec![vec![most, nothing, most]];
        for target in [0, 1, u32::MAX] {
            let rate = estimate(target, [most, nothing, most], &full, 0, usize::MAX, FLOOR);
            assert!(rate >= FLOOR);
        }
        assert!(is_full(usize::MAX, usize::MAX));
        assert!(!is_full(89, 100));
    }
}
