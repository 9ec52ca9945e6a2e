use std::collections::BTreeSet;

use pentad_primitives::OutPoint;

use super::{Class, Coin, SPENDABLE};
use crate::balance::Balance;

/// Coins by their amounts.
pub(crate) type Shelf = BTreeSet<(u64, OutPoint)>;

/// The coins of a wallet or of an address, sorted for payments, with their sums.
#[derive(Debug, Default)]
pub(crate) struct Holding {
    shelves: [Shelf; SPENDABLE.len()],
    pub(crate) balance: Balance,
    /// Units, on their way to us in the mempool.
    pub(crate) pending: u64,
    /// Units that payments under way have claimed.
    pub(crate) claimed: u64,
    /// How many coins of all classes.
    count: usize,
}

impl Holding {
    /// The coins that can be spent, the safest first.
    pub(crate) const fn shelves(&self) -> &[Shelf; SPENDABLE.len()] {
        &self.shelves
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn add(&mut self, coin: &Coin, class: Class) {
        self.count += 1;
        if let Some(shelf) = self.shelves.get_mut(class as usize) {
            shelf.insert((coin.amount, coin.outpoint));
        }
        self.count_units(coin, class, u64::saturating_add, i64::saturating_add);
    }

    pub(super) fn remove(&mut self, coin: &Coin, class: Class) {
        self.count = self.count.saturating_sub(1);
        if let Some(shelf) = self.shelves.get_mut(class as usize) {
            shelf.remove(&(coin.amount, coin.outpoint));
        }
        self.count_units(coin, class, u64::saturating_sub, i64::saturating_sub);
    }

    /// Put and delete share this.
    fn count_units(
        &mut self,
        coin: &Coin,
        class: Class,
        count: impl Fn(u64, u64) -> u64,
        count_signed: impl Fn(i64, i64) -> i64,
    ) {
        let (amount, signed) = (coin.amount, i64::try_from(coin.amount).unwrap_or(i64::MAX));
        let balance = &mut self.balance;
        match (coin.height, class) {
            (Some(_), Class::Immature) => balance.immature = count(balance.immature, amount),
            (Some(_), _) => balance.confirmed = count(balance.confirmed, amount),
            // Came and went in the mempool.
            (None, Class::Spent) => {}
            (None, _) => balance.pending = count_signed(balance.pending, signed),
        }
        match class {
            Class::Spent if coin.height.is_some() => {
                balance.pending = count_signed(balance.pending, -signed);
            }
            Class::Pending => self.pending = count(self.pending, amount),
            Class::Claimed => self.claimed = count(self.claimed, amount),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use pentad_crypto::{Address, KeyHash};
    use pentad_primitives::Txid;

    use super::*;

    #[test]
    fn pending_is_the_signed_effect_of_the_mempool() {
        let coin = |vout, amount, height| Coin {
            outpoint: OutPoint { txid: Txid::from_bytes([1; 32]), vout },
            amount,
            address: Address::P2pkh(KeyHash::from_bytes([0; 20])),
            height,
            from_coinbase: false,
        };
        let coins = [
            (coin(0, 1000, Some(1)), Class::Spent),
            (coin(1, 200, Some(1)), Class::Settled),
            (coin(2, 50, Some(1)), Class::Immature),
            (coin(3, 900, None), Class::Spent),
            (coin(4, 700, None), Class::Change),
            (coin(5, 30, Some(1)), Class::Claimed),
        ];
        let mut holding = Holding::default();
        for (coin, class) in &coins {
            holding.add(coin, *class);
        }
        let balance = Balance { confirmed: 1230, pending: -300, immature: 50 };
        assert_eq!((holding.balance, holding.claimed), (balance, 30));
        assert_eq!(holding.shelves().each_ref().map(BTreeSet::len), [1, 0, 1, 0]);
        for (coin, class) in &coins {
            holding.remove(coin, *class);
        }
        assert!(holding.is_empty() && holding.shelves().iter().all(BTreeSet::is_empty));
        assert_eq!((holding.balance, holding.claimed), (Balance::default(), 0));
    }
}
