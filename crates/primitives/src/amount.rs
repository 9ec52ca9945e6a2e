//! Amounts of coins.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Digits after the point.
const DECIMALS: usize = 8;

/// An amount in units of 10⁻⁸ coins, never above [`Amount::MAX_MONEY`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(u64);

/// Why something is not an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AmountError {
    /// Above the most that can ever exist.
    #[error("more than 21000000 coins")]
    TooLarge,
    /// Not a decimal number.
    #[error("expected a plain decimal number of coins, for example 12.5")]
    Malformed,
    /// More decimals than a unit has.
    #[error("more than eight decimals")]
    TooPrecise,
}

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// One coin.
    pub const COIN: Self = Self(100_000_000);
    /// 21 million coins: the most that can ever exist.
    pub const MAX_MONEY: Self = Self(2_100_000_000_000_000);

    /// From units of 10⁻⁸ coins.
    ///
    /// # Errors
    /// Above [`Self::MAX_MONEY`].
    pub const fn from_units(units: u64) -> Result<Self, AmountError> {
        if units > Self::MAX_MONEY.0 {
            return Err(AmountError::TooLarge);
        }
        Ok(Self(units))
    }

    /// In units of 10⁻⁸ coins.
    #[must_use]
    pub const fn units(self) -> u64 {
        self.0
    }

    /// The sum, unless it is above [`Self::MAX_MONEY`].
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).and_then(|units| Self::from_units(units).ok())
    }

    /// The difference, unless it is below zero.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// The sum of many.
    ///
    /// # Errors
    /// Above [`Self::MAX_MONEY`] (CVE-2010-5139 let such a sum wrap around).
    pub fn sum(amounts: impl IntoIterator<Item = Self>) -> Result<Self, AmountError> {
        amounts.into_iter().try_fold(Self::ZERO, Self::checked_add).ok_or(AmountError::TooLarge)
    }
}

impl fmt::Display for Amount {
    /// Coins with exactly eight decimals.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let coin = Self::COIN.0;
        let (whole, fraction) = (self.0.checked_div(coin), self.0.checked_rem(coin));
        write!(f, "{}.{:08}", whole.unwrap_or(0), fraction.unwrap_or(0))
    }
}

impl FromStr for Amount {
    type Err = AmountError;

    /// Reads coins in decimal digits: `12`, `12.5`, `0.00000001`.
    fn from_str(text: &str) -> Result<Self, AmountError> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(fraction) {
            return Err(AmountError::Malformed);
        }
        if fraction.len() > DECIMALS {
            return Err(AmountError::TooPrecise);
        }
        let units = format!("{whole}{fraction:0<DECIMALS$}");
        Self::from_units(units.parse().map_err(|_| AmountError::TooLarge)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displays_exactly_eight_decimals() {
        assert_eq!(Amount::COIN.to_string(), "1.00000000");
        assert_eq!(Amount(1).to_string(), "0.00000001");
        assert_eq!(Amount::MAX_MONEY.to_string(), "21000000.00000000");
    }

    #[test]
    fn parses_exactly() {
        for (text, units) in [
            ("0", 0),
            ("1", 100_000_000),
            ("12.5", 1_250_000_000),
            ("0.00000001", 1),
            ("007", 700_000_000),
            ("21000000.00000000", 2_100_000_000_000_000),
        ] {
            assert_eq!(text.parse(), Ok(Amount(units)), "{text}");
        }
        for text in ["", ".", "1.", ".5", "-1", "+1", "1e3", "1,5", " 1", "NaN", "0x1", "1.2.3"] {
            assert_eq!(text.parse::<Amount>(), Err(AmountError::Malformed), "{text:?}");
        }
        assert_eq!("1.000000001".parse::<Amount>(), Err(AmountError::TooPrecise));
        for text in ["21000000.00000001", "99999999999999999999999"] {
            assert_eq!(text.parse::<Amount>(), Err(AmountError::TooLarge));
        }
    }

    #[test]
    fn sums_do_not_wrap() {
        assert_eq!(Amount::sum([Amount::MAX_MONEY, Amount(1)]), Err(AmountError::TooLarge));
        assert_eq!(Amount::sum([Amount(1), Amount(2)]), Ok(Amount(3)));
        assert_eq!(Amount(1).checked_sub(Amount(2)), None);
    }
}
