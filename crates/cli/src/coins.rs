//! Units of 10^-8 coins as people read them.

/// Units in a coin.
const COIN: u128 = 100_000_000;

/// Coins with exactly eight decimals, without floating point: `-200.00000001`.
pub fn coins(units: impl Into<i128>) -> String {
    let units = units.into();
    let sign = if units < 0 { "-" } else { "" };
    let units = units.unsigned_abs();
    format!("{sign}{}.{:08}", units / COIN, units % COIN)
}

#[cfg(test)]
mod tests {
    use pentad_primitives::Amount;

    use super::*;

    #[test]
    fn exactly_eight_decimals() {
        for (units, text) in [
            (0, "0.00000000"),
            (1, "0.00000001"),
            (-1, "-0.00000001"),
            (20_000_000_000, "200.00000000"),
            (-20_000_000_226, "-200.00000226"),
            (i64::MIN, "-92233720368.54775808"),
        ] {
            assert_eq!(coins(units), text);
        }
        assert_eq!(coins(u64::MAX), "184467440737.09551615");
    }

    #[test]
    fn the_same_as_the_ledger_prints() {
        for units in [0, 1, 99_999_999, 100_000_000, Amount::MAX_MONEY.units()] {
            let amount = Amount::from_units(units).expect("at most all the money");
            assert_eq!(coins(units), amount.to_string());
        }
    }
}
