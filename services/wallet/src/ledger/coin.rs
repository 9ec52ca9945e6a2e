use pentad_crypto::Address;
use pentad_primitives::OutPoint;

use crate::payment::SETTLED_DEPTH;

/// An unspent output of an address of ours, or one that only the mempool spends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Coin {
    pub(crate) outpoint: OutPoint,
    /// Units.
    pub(crate) amount: u64,
    pub(crate) address: Address,
    /// Of the block that made it; `None` while its transaction waits for one.
    pub(crate) height: Option<u32>,
    pub(crate) from_coinbase: bool,
}

/// What can be done with a coin now. The first four can be spent: they stand in the order in which
/// they go, the safest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// No reorganisation is expected to reach it.
    Settled,
    /// A reorganisation returns its transaction to the mempool.
    Recent,
    /// Its transaction, our own payment, waits for a block; we submit it again if it vanishes.
    Change,
    /// A reorganisation undoes it for ever, and every payment that descends from it.
    FreshCoinbase,
    /// A coinbase output that has not matured.
    Immature,
    /// A transaction of others, which can vanish until a block holds it, makes it.
    Pending,
    /// A payment under way has claimed it.
    Claimed,
    /// A transaction in the mempool spends it.
    Spent,
}

/// The classes that can be spent, in their order.
pub(crate) const SPENDABLE: [Class; 4] =
    [Class::Settled, Class::Recent, Class::Change, Class::FreshCoinbase];

/// What stands around a coin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings {
    /// Height of the tip.
    pub(super) tip: u32,
    /// Blocks until a coinbase output can be spent.
    pub(super) maturity: u32,
    pub(super) is_claimed: bool,
    pub(super) is_spent: bool,
    /// The transaction that made it spends nothing but coins of its own wallet.
    pub(super) is_own: bool,
}

impl Coin {
    pub(super) const fn class(&self, around: &Surroundings) -> Class {
        let Some(height) = self.height else {
            return match around {
                Surroundings { is_spent: true, .. } => Class::Spent,
                Surroundings { is_claimed: true, .. } => Class::Claimed,
                Surroundings { is_own: true, .. } => Class::Change,
                Surroundings { is_own: false, .. } => Class::Pending,
            };
        };
        let confirmations = (around.tip + 1).saturating_sub(height);
        // It can be spent in the block above the tip.
        if self.from_coinbase && confirmations < around.maturity {
            Class::Immature
        } else if around.is_spent {
            Class::Spent
        } else if around.is_claimed {
            Class::Claimed
        } else if confirmations >= SETTLED_DEPTH {
            Class::Settled
        } else if self.from_coinbase {
            Class::FreshCoinbase
        } else {
            Class::Recent
        }
    }
}

#[cfg(test)]
mod tests {
    use pentad_crypto::KeyHash;

    use super::*;

    #[test]
    fn coins_ripen_with_the_chain() {
        let class = |from_coinbase, tip| {
            let outpoint = OutPoint::NULL;
            let address = Address::P2pkh(KeyHash::from_bytes([0; 20]));
            let coin = Coin { outpoint, amount: 1, address, height: Some(10), from_coinbase };
            let (is_claimed, is_spent, is_own) = (false, false, false);
            coin.class(&Surroundings { tip, maturity: 3, is_claimed, is_spent, is_own })
        };
        assert_eq!([10, 14, 15].map(|tip| class(false, tip)), {
            use Class::{Recent, Settled};
            [Recent, Recent, Settled]
        });
        assert_eq!([10, 11, 12, 14, 15].map(|tip| class(true, tip)), {
            use Class::{FreshCoinbase, Immature, Settled};
            [Immature, Immature, FreshCoinbase, FreshCoinbase, Settled]
        });
    }
}
