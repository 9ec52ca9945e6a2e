//! Reading all blocks again for the coins and the history of some wallets.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use pentad_crypto::Address;
use pentad_keystore::WalletName;
use pentad_primitives::{Block, OutPoint};

use super::error::LedgerError;
use super::rows::Rows;
use super::store::Store;
use super::touch::{Seen, TouchPlace};
use super::{Coin, Place};

/// Rows that wait to be written together.
const ROWS_MAX: usize = 1_000;

/// A scan under way.
#[derive(Debug)]
pub(super) struct Scan {
    owners: HashMap<Address, BTreeSet<WalletName>>,
    /// And how often it was asked for each.
    wallets: BTreeMap<WalletName, u64>,
    /// Coins that no block has spent so far.
    coins: HashMap<OutPoint, Coin>,
    /// The last block that was read.
    place: Option<Place>,
    /// Transactions that touch the wallets.
    found: u64,
    rows: Rows,
}

/// What a scan has found.
pub(super) struct Scanned {
    pub(super) wallets: BTreeMap<WalletName, u64>,
    pub(super) addresses: HashSet<Address>,
    pub(super) coins: Vec<Coin>,
}

impl Scan {
    /// Begins with the first block.
    pub(super) fn new(wallets: impl IntoIterator<Item = (WalletName, u64, Vec<Address>)>) -> Self {
        let mut owners: HashMap<Address, BTreeSet<WalletName>> = HashMap::new();
        let mut names = BTreeMap::new();
        for (wallet, asked, addresses) in wallets {
            for address in addresses {
                owners.entry(address).or_default().insert(wallet.clone());
            }
            names.insert(wallet, asked);
        }
        let (coins, rows) = (HashMap::new(), Rows::default());
        Self { owners, wallets: names, coins, place: None, found: 0, rows }
    }

    pub(super) const fn place(&self) -> Option<Place> {
        self.place
    }

    pub(super) const fn wallets(&self) -> &BTreeMap<WalletName, u64> {
        &self.wallets
    }

    pub(super) const fn found(&self) -> u64 {
        self.found
    }

    /// The next block; `false`, and nothing done, when it does not follow the last one.
    pub(super) fn add(
        &mut self,
        place: Place,
        block: &Block,
        store: &Store,
    ) -> Result<bool, LedgerError> {
        if self.place.is_some_and(|below| below.hash != block.header.prev_block_hash) {
            return Ok(false);
        }
        self.place = Some(place);
        for (index, transaction) in (0..).zip(&block.transactions) {
            let at = TouchPlace { height: place.height, index };
            let seen = Seen { transaction, place: Some(at), time: block.header.time };
            let touch = seen.touch(
                |outpoint| self.coins.get(outpoint).copied(),
                |address| self.owners.contains_key(address),
            );
            let Some(mut touch) = touch else { continue };
            self.found += 1;
            for coin in &touch.spent {
                self.coins.remove(&coin.outpoint);
            }
            self.rows.put_used(&touch);
            self.coins.extend(touch.made.iter().map(|coin| (coin.outpoint, *coin)));
            let coins = touch.spent.iter().chain(&touch.made);
            let wallets: BTreeSet<_> =
                coins.filter_map(|coin| self.owners.get(&coin.address)).flatten().collect();
            for wallet in wallets {
                self.rows.put_history(wallet, at, &touch.txid);
            }
            // Other wallets may have their part in it, which is known already.
            if let Some(known) = store.touch(&touch.txid)?.filter(|it| it.place == touch.place) {
                touch.merge(known);
            }
            self.rows.put_touch(&touch);
        }
        if self.rows.0.len() >= ROWS_MAX {
            store.write_some(std::mem::take(&mut self.rows))?;
        }
        Ok(true)
    }

    /// There are no more blocks.
    pub(super) fn finish(self, store: &Store) -> Result<Scanned, LedgerError> {
        store.write_some(self.rows)?;
        let addresses = self.owners.into_keys().collect();
        Ok(Scanned { wallets: self.wallets, addresses, coins: self.coins.into_values().collect() })
    }
}
