//! The coins of all wallets as events change them. Pure: rows that change are handed back, for
//! whoever writes them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use pentad_crypto::Address;
use pentad_keystore::WalletName;
use pentad_primitives::{Block, BlockHash, OutPoint, Transaction, Txid};

use super::coin::Surroundings;
use super::rows::Rows;
use super::touch::{Seen, TouchPlace};
use super::{Class, Coin, Holding, Touch};
use crate::payment::SETTLED_DEPTH;

/// Blocks whose transactions are looked up in memory: payments settle below them.
const RECENT_BLOCKS: u32 = 2 * SETTLED_DEPTH;
/// So many blocks without anything of ours may not be written down: a start hears of them again.
const UNWRITTEN_BLOCKS: u32 = 64;

/// The block that all coins belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) height: u32,
    pub(crate) hash: BlockHash,
    /// This block and all below it will never be undone.
    pub(crate) final_height: u32,
}

/// Where a transaction of ours is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whereabouts {
    Mempool,
    /// In a block of this height.
    Block(u32),
}

/// The coins of all wallets.
#[derive(Debug, Default)]
pub(crate) struct State {
    place: Option<Place>,
    /// The place that was last handed out to be written.
    written: Option<Place>,
    /// Blocks until a coinbase output can be spent.
    maturity: u32,
    /// Which wallets an address belongs to: more than one, where two have the same keys.
    owners: HashMap<Address, BTreeSet<WalletName>>,
    coins: HashMap<OutPoint, Held>,
    by_height: BTreeSet<(u32, OutPoint)>,
    wallets: HashMap<WalletName, Holding>,
    addresses: HashMap<Address, Holding>,
    /// Transactions of the mempool that touch us.
    waiting: HashMap<Txid, Touch>,
    /// Which of them spends a coin.
    spenders: HashMap<OutPoint, Txid>,
    /// Coins of payments: from the moment they are chosen until the payment has failed or is
    /// settled. No other payment may use them.
    claims: HashSet<OutPoint>,
    /// Transactions of the last blocks that touch us.
    recent: HashMap<Txid, u32>,
    recent_by_height: BTreeMap<u32, Vec<Txid>>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    coin: Coin,
    class: Class,
    is_own: bool,
}

impl State {
    /// `place` and `coins` as they were written down.
    pub(super) fn new(place: Option<Place>, coins: impl IntoIterator<Item = Coin>) -> Self {
        let mut state = Self { place, written: place, ..Self::default() };
        coins.into_iter().for_each(|coin| state.add(coin, false));
        state
    }

    pub(crate) const fn place(&self) -> Option<Place> {
        self.place
    }

    pub(super) fn set_maturity(&mut self, maturity: u32) {
        if self.maturity != maturity {
            self.maturity = maturity;
            self.sort_again(self.coins.keys().copied().collect());
        }
    }

    /// From now on these addresses are a wallet's.
    pub(crate) fn watch(&mut self, wallet: &WalletName, addresses: &[Address]) {
        let owners = &mut self.owners;
        let mut is_new =
            |address: &Address| owners.entry(*address).or_default().insert(wallet.clone());
        let new: HashSet<Address> = addresses.iter().filter(|it| is_new(it)).copied().collect();
        let holding = self.wallets.entry(wallet.clone()).or_default();
        // Coins that were on disk, or that another wallet of the same keys has brought.
        if new.iter().any(|address| self.addresses.contains_key(address)) {
            let held = self.coins.values().filter(|held| new.contains(&held.coin.address));
            held.for_each(|held| holding.add(&held.coin, held.class));
        }
    }

    pub(crate) fn is_watched(&self, wallet: &WalletName) -> bool {
        self.wallets.contains_key(wallet)
    }

    pub(crate) fn wallet(&self, wallet: &WalletName) -> Option<&Holding> {
        self.wallets.get(wallet)
    }

    pub(crate) fn address(&self, address: &Address) -> Option<&Holding> {
        self.addresses.get(address)
    }

    pub(crate) fn coin(&self, outpoint: &OutPoint) -> Option<(Coin, Class)> {
        self.coins.get(outpoint).map(|held| (held.coin, held.class))
    }

    pub(super) fn addresses_of(&self, wallet: &WalletName) -> Vec<Address> {
        let theirs = self.owners.iter().filter(|(_, owners)| owners.contains(wallet));
        theirs.map(|(address, _)| *address).collect()
    }

    pub(crate) fn is_of(&self, address: &Address, wallet: &WalletName) -> bool {
        self.owners.get(address).is_some_and(|owners| owners.contains(wallet))
    }

    /// The transactions of the mempool that touch a wallet.
    pub(crate) fn waiting_of(&self, wallet: &WalletName) -> Vec<Touch> {
        let touches = |touch: &&Touch| {
            touch.spent.iter().chain(&touch.made).any(|coin| self.is_of(&coin.address, wallet))
        };
        self.waiting.values().filter(touches).cloned().collect()
    }

    pub(super) fn waiting(&self, txid: &Txid) -> Option<&Touch> {
        self.waiting.get(txid)
    }

    pub(crate) fn touches(&self, transaction: &Transaction) -> bool {
        self.touch(Seen { transaction, place: None, time: 0 }).is_some()
    }

    /// Where a transaction of ours is, if that was seen lately.
    pub(crate) fn whereabouts(&self, txid: &Txid) -> Option<Whereabouts> {
        let in_block = self.recent.get(txid).copied().map(Whereabouts::Block);
        in_block.or_else(|| self.waiting.contains_key(txid).then_some(Whereabouts::Mempool))
    }

    /// Claims coins, or none of them when one is claimed already.
    #[must_use]
    pub(crate) fn claim(&mut self, outpoints: &[OutPoint]) -> bool {
        if outpoints.iter().any(|outpoint| self.claims.contains(outpoint)) {
            return false;
        }
        self.claims.extend(outpoints);
        self.sort_again(outpoints.to_vec());
        true
    }

    /// How many coins are claimed.
    pub(crate) fn claimed(&self) -> usize {
        self.claims.len()
    }

    /// Gives coins back.
    pub(crate) fn release(&mut self, outpoints: &[OutPoint]) {
        for outpoint in outpoints {
            self.claims.remove(outpoint);
        }
        self.sort_again(outpoints.to_vec());
    }

    /// A block comes on top.
    pub(super) fn apply(&mut self, place: Place, block: &Block) -> (Rows, Vec<Txid>) {
        let (mut rows, mut touched) = (Rows::default(), Vec::new());
        for (index, transaction) in (0..).zip(&block.transactions) {
            let at = TouchPlace { height: place.height, index };
            let seen = Seen { transaction, place: Some(at), time: block.header.time };
            let Some(touch) = self.touch(seen) else { continue };
            self.forget_waiting(&touch.txid);
            for coin in &touch.spent {
                self.remove(&coin.outpoint);
                rows.delete_coin(&coin.outpoint);
            }
            for coin in &touch.made {
                // It may have waited, and may be claimed or spent by another that waits.
                self.remove(&coin.outpoint);
                self.add(*coin, false);
                rows.put_coin(coin);
            }
            rows.put_used(&touch);
            rows.put_touch(&touch);
            for wallet in self.wallets_of(&touch) {
                rows.put_history(&wallet, at, &touch.txid);
            }
            self.remember(place.height, touch.txid);
            touched.push(touch.txid);
        }
        self.move_to(place, place.height);
        self.put_place(&mut rows);
        (rows, touched)
    }

    /// The tip goes: `touches` are what its transactions did to us.
    pub(super) fn undo(&mut self, below: Place, touches: Vec<Touch>) -> Rows {
        let mut rows = Rows::default();
        for touch in touches.iter().rev() {
            for coin in &touch.made {
                self.remove(&coin.outpoint);
                rows.delete_coin(&coin.outpoint);
            }
            for coin in &touch.spent {
                self.add(*coin, false);
                rows.put_coin(coin);
            }
            rows.delete_touch(&touch.txid);
            if let Some(at) = touch.place {
                for wallet in self.wallets_of(touch) {
                    rows.delete_history(&wallet, at);
                }
            }
            self.recent.remove(&touch.txid);
        }
        // Those that the mempool has taken back already are there again.
        let back = touches.iter().filter_map(|touch| self.waiting.get(&touch.txid));
        let back: Vec<Touch> = back.cloned().collect();
        back.iter().for_each(|touch| self.add_made(touch));
        self.recent_by_height.remove(&(below.height + 1));
        self.move_to(below, below.height + 1);
        self.put_place(&mut rows);
        rows
    }

    /// Rows of ours belong to the place, which is written with them; alone, it is written now and
    /// then.
    fn put_place(&mut self, rows: &mut Rows) {
        let height = |place: Option<Place>| place.map(|place| place.height);
        let blocks = height(self.written).zip(height(self.place));
        let is_near = blocks.is_some_and(|(a, b)| a.abs_diff(b) < UNWRITTEN_BLOCKS);
        if !rows.0.is_empty() || !is_near {
            self.put_unwritten_place(rows);
        }
    }

    /// The place, if it was not handed out to be written.
    pub(super) fn put_unwritten_place(&mut self, rows: &mut Rows) {
        if let Some(place) = self.place.filter(|_| self.written != self.place) {
            rows.put_place(&place);
            self.written = Some(place);
        }
    }

    pub(super) fn set_final(&mut self, height: u32) {
        if let Some(place) = &mut self.place {
            place.final_height = place.final_height.max(height);
        }
    }

    /// A transaction entered the mempool; says whether it touches us.
    pub(super) fn add_waiting(&mut self, transaction: &Transaction, time: u32) -> Option<Txid> {
        let touch = self.touch(Seen { transaction, place: None, time })?;
        let txid = touch.txid;
        for coin in &touch.spent {
            self.spenders.insert(coin.outpoint, txid);
        }
        self.sort_again(touch.spent.iter().map(|coin| coin.outpoint).collect());
        self.add_made(&touch);
        self.waiting.insert(txid, touch);
        Some(txid)
    }

    /// A transaction left the mempool.
    pub(super) fn remove_waiting(&mut self, txid: &Txid) {
        if let Some(touch) = self.forget_waiting(txid) {
            for coin in &touch.made {
                if self.coins.get(&coin.outpoint).is_some_and(|held| held.coin.height.is_none()) {
                    self.remove(&coin.outpoint);
                }
            }
        }
    }

    /// What waits is told anew.
    pub(super) fn clear_waiting(&mut self) {
        let waiting: Vec<Txid> = self.waiting.keys().copied().collect();
        waiting.iter().for_each(|txid| self.remove_waiting(txid));
    }

    /// The coins of some addresses are these, of the block that all belong to.
    pub(super) fn replace(&mut self, addresses: &HashSet<Address>, coins: Vec<Coin>) -> Rows {
        let mut rows = Rows::default();
        let is_theirs = |held: &&Held| addresses.contains(&held.coin.address);
        let confirmed = |held: &&Held| held.coin.height.is_some();
        let old = self.coins.values().filter(is_theirs).filter(confirmed);
        let mut old: HashMap<OutPoint, Coin> =
            old.map(|held| (held.coin.outpoint, held.coin)).collect();
        for coin in coins {
            // Most are as they were: nothing is to be written for them.
            if old.remove(&coin.outpoint) != Some(coin) {
                self.add(coin, false);
                rows.put_coin(&coin);
            }
        }
        for outpoint in old.keys() {
            self.remove(outpoint);
            rows.delete_coin(outpoint);
        }
        // What was found in blocks up to the place must not be found in them again.
        self.put_unwritten_place(&mut rows);
        rows
    }

    /// All starts over at a block: what is known are addresses, and what is claimed. Returns the
    /// wallets.
    pub(super) fn reset(&mut self, place: Place) -> Vec<WalletName> {
        let old = std::mem::take(self);
        let names: Vec<WalletName> = old.wallets.into_keys().collect();
        *self = Self {
            place: Some(place),
            maturity: old.maturity,
            owners: old.owners,
            claims: old.claims,
            wallets: names.iter().map(|name| (name.clone(), Holding::default())).collect(),
            ..Self::default()
        };
        names
    }

    fn touch(&self, seen: Seen<'_>) -> Option<Touch> {
        seen.touch(
            |outpoint| self.coins.get(outpoint).map(|held| held.coin),
            |address| self.owners.contains_key(address),
        )
    }

    /// The coins that a transaction of the mempool makes.
    fn add_made(&mut self, touch: &Touch) {
        let all_ours = touch.spent.len() == touch.inputs as usize;
        for coin in &touch.made {
            // It is in a block as well, by what we know: that counts until it is undone.
            if !self.coins.contains_key(&coin.outpoint) {
                let owners = self.owners.get(&coin.address);
                let mut owners = owners.into_iter().flatten();
                let is_payer = |wallet: &WalletName| {
                    touch.spent.iter().all(|spent| self.is_of(&spent.address, wallet))
                };
                let is_own = all_ours && owners.any(is_payer);
                self.add(*coin, is_own);
            }
        }
    }

    fn forget_waiting(&mut self, txid: &Txid) -> Option<Touch> {
        let touch = self.waiting.remove(txid)?;
        let spent = touch.spent.iter().map(|coin| coin.outpoint);
        let spent: Vec<OutPoint> =
            spent.filter(|outpoint| self.spenders.get(outpoint) == Some(txid)).collect();
        for outpoint in &spent {
            self.spenders.remove(outpoint);
        }
        self.sort_again(spent);
        Some(touch)
    }

    fn wallets_of(&self, touch: &Touch) -> BTreeSet<WalletName> {
        let coins = touch.spent.iter().chain(&touch.made);
        coins.filter_map(|coin| self.owners.get(&coin.address)).flatten().cloned().collect()
    }

    fn remember(&mut self, height: u32, txid: Txid) {
        self.recent.insert(txid, height);
        self.recent_by_height.entry(height).or_default().push(txid);
    }

    /// The tip moves across the block at `height`, up or down.
    fn move_to(&mut self, place: Place, height: u32) {
        let final_height = self.place.map_or(0, |place| place.final_height);
        self.place = Some(Place { final_height: final_height.max(place.final_height), ..place });
        // Coins of these heights change their class, in whichever direction.
        let settling = height.checked_sub(SETTLED_DEPTH - 1);
        let ripening = (height + 1).checked_sub(self.maturity.max(1));
        for height in settling.into_iter().chain(ripening) {
            let here = (height, OutPoint { txid: Txid::ZERO, vout: 0 })
                ..(height + 1, OutPoint { txid: Txid::ZERO, vout: 0 });
            let outpoints = self.by_height.range(here).map(|(_, outpoint)| *outpoint).collect();
            self.sort_again(outpoints);
        }
        let oldest = height.saturating_sub(RECENT_BLOCKS);
        while let Some(entry) = self.recent_by_height.first_entry().filter(|it| *it.key() < oldest)
        {
            for txid in entry.remove() {
                self.recent.remove(&txid);
            }
        }
    }

    fn surroundings(&self, coin: &Coin, is_own: bool) -> Surroundings {
        Surroundings {
            tip: self.place.map_or(0, |place| place.height),
            maturity: self.maturity,
            is_claimed: self.claims.contains(&coin.outpoint),
            is_spent: self.spenders.contains_key(&coin.outpoint),
            is_own,
        }
    }

    fn add(&mut self, coin: Coin, is_own: bool) {
        self.remove(&coin.outpoint);
        let class = coin.class(&self.surroundings(&coin, is_own));
        let held = Held { coin, class, is_own };
        self.coins.insert(coin.outpoint, held);
        if let Some(height) = coin.height {
            self.by_height.insert((height, coin.outpoint));
        }
        self.in_holdings(&coin, |holding| holding.add(&coin, class));
    }

    fn remove(&mut self, outpoint: &OutPoint) {
        let Some(Held { coin, class, .. }) = self.coins.remove(outpoint) else {
            return;
        };
        if let Some(height) = coin.height {
            self.by_height.remove(&(height, coin.outpoint));
        }
        self.in_holdings(&coin, |holding| holding.remove(&coin, class));
        if self.addresses.get(&coin.address).is_some_and(Holding::is_empty) {
            self.addresses.remove(&coin.address);
        }
    }

    /// Something around these coins has changed.
    fn sort_again(&mut self, outpoints: Vec<OutPoint>) {
        for outpoint in outpoints {
            let Some(held) = self.coins.get(&outpoint).copied() else { continue };
            let Held { coin, class: before, is_own } = held;
            let class = coin.class(&self.surroundings(&coin, is_own));
            if class != before {
                self.coins.insert(outpoint, Held { class, ..held });
                self.in_holdings(&coin, |holding| {
                    holding.remove(&coin, before);
                    holding.add(&coin, class);
                });
            }
        }
    }

    fn in_holdings(&mut self, coin: &Coin, change: impl Fn(&mut Holding)) {
        change(self.addresses.entry(coin.address).or_default());
        for wallet in self.owners.get(&coin.address).into_iter().flatten() {
            if let Some(holding) = self.wallets.get_mut(wallet) {
                change(holding);
            }
        }
    }
}
