//! Which coins pay.

use std::cmp::Reverse;

use pentad_primitives::OutPoint;

use super::SETTLED_DEPTH;
use super::size::{CHANGE_BYTES, INPUT_BYTES, fee, transaction_bytes};
use pentad_keystore::KeyPath;

/// An output of ours that can be spent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Coin {
    pub(crate) outpoint: OutPoint,
    /// Units.
    pub(crate) amount: u64,
    /// The key that spends it.
    pub(crate) key: KeyPath,
    /// Blocks over it, its own counted; 0 while it is our own unconfirmed change.
    pub(crate) confirmations: u32,
    pub(crate) from_coinbase: bool,
}

/// How a coin can be lost before a payment that spends it is settled, the least likely first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Risk {
    /// No reorganisation is expected to reach it.
    None,
    /// A reorganisation returns its transaction to the mempool.
    Reorganisation,
    /// Its transaction, our own payment, waits for a block; we submit it again if it vanishes.
    Waiting,
    /// A reorganisation undoes it for ever, and every payment that descends from it.
    FreshCoinbase,
}

impl Coin {
    const fn risk(&self) -> Risk {
        match (self.confirmations, self.from_coinbase) {
            (SETTLED_DEPTH.., _) => Risk::None,
            (_, true) => Risk::FreshCoinbase,
            (0, false) => Risk::Waiting,
            (_, false) => Risk::Reorganisation,
        }
    }
}

/// What is to be paid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    /// Units of all payments.
    pub(crate) amount: u64,
    /// How many payments.
    pub(crate) outputs: usize,
    /// Bytes of their outputs.
    pub(crate) output_bytes: u64,
    /// Units per 1000 bytes.
    pub(crate) fee_rate: u64,
    /// Change below this is left to the miner, units.
    pub(crate) dust: u64,
    /// Longest transaction, bytes.
    pub(crate) bytes_max: u64,
    /// The fee comes out of the amount, not on top of it.
    pub(crate) subtract_fee: bool,
}

/// Coins that cover a target: their sum is exactly the target's amount less `deducted`, `change`
/// and `fee`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selection {
    pub(crate) coins: Vec<Coin>,
    /// Units that go back to us; `None` when it would be dust.
    pub(crate) change: Option<u64>,
    /// Units.
    pub(crate) fee: u64,
    /// Units of the fee that come out of the amount.
    pub(crate) deducted: u64,
}

/// Why no selection covers the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SelectError {
    /// All coins together are worth less than amount and fee.
    NotEnough {
        /// Units needed, the fee for spending those coins included.
        need: u64,
    },
    /// There are enough coins, but too many small ones for one transaction.
    TooManyCoins {
        /// How many fit.
        coins_max: usize,
    },
}

/// Largest first, so that the transaction is as short as can be; riskier coins only if the others
/// are not enough.
pub(crate) fn select(coins: &[Coin], target: &Target) -> Result<Selection, SelectError> {
    let with_risk = |most: Risk| -> Result<Selection, SelectError> {
        let mut coins: Vec<Coin> =
            coins.iter().filter(|coin| coin.risk() <= most).copied().collect();
        largest_first(&mut coins, target)
    };
    with_risk(Risk::None)
        .or_else(|_| with_risk(Risk::Reorganisation))
        .or_else(|_| with_risk(Risk::Waiting))
        .or_else(|_| with_risk(Risk::FreshCoinbase))
}

fn largest_first(coins: &mut [Coin], target: &Target) -> Result<Selection, SelectError> {
    coins.sort_unstable_by_key(|coin| (Reverse(coin.amount), coin.outpoint));
    let own_fee = fee(INPUT_BYTES, target.fee_rate);
    let mut sum: u64 = 0;
    let mut used: usize = 0;
    // A coin that costs more to spend than it is worth brings the sum no nearer.
    for coin in coins.iter().take_while(|coin| coin.amount > own_fee) {
        sum = sum.saturating_add(coin.amount);
        used += 1;
        if transaction_bytes(used, target.outputs, target.output_bytes) > target.bytes_max {
            return Err(SelectError::TooManyCoins { coins_max: used - 1 });
        }
        if sum >= need(used, target) {
            return Ok(settle(&coins[..used], sum, target));
        }
    }
    Err(SelectError::NotEnough { need: need(used.max(1), target) })
}

/// Units for the payments and the fee, without change.
fn need(inputs: usize, target: &Target) -> u64 {
    if target.subtract_fee {
        return target.amount;
    }
    let bytes = transaction_bytes(inputs, target.outputs, target.output_bytes);
    target.amount.saturating_add(fee(bytes, target.fee_rate))
}

fn settle(coins: &[Coin], sum: u64, target: &Target) -> Selection {
    let surplus = sum - target.amount;
    let bytes = transaction_bytes(
        coins.len(),
        target.outputs + 1,
        target.output_bytes.saturating_add(CHANGE_BYTES),
    );
    let fee_with_change = fee(bytes, target.fee_rate);
    let is_worth_it = |change: &u64| *change >= target.dust && bytes <= target.bytes_max;
    let coins = coins.to_vec();
    if target.subtract_fee {
        let change = Some(surplus).filter(is_worth_it);
        let bytes = transaction_bytes(coins.len(), target.outputs, target.output_bytes);
        let due = if change.is_some() { fee_with_change } else { fee(bytes, target.fee_rate) };
        // What is too little for change goes to the fee first.
        let left = surplus - change.unwrap_or(0);
        let deducted = due.saturating_sub(left);
        return Selection { coins, change, fee: left + deducted, deducted };
    }
    let change = surplus.checked_sub(fee_with_change).filter(is_worth_it);
    Selection { coins, change, fee: surplus - change.unwrap_or(0), deducted: 0 }
}

#[cfg(test)]
mod tests {
    use pentad_primitives::Txid;
    use proptest::prelude::*;

    use super::*;
    use pentad_keystore::Chain;

    fn coin(index: u32, amount: u64, confirmations: u32) -> Coin {
        Coin {
            outpoint: OutPoint { txid: Txid::from_bytes([7; 32]), vout: index },
            amount,
            key: KeyPath { chain: Chain::Receive, index: 0 },
            confirmations,
            from_coinbase: false,
        }
    }

    fn coins(amounts: &[u64]) -> Vec<Coin> {
        (0..).zip(amounts).map(|(index, &amount)| coin(index, amount, 9)).collect()
    }

    fn target(amount: u64, fee_rate: u64) -> Target {
        Target {
            amount,
            outputs: 1,
            output_bytes: 34,
            fee_rate,
            dust: 546,
            bytes_max: 100_000,
            subtract_fee: false,
        }
    }

    #[test]
    fn one_coin_with_change_is_226_bytes() {
        let selection = select(&coins(&[1_000_000]), &target(100_000, 1000)).expect("enough");
        assert_eq!(selection.fee, 226);
        assert_eq!(selection.change, Some(1_000_000 - 100_000 - 226));
    }

    #[test]
    fn dust_change_goes_to_the_fee() {
        // 192 bytes without change, 226 with it; the change would be 545.
        let sum = 100_000 + 226 + 545;
        let selection = select(&coins(&[sum]), &target(100_000, 1000)).expect("enough");
        assert_eq!((selection.change, selection.fee), (None, 226 + 545));
        let selection = select(&coins(&[sum + 1]), &target(100_000, 1000)).expect("enough");
        assert_eq!((selection.change, selection.fee), (Some(546), 226));
    }

    #[test]
    fn a_fee_that_is_subtracted_comes_out_of_the_amount() {
        let target = Target { subtract_fee: true, ..target(100_000, 1000) };
        for (sum, change, fee, deducted) in [
            // 226 bytes with change, 192 without it.
            (1_000_000, Some(900_000), 226, 226),
            (100_000, None, 192, 192),
            (100_100, None, 192, 92),
            (100_545, None, 545, 0),
            (100_546, Some(546), 226, 226),
        ] {
            let selection = select(&coins(&[sum]), &target).expect("enough");
            let found = (selection.change, selection.fee, selection.deducted);
            assert_eq!(found, (change, fee, deducted), "{sum}");
            assert_eq!(sum, 100_000 - deducted + change.unwrap_or(0) + fee);
        }
        assert_eq!(
            select(&coins(&[99_999]), &target),
            Err(SelectError::NotEnough { need: 100_000 })
        );
    }

    #[test]
    fn exact_sum_needs_no_change() {
        let selection = select(&coins(&[100_192]), &target(100_000, 1000)).expect("enough");
        assert_eq!((selection.change, selection.fee), (None, 192));
        let error = select(&coins(&[100_191]), &target(100_000, 1000));
        assert_eq!(error, Err(SelectError::NotEnough { need: 100_192 }));
    }

    #[test]
    fn the_safer_a_coin_the_sooner_it_goes() {
        let fresh_coinbase = Coin { from_coinbase: true, ..coin(3, 1_000_000, 2) };
        let coins = [fresh_coinbase, coin(0, 900_000, 0), coin(1, 600_000, 5), coin(2, 300_000, 6)];
        let chosen = |amount| {
            let selection = select(&coins, &target(amount, 1000)).expect("enough");
            selection.coins.iter().map(|coin| coin.outpoint.vout).collect::<Vec<_>>()
        };
        assert_eq!(chosen(200_000), [2]);
        assert_eq!(chosen(500_000), [1]);
        assert_eq!(chosen(800_000), [1, 2]);
        assert_eq!(chosen(1_000_000), [0, 1]);
        assert_eq!(chosen(1_700_000), [0, 1, 2]);
        assert_eq!(chosen(1_850_000), [3, 0]);
    }

    #[test]
    fn coins_not_worth_their_fee_stay_out() {
        let error = select(&coins(&[148, 148, 148]), &target(1, 1000));
        assert_eq!(error, Err(SelectError::NotEnough { need: 193 }));
    }

    #[test]
    fn too_many_coins_for_one_transaction() {
        let many = coins(&[1000; 1000]);
        let error = select(&many, &target(700_000, 1000));
        assert_eq!(error, Err(SelectError::TooManyCoins { coins_max: 675 }));
    }

    proptest! {
        /// Random seeds are proptest's: a failure prints its case and is replayed from the file
        /// it leaves behind.
        #[test]
        fn selections_balance_and_pay_the_rate(
            amounts in prop::collection::vec((1_u64..=50_000_000, 0_u32..10, any::<bool>()), 0..80),
            amount in 1_u64..=500_000_000,
            fee_rate in 0_u64..=100_000,
            outputs in 1_usize..=40,
            subtract_fee: bool,
        ) {
            let coins: Vec<Coin> = (0..)
                .zip(&amounts)
                .map(|(index, &(amount, depth, from_coinbase))| Coin {
                    from_coinbase,
                    ..coin(index, amount, depth)
                })
                .collect();
            let output_bytes = 34 * outputs as u64;
            let target =
                Target { outputs, output_bytes, subtract_fee, ..target(amount, fee_rate) };
            let total: u64 = coins.iter().map(|coin| coin.amount).sum();
            match select(&coins, &target) {
                Ok(Selection { coins: chosen, change, fee: paid, deducted }) => {
                    let mut outpoints: Vec<_> = chosen.iter().map(|coin| coin.outpoint).collect();
                    outpoints.sort_unstable();
                    outpoints.dedup();
                    prop_assert_eq!(outpoints.len(), chosen.len(), "an outpoint twice");
                    prop_assert!(chosen.iter().all(|coin| coins.contains(coin)));
                    let sum: u64 = chosen.iter().map(|coin| coin.amount).sum();
                    prop_assert_eq!(sum + deducted, amount + change.unwrap_or(0) + paid);
                    prop_assert!(subtract_fee || deducted == 0);
                    prop_assert!(change.is_none_or(|change| change >= target.dust));
                    let bytes = transaction_bytes(
                        chosen.len(),
                        outputs + usize::from(change.is_some()),
                        target.output_bytes + if change.is_some() { CHANGE_BYTES } else { 0 },
                    );
                    prop_assert!(u128::from(paid) * 1000 >= u128::from(bytes * fee_rate));
                    // What is paid above the rate is at most dust and the change's own bytes.
                    let surplus = paid - fee(bytes, fee_rate);
                    prop_assert!(surplus < target.dust + fee(CHANGE_BYTES + 2, fee_rate) + 1);
                }
                Err(SelectError::NotEnough { need }) => {
                    let useful: u64 = coins
                        .iter()
                        .map(|coin| coin.amount)
                        .filter(|&amount| amount > fee(INPUT_BYTES, fee_rate))
                        .sum();
                    prop_assert!(need > useful, "need {} of {} ({} useful)", need, total, useful);
                }
                Err(error @ SelectError::TooManyCoins { .. }) => {
                    prop_assert!(false, "80 coins fit: {:?}", error);
                }
            }
        }
    }
}
