//! Which coins pay.

use std::iter::Peekable;

use pentad_primitives::{OutPoint, Txid};

use super::size::{CHANGE_BYTES, INPUT_BYTES, fee, transaction_bytes};
use crate::ledger::Shelf;

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

/// Amount in units, and what to spend.
pub(crate) type Pick = (u64, OutPoint);

/// Coins that cover a target: their sum is exactly the target's amount less `deducted`, `change`
/// and `fee`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selection {
    pub(crate) coins: Vec<Pick>,
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

/// Branch and bound first, for a payment without change; otherwise the largest coins first, so that
/// the transaction is as short as can be. Shelves stand in the order of risk: riskier coins pay
/// only if the others are not enough.
pub(crate) fn select(shelves: &[&Shelf], target: &Target) -> Result<Selection, SelectError> {
    let mut outcome = Err(SelectError::NotEnough { need: need(1, target) });
    for count in 1..=shelves.len() {
        let safest = &shelves[..count];
        outcome = match without_change(safest, target) {
            Some(selection) => Ok(selection),
            None => largest_first(safest, target),
        };
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

/// The coins of some shelves, the largest first.
struct Descending<'a, I: Iterator<Item = &'a Pick>>(Vec<Peekable<I>>);

impl<'a, I: Iterator<Item = &'a Pick>> Iterator for Descending<'a, I> {
    type Item = Pick;

    fn next(&mut self) -> Option<Pick> {
        let tops = self.0.iter_mut().map(|shelf| shelf.peek().copied());
        let (largest, _) = tops.enumerate().max_by_key(|(_, top)| *top)?;
        self.0[largest].next().copied()
    }
}

/// The coins of some shelves that are worth `most` units at most, the largest first.
fn descending<'a>(shelves: &[&'a Shelf], most: u64) -> impl Iterator<Item = Pick> + use<'a> {
    let end = (most.saturating_add(1), OutPoint { txid: Txid::ZERO, vout: 0 });
    Descending(shelves.iter().map(|shelf| shelf.range(..end).rev().peekable()).collect())
}

fn largest_first(shelves: &[&Shelf], target: &Target) -> Result<Selection, SelectError> {
    let own_fee = fee(INPUT_BYTES, target.fee_rate);
    let mut sum: u64 = 0;
    let mut coins = Vec::new();
    // A coin that costs more to spend than it is worth brings the sum no nearer.
    for coin in descending(shelves, u64::MAX).take_while(|(amount, _)| *amount > own_fee) {
        sum = sum.saturating_add(coin.0);
        coins.push(coin);
        if transaction_bytes(coins.len(), target.outputs, target.output_bytes) > target.bytes_max {
            return Err(SelectError::TooManyCoins { coins_max: coins.len() - 1 });
        }
        if sum >= need(coins.len(), target) {
            return Ok(settle(coins, sum, target));
        }
    }
    Err(SelectError::NotEnough { need: need(coins.len().max(1), target) })
}

/// Coins that branch and bound looks at: the largest of those that are not too large alone.
const CANDIDATES_MAX: usize = 64;
/// Steps that branch and bound takes: some ten microseconds.
const STEPS_MAX: usize = 10_000;

/// A selection that leaves so little that change would cost more, now and when it is spent; of
/// those found the one that leaves least.
fn without_change(shelves: &[&Shelf], target: &Target) -> Option<Selection> {
    let spending = fee(INPUT_BYTES, target.fee_rate);
    // What is left goes to the fee, so it must be less than what would be worth keeping.
    let slack = fee(CHANGE_BYTES, target.fee_rate) + spending.min(target.dust.saturating_sub(1));
    let most = need(1, target).saturating_add(slack);
    let candidates = descending(shelves, most).take_while(|(amount, _)| *amount > spending);
    let candidates: Vec<Pick> = candidates.take(CANDIDATES_MAX).collect();
    let chosen = Search::new(&candidates, slack, target).run()?;
    let coins: Vec<Pick> = chosen.into_iter().map(|index| candidates[index]).collect();
    let sum = coins.iter().map(|(amount, _)| amount).sum();
    Some(settle(coins, sum, target)).filter(|selection| selection.change.is_none())
}

/// Depth first through the candidates, each taken or left.
struct Search<'a> {
    candidates: &'a [Pick],
    /// Of the candidates from each on, in units.
    sums: Vec<u64>,
    slack: u64,
    target: &'a Target,
    steps: usize,
    taken: Vec<usize>,
    best: Option<(u64, Vec<usize>)>,
}

impl<'a> Search<'a> {
    fn new(candidates: &'a [Pick], slack: u64, target: &'a Target) -> Self {
        let mut sums = vec![0_u64; candidates.len() + 1];
        for (index, (amount, _)) in candidates.iter().enumerate().rev() {
            sums[index] = sums[index + 1].saturating_add(*amount);
        }
        Self { candidates, sums, slack, target, steps: 0, taken: Vec::new(), best: None }
    }

    fn run(mut self) -> Option<Vec<usize>> {
        self.visit(0, 0);
        self.best.map(|(_, taken)| taken)
    }

    /// Tries the candidates from `next` on; those taken so far are worth `sum`.
    fn visit(&mut self, next: usize, sum: u64) {
        self.steps += 1;
        let inputs = self.taken.len();
        let need = need(inputs.max(1), self.target);
        let left = sum.checked_sub(need).filter(|_| inputs > 0);
        if let Some(left) = left {
            // More coins would only leave more.
            if left <= self.slack && self.best.as_ref().is_none_or(|(best, _)| left < *best) {
                self.best = Some((left, self.taken.clone()));
            }
            return;
        }
        let is_perfect = self.best.as_ref().is_some_and(|(left, _)| *left == 0);
        let is_hopeless = sum.saturating_add(self.sums[next]) < need;
        if is_perfect || is_hopeless || self.steps >= STEPS_MAX || next == self.candidates.len() {
            return;
        }
        self.taken.push(next);
        self.visit(next + 1, sum.saturating_add(self.candidates[next].0));
        self.taken.pop();
        // Leaving this one out, others of the same amount lead nowhere new.
        let same = self.candidates[next..].iter().take_while(|it| it.0 == self.candidates[next].0);
        self.visit(next + same.count(), sum);
    }
}

/// Units for the payments and the fee, without change.
fn need(inputs: usize, target: &Target) -> u64 {
    if target.subtract_fee {
        return target.amount;
    }
    let bytes = transaction_bytes(inputs, target.outputs, target.output_bytes);
    target.amount.saturating_add(fee(bytes, target.fee_rate))
}

fn settle(coins: Vec<Pick>, sum: u64, target: &Target) -> Selection {
    let surplus = sum - target.amount;
    let bytes = transaction_bytes(
        coins.len(),
        target.outputs + 1,
        target.output_bytes.saturating_add(CHANGE_BYTES),
    );
    let fee_with_change = fee(bytes, target.fee_rate);
    let is_worth_it = |change: &u64| *change >= target.dust && bytes <= target.bytes_max;
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
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn shelf(amounts: &[u64]) -> Shelf {
        let outpoint = |vout| OutPoint { txid: Txid::from_bytes([7; 32]), vout };
        (0..).zip(amounts).map(|(index, &amount)| (amount, outpoint(index))).collect()
    }

    fn select_of(amounts: &[u64], target: &Target) -> Result<Selection, SelectError> {
        select(&[&shelf(amounts)], target)
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
        let selection = select_of(&[1_000_000], &target(100_000, 1000)).expect("enough");
        assert_eq!(selection.fee, 226);
        assert_eq!(selection.change, Some(1_000_000 - 100_000 - 226));
    }

    #[test]
    fn dust_change_goes_to_the_fee() {
        // 192 bytes without change, 226 with it; the change would be 545.
        let sum = 100_000 + 226 + 545;
        let selection = select_of(&[sum], &target(100_000, 1000)).expect("enough");
        assert_eq!((selection.change, selection.fee), (None, 226 + 545));
        let selection = select_of(&[sum + 1], &target(100_000, 1000)).expect("enough");
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
            let selection = select_of(&[sum], &target).expect("enough");
            let found = (selection.change, selection.fee, selection.deducted);
            assert_eq!(found, (change, fee, deducted), "{sum}");
            assert_eq!(sum, 100_000 - deducted + change.unwrap_or(0) + fee);
        }
        let error = select_of(&[99_999], &target);
        assert_eq!(error, Err(SelectError::NotEnough { need: 100_000 }));
    }

    #[test]
    fn exact_sum_needs_no_change() {
        let selection = select_of(&[100_192], &target(100_000, 1000)).expect("enough");
        assert_eq!((selection.change, selection.fee), (None, 192));
        let error = select_of(&[100_191], &target(100_000, 1000));
        assert_eq!(error, Err(SelectError::NotEnough { need: 100_192 }));
    }

    #[test]
    fn coins_that_fit_go_before_larger_ones() {
        // Three inputs and one output are 488 bytes.
        let amounts = [900_000, 70_488, 50_000, 20_000, 10_000];
        let selection = select_of(&amounts, &target(100_000, 1000)).expect("enough");
        let chosen: Vec<u64> = selection.coins.iter().map(|(amount, _)| *amount).collect();
        assert_eq!(chosen, [70_488, 20_000, 10_000]);
        assert_eq!((selection.change, selection.fee), (None, 488));
    }

    #[test]
    fn the_safer_a_coin_the_sooner_it_goes() {
        let shelves = [[300_000], [600_000], [900_000], [1_000_000]].map(|it| shelf(&it));
        let shelves: Vec<&Shelf> = shelves.iter().collect();
        let chosen = |amount| {
            let selection = select(&shelves, &target(amount, 1000)).expect("enough");
            selection.coins.iter().map(|(amount, _)| amount / 100_000).collect::<Vec<_>>()
        };
        assert_eq!(chosen(200_000), [3]);
        assert_eq!(chosen(500_000), [6]);
        assert_eq!(chosen(800_000), [6, 3]);
        assert_eq!(chosen(1_000_000), [9, 6]);
        assert_eq!(chosen(1_700_000), [9, 6, 3]);
        assert_eq!(chosen(1_850_000), [10, 9]);
    }

    #[test]
    fn coins_not_worth_their_fee_stay_out() {
        let error = select_of(&[148, 148, 148], &target(1, 1000));
        assert_eq!(error, Err(SelectError::NotEnough { need: 193 }));
    }

    #[test]
    fn too_many_coins_for_one_transaction() {
        let error = select_of(&[1000; 1000], &target(700_000, 1000));
        assert_eq!(error, Err(SelectError::TooManyCoins { coins_max: 675 }));
    }

    /// All subsets, for few coins: the least that one without change can leave.
    fn least_left(amounts: &[u64], target: &Target) -> Option<u64> {
        let spending = fee(INPUT_BYTES, target.fee_rate);
        let useful: Vec<u64> = amounts.iter().copied().filter(|it| *it > spending).collect();
        let slack = fee(CHANGE_BYTES, target.fee_rate) + spending.min(target.dust - 1);
        let sums = (1_u32..1 << useful.len()).filter_map(|subset| {
            let taken = (0..).zip(&useful).filter(|(bit, _)| subset >> bit & 1 == 1);
            let sum: u64 = taken.map(|(_, amount)| amount).sum();
            sum.checked_sub(need(subset.count_ones() as usize, target))
        });
        sums.filter(|left| *left <= slack).min()
    }

    proptest! {
        /// Random seeds are proptest's: a failure prints its case and is replayed from the file
        /// it leaves behind.
        #[test]
        fn selections_balance_and_pay_the_rate(
            amounts in prop::collection::vec((1_u64..=50_000_000, 0_usize..4), 0..80),
            amount in 1_u64..=500_000_000,
            fee_rate in 0_u64..=100_000,
            outputs in 1_usize..=40,
            subtract_fee: bool,
        ) {
            let mut shelves = [const { Shelf::new() }; 4];
            for (vout, (amount, risk)) in (0..).zip(&amounts) {
                let outpoint = OutPoint { txid: Txid::from_bytes([7; 32]), vout };
                shelves[*risk].insert((*amount, outpoint));
            }
            let output_bytes = 34 * outputs as u64;
            let target =
                Target { outputs, output_bytes, subtract_fee, ..target(amount, fee_rate) };
            let refs: Vec<&Shelf> = shelves.iter().collect();
            match select(&refs, &target) {
                Ok(Selection { coins: chosen, change, fee: paid, deducted }) => {
                    let distinct: BTreeSet<_> = chosen.iter().collect();
                    prop_assert_eq!(distinct.len(), chosen.len(), "a coin twice");
                    prop_assert!(chosen.iter().all(|it| refs.iter().any(|s| s.contains(it))));
                    let sum: u64 = chosen.iter().map(|(amount, _)| amount).sum();
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
                    // Riskier coins pay only where all the safer ones are not enough.
                    let riskiest =
                        refs.iter().rposition(|s| chosen.iter().any(|it| s.contains(it)));
                    let safer = &refs[..riskiest.unwrap_or(0)];
                    prop_assert!(safer.is_empty() || select(safer, &target).is_err());
                }
                Err(SelectError::NotEnough { need }) => {
                    let all = refs.iter().flat_map(|shelf| shelf.iter());
                    let useful: u64 = all
                        .map(|(amount, _)| *amount)
                        .filter(|&amount| amount > fee(INPUT_BYTES, fee_rate))
                        .sum();
                    prop_assert!(need > useful, "need {} of {} useful", need, useful);
                }
                Err(error @ SelectError::TooManyCoins { .. }) => {
                    prop_assert!(false, "80 coins fit: {:?}", error);
                }
            }
        }

        /// Small amounts, so that many sums come close.
        #[test]
        fn branch_and_bound_finds_the_best_there_is(
            amounts in prop::collection::vec(500_u64..=3_000, 1..=10),
            amount in 1_000_u64..=12_000,
            fee_rate in 0_u64..=1_000,
        ) {
            let target = target(amount, fee_rate);
            let found = without_change(&[&shelf(&amounts)], &target);
            let left = found.map(|it| {
                let sum: u64 = it.coins.iter().map(|(amount, _)| amount).sum();
                prop_assert_eq!(it.change, None);
                prop_assert_eq!(it.fee, sum - amount);
                Ok(sum - need(it.coins.len(), &target))
            });
            prop_assert_eq!(left.transpose()?, least_left(&amounts, &target));
        }
    }
}
