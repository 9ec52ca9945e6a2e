//! A higher fee for a payment that waits (BIP125): what it takes, and where it comes from.

use pentad_primitives::encode::Encode as _;

use super::order::{CHANGE_DUST, TRANSACTION_BYTES_MAX};
use super::record::Made;
use super::select::Pick;
use super::size::{CHANGE_BYTES, INPUT_BYTES, fee, output_bytes, transaction_bytes};

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Raise<'a> {
    /// The payment that is to be replaced.
    pub(crate) made: &'a Made,
    /// What was asked for, units per 1000 bytes; absent: the least.
    pub(crate) fee_rate: Option<u64>,
    /// The least that the mempool takes, and at least as much where nothing is asked for.
    pub(crate) fee_rate_min: u64,
    /// What a replacement pays for its own bytes on top, units per 1000 bytes.
    pub(crate) replacement_fee_rate: u64,
}

/// How the replacement is paid for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Raised {
    /// Coins that it spends beside those of the first payment.
    pub(crate) added: Vec<Pick>,
    /// Units that go back to us; `None` when it would be dust.
    pub(crate) change: Option<u64>,
    /// Units.
    pub(crate) fee: u64,
}

/// Why there is no replacement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RaiseError {
    /// Nobody takes it in the place of the payment: units per 1000 bytes.
    FeeTooLow {
        /// What was asked for.
        asked: u64,
        /// What would do.
        least: u64,
    },
    /// Change and further coins do not cover the fee. In units.
    NotEnough {
        /// There is, change and further coins together.
        have: u64,
        /// The fee.
        need: u64,
    },
    /// It would be longer than a transaction may be.
    TooLong,
}

impl Raise<'_> {
    /// Takes the fee from the change, or else from `coins` (amount and outpoint), which all are in
    /// blocks: a replacement spends no other unconfirmed coins than the first payment did.
    pub(crate) fn run(&self, coins: impl IntoIterator<Item = Pick>) -> Result<Raised, RaiseError> {
        let Made { transaction, .. } = self.made;
        let kept: Vec<(u64, u64)> = self
            .kept()
            .map(|output| (output.amount.units(), output_bytes(output.script_pubkey.len())))
            .collect();
        let (paid, bytes) = kept.iter().fold((0, 0), |(sum, all), it| (sum + it.0, all + it.1));
        let outputs = transaction.outputs.iter().map(|output| output.amount.units());
        // What the coins of the first payment leave for fee and change.
        let mut left = outputs.sum::<u64>() + self.made.fee - paid;
        let (mut added, mut coins): (Vec<Pick>, _) = (Vec::new(), coins.into_iter());
        let sizes = |added: usize| {
            let inputs = transaction.inputs.len() + added;
            let with = transaction_bytes(inputs, kept.len() + 1, bytes + CHANGE_BYTES);
            (with, transaction_bytes(inputs, kept.len(), bytes))
        };
        self.check(sizes(0).0)?;
        loop {
            let (with, without) = sizes(added.len());
            if without > TRANSACTION_BYTES_MAX {
                return Err(RaiseError::TooLong);
            }
            let change = left.checked_sub(self.fee(with)).filter(|change| *change >= CHANGE_DUST);
            if let Some(change) = change.filter(|_| with <= TRANSACTION_BYTES_MAX) {
                return Ok(Raised { added, change: Some(change), fee: left - change });
            }
            let need = self.fee(without);
            if left >= need {
                return Ok(Raised { added, change: None, fee: left });
            }
            // A coin that costs more to spend than it is worth brings the sum no nearer.
            let Some(coin) = coins.find(|(amount, _)| *amount > self.input_fee()) else {
                return Err(RaiseError::NotEnough { have: left, need });
            };
            left = left.saturating_add(coin.0);
            added.push(coin);
        }
    }

    /// All outputs but the change.
    pub(crate) fn kept(&self) -> impl Iterator<Item = &pentad_primitives::TxOut> {
        let outputs = (0..).zip(&self.made.transaction.outputs);
        outputs.filter(|(index, _)| Some(*index) != self.made.change).map(|(_, output)| output)
    }

    /// Whether what was asked for is enough to replace; for more bytes it is, too, then.
    fn check(&self, bytes: u64) -> Result<(), RaiseError> {
        let least = self.least(bytes);
        match self.fee_rate {
            Some(asked) if fee(bytes, asked) < least => {
                let least = (least - 1).saturating_mul(1000) / bytes + 1;
                Err(RaiseError::FeeTooLow { asked, least })
            }
            _ => Ok(()),
        }
    }

    /// The fee of a replacement of so many bytes.
    fn fee(&self, bytes: u64) -> u64 {
        fee(bytes, self.fee_rate.unwrap_or(self.fee_rate_min)).max(self.least(bytes))
    }

    fn input_fee(&self) -> u64 {
        let rate = self.fee_rate.unwrap_or(self.fee_rate_min);
        fee(INPUT_BYTES, rate.max(self.replacement_fee_rate))
    }

    /// Rules 3 and 4 of BIP125, and a higher fee rate, as Bitcoin Core demands.
    fn least(&self, bytes: u64) -> u64 {
        let Made { transaction, fee: before, .. } = self.made;
        let replacing = before.saturating_add(fee(bytes, self.replacement_fee_rate));
        let bytes_before = transaction.encoded_len().max(1) as u128;
        let same_rate = u128::from(*before) * u128::from(bytes) / bytes_before;
        replacing.max(u64::try_from(same_rate + 1).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use pentad_primitives::{Amount, OutPoint, Script, Transaction, TxIn, TxOut, Txid};
    use proptest::prelude::*;

    use super::*;

    fn coin(amount: u64, vout: u32) -> Pick {
        (amount, OutPoint { txid: Txid::from_bytes([1; 32]), vout })
    }

    /// Pays 1000000 units and keeps `change`, for a fee of `fee`.
    fn made(change: Option<u64>, fee: u64) -> Made {
        let outputs = [Some(1_000_000), change].into_iter().flatten().map(|units| TxOut {
            amount: Amount::from_units(units).expect("in range"),
            script_pubkey: Script::from(vec![0; 25]),
        });
        let input = TxIn {
            previous_output: coin(0, 99).1,
            script_sig: Script::from(vec![0; 107]),
            sequence: 0,
        };
        let (inputs, outputs) = (vec![input], outputs.collect());
        let transaction = Transaction { version: 1, inputs, outputs, lock_time: 0 };
        Made { transaction, fee, change: change.map(|_| 1), of_address: false, replaces: None }
    }

    fn raise(made: &Made, fee_rate: Option<u64>, coins: &[Pick]) -> Result<Raised, RaiseError> {
        let rates = (1000, 1000);
        let (fee_rate_min, replacement_fee_rate) = rates;
        Raise { made, fee_rate, fee_rate_min, replacement_fee_rate }.run(coins.iter().copied())
    }

    #[test]
    fn the_change_pays_first() {
        let made = made(Some(10_000), 226);
        let raised = raise(&made, None, &[coin(5_000, 0)]).expect("enough");
        // The fee before, and the relay fee for the longest that it can be.
        assert_eq!(raised, Raised { added: Vec::new(), change: Some(9_774), fee: 452 });
        let raised = raise(&made, Some(10_000), &[]).expect("enough");
        assert_eq!(raised, Raised { added: Vec::new(), change: Some(7_966), fee: 2_260 });
    }

    #[test]
    fn dust_goes_to_the_fee_and_further_coins_are_the_last_resort() {
        let made = made(Some(700), 226);
        let raised = raise(&made, Some(2_500), &[coin(5_000, 0)]).expect("enough");
        assert_eq!(raised, Raised { added: Vec::new(), change: None, fee: 926 });
        let raised = raise(&made, Some(10_000), &[coin(5_000, 0), coin(9_000, 1)]);
        let raised = raised.expect("enough");
        assert_eq!(raised.added, [coin(5_000, 0)]);
        let error = raise(&made, Some(100_000), &[coin(5_000, 0)]).expect_err("too little");
        assert!(matches!(error, RaiseError::NotEnough { have: 926, .. }), "{error:?}");
    }

    #[test]
    fn what_is_asked_for_must_be_enough_to_replace() {
        let made = made(Some(100_000), 5_000);
        let error = raise(&made, Some(20_000), &[]).expect_err("less than before");
        let RaiseError::FeeTooLow { asked: 20_000, least } = error else { panic!("{error:?}") };
        raise(&made, Some(least), &[]).expect("the least does");
        raise(&made, Some(least - 1), &[]).expect_err("one less does not");
    }

    proptest! {
        /// What the mempool of the chain asks for, and no unit is lost.
        #[test]
        fn replacements_are_taken(
            change in proptest::option::of(600_u64..200_000),
            before in 192_u64..20_000,
            fee_rate in proptest::option::of(1_000_u64..200_000),
            amounts in proptest::collection::vec(1_u64..100_000, 0..8),
        ) {
            let made = made(change, before);
            let coins: Vec<Pick> = (0..).zip(&amounts).map(|(vout, it)| coin(*it, vout)).collect();
            let Ok(raised) = raise(&made, fee_rate, &coins) else { return Ok(()) };
            let added: u64 = raised.added.iter().map(|(amount, _)| amount).sum();
            let kept = change.unwrap_or(0) + before + added;
            prop_assert_eq!(raised.fee + raised.change.unwrap_or(0), kept);
            let outputs = 1 + usize::from(raised.change.is_some());
            let inputs = 1 + raised.added.len();
            let bytes = transaction_bytes(inputs, outputs, output_bytes(25) * outputs as u64);
            prop_assert!(raised.fee >= before + fee(bytes, 1_000));
            let old_bytes = made.transaction.encoded_len() as u64;
            prop_assert!(raised.fee * old_bytes > before * bytes, "a higher rate");
            prop_assert!(raised.change.is_none_or(|change| change >= CHANGE_DUST));
            if let Some(rate) = fee_rate {
                prop_assert!(raised.fee >= fee(bytes, rate));
            }
        }
    }
}
