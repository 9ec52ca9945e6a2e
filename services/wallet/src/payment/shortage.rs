use std::fmt;

use pentad_primitives::Amount;

/// Why the coins are not enough. All amounts in units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shortage {
    /// Can be spent now.
    pub have: u64,
    /// The payments and the fee.
    pub need: u64,
    /// Coinbase outputs that have not matured.
    pub immature: u64,
    /// Blocks until a coinbase output can be spent.
    pub maturity: u32,
    /// On its way to us in the mempool.
    pub pending: u64,
    /// Claimed by payments under way.
    pub claimed: u64,
}

/// What a payment lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// Mined coins are there, and too young.
    Maturity,
    /// Coins wait for a block.
    Block,
    /// Payments under way use them.
    Claimed,
    /// There are too few.
    Coins,
}

impl Shortage {
    /// What is to be waited for.
    #[must_use]
    pub const fn lack(&self) -> Lack {
        let missing = self.need.saturating_sub(self.have);
        if self.immature >= missing {
            Lack::Maturity
        } else if self.pending >= missing {
            Lack::Block
        } else if self.claimed >= missing {
            Lack::Claimed
        } else {
            Lack::Coins
        }
    }

    /// What the caller can do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        let hint = match self.lack() {
            Lack::Maturity => {
                let maturity = self.maturity;
                return format!(
                    "mined coins can be spent {maturity} blocks later: wait for more blocks"
                );
            }
            Lack::Block => "coins are on their way: try again once they are in a block",
            Lack::Claimed => "payments under way use the other coins: try again in a moment",
            Lack::Coins => "pay less, or receive more coins first",
        };
        hint.to_owned()
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (have, need) = (Coins(self.have), Coins(self.need));
        write!(f, "have {have}, need {need} with the fee")?;
        for (units, what) in [
            (self.immature, "are immature"),
            (self.pending, "are unconfirmed"),
            (self.claimed, "are in use by payments under way"),
        ] {
            if units > 0 {
                write!(f, "; {} {what}", Coins(units))?;
            }
        }
        Ok(())
    }
}

/// Units as coins; a need may exceed what an [`Amount`] can hold.
struct Coins(u64);

impl fmt::Display for Coins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let coin = Amount::COIN.units();
        write!(f, "{}.{:08}", self.0 / coin, self.0 % coin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_missing_and_what_to_do() {
        let shortage = Shortage {
            have: 5_000_000_000,
            need: 10_000_000_226,
            immature: 100_000_000_000,
            maturity: 100,
            ..Shortage::default()
        };
        assert_eq!(
            shortage.to_string(),
            "have 50.00000000, need 100.00000226 with the fee; 1000.00000000 are immature"
        );
        assert!(shortage.hint().contains("100 blocks later"), "{}", shortage.hint());
        assert!(Shortage { immature: 0, ..shortage }.hint().contains("pay less"));
    }
}
