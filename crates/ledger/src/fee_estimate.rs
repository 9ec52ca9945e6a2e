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

/// What stands in front in the mempool. Made once, it serves every number of blocks to wait.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Crowd {
    /// For one block, two and so on: what beats the first transaction that finds no room in them.
    rates: Vec<FeeRate>,
}

impl Crowd {
    /// Of the transactions of the mempool, best to mine first.
    #[must_use]
    pub fn of(waiting: impl IntoIterator<Item = Offer>, block_bytes_max: usize) -> Self {
        let blocks_max = usize::try_from(TARGET_BLOCKS_MAX).unwrap_or(usize::MAX);
        let mut rates = Vec::new();
        let mut bytes = 0_usize;
        for offer in waiting {
            bytes = bytes.saturating_add(offer.bytes);
            while bytes > block_bytes_max.saturating_mul(rates.len().saturating_add(1)) {
                rates.push(FeeRate(offer.rate().0.saturating_add(1)));
                if rates.len() == blocks_max {
                    return Self { rates };
                }
            }
        }
        Self { rates }
    }

    /// The rate that finds room in so many blocks; none where all do.
    fn rate(&self, blocks: usize) -> Option<FeeRate> {
        self.rates.get(blocks.saturating_sub(1)).copied()
    }
}

/// The rate to offer so as to be in one of the next `target` blocks.
///
/// `taken` are the [least rates](least_taken) of the recent blocks that were [full](is_full),
/// `not_full` how many recent blocks were not.
#[must_use]
pub fn estimate(
    target: u32,
    crowd: &Crowd,
    taken: &[FeeRate],
    not_full: usize,
    floor: FeeRate,
) -> FeeRate {
    let blocks = usize::try_from(target.clamp(1, TARGET_BLOCKS_MAX)).unwrap_or(1);
    // The longer one can wait, the more of the recent blocks must have refused a lower rate.
    let mut least = taken.to_vec();
    least.extend(std::iter::repeat_n(floor, not_full));
    least.sort_unstable();
    let last = least.len().saturating_sub(1);
    let place = if blocks == 1 {
        last.saturating_add(1) / 2
    } else {
        last.checked_div(blocks).unwrap_or(0)
    };
    let by_blocks = least.get(place).copied().unwrap_or(floor);
    floor.max(crowd.rate(blocks).unwrap_or(floor)).max(by_blocks)
}

/// The least rate that a full block took, luck apart; zero where all was luck.
#[must_use]
pub fn least_taken(mut offers: Vec<Offer>) -> FeeRate {
    offers.sort_unstable_by_key(|offer| offer.rate());
    let bytes = offers.iter().map(|offer| offer.bytes).fold(0, usize::saturating_add);
    let mut luck = bytes.saturating_mul(LUCK_PERCENT) / 100;
    for offer in offers {
        match luck.checked_sub(offer.bytes) {
            Some(rest) => luck = rest,
            None => return offer.rate(),
        }
    }
    FeeRate::ZERO
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
        let nobody = Crowd::default();
        assert_eq!(Crowd::of(offers(&[9_000; 10]), MAX), nobody);
        assert_eq!(estimate(1, &nobody, &[], 0, FLOOR), FLOOR);
        assert_eq!(estimate(1, &nobody, &[], 6, FLOOR), FLOOR);
        assert_eq!(estimate(1, &nobody, &[], 0, FeeRate::ZERO), FeeRate::ZERO);
    }

    #[test]
    fn full_mempool_asks_for_more_the_sooner() {
        let waiting: Vec<u64> = (1..=40).rev().map(|rate| rate * 1_000).collect();
        let crowd = Crowd::of(offers(&waiting), MAX);
        let rate = |target| estimate(target, &crowd, &[], 0, FLOOR);
        assert_eq!(rate(1), FeeRate(30_001));
        assert_eq!(rate(3), FeeRate(10_001));
        assert_eq!(rate(4), FLOOR);
    }

    #[test]
    fn full_blocks_ask_for_what_they_took_apart_from_luck() {
        let block = offers(&[0, 5_000, 6_000, 7_000, 8_000, 9_000, 9_000, 9_000, 9_000, 9_000]);
        let taken = vec![least_taken(block); 4];
        assert_eq!(taken[0], FeeRate(5_000));
        let rate = |target, taken: &[_], not_full| {
            estimate(target, &Crowd::default(), taken, not_full, FLOOR)
        };
        assert_eq!(rate(1, &taken, 2), FeeRate(5_000));
        // Two of six had room, and one can wait.
        assert_eq!(rate(6, &taken, 2), FLOOR);
        assert_eq!(rate(1, &taken[..1], 5), FLOOR);
    }

    #[test]
    fn hostile_numbers_do_not_overflow() {
        let most = Offer { fee: u64::MAX, bytes: usize::MAX };
        let nothing = Offer { fee: u64::MAX, bytes: 0 };
        let taken = [least_taken(vec![most, nothing, most])];
        for block_bytes_max in [0, 1, usize::MAX] {
            let crowd = Crowd::of([most, nothing, most], block_bytes_max);
            for target in [0, 1, u32::MAX] {
                assert!(estimate(target, &crowd, &taken, 0, FLOOR) >= FLOOR);
            }
        }
        assert!(is_full(usize::MAX, usize::MAX));
        assert!(!is_full(89, 100));
    }
}
