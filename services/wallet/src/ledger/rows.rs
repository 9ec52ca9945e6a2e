//! What of the ledger is on disk, as rows of a sorted map. All can be made anew from the blocks.
//!
//! - `a`, kind u8, hash: an address of ours that was paid once;
//! - `c`, txid, vout u32: a coin of the main chain;
//! - `h`, wallet, 0, height u32, index u32: id of a transaction of the main chain that touches it;
//! - `p`: the block that the rows belong to (height u32, hash, final height u32);
//! - `t`, txid: what a transaction of the main chain does to our coins;
//! - `u`: a write of many rows is under way, so that they belong to no block;
//! - `w`, wallet: the rows hold all of this wallet.
//!
//! Numbers in keys are big-endian, so that rows stand in their order; others are little-endian.

use std::collections::BTreeSet;

use pentad_crypto::{Address, KeyHash, ScriptHash};
use pentad_keystore::WalletName;
use pentad_primitives::encode::Reader;
use pentad_primitives::{BlockHash, OutPoint, Txid};

use super::touch::TouchPlace;
use super::{Coin, Place, Touch};

pub(super) const USED: u8 = b'a';
pub(super) const COIN: u8 = b'c';
pub(super) const HISTORY: u8 = b'h';
pub(super) const PLACE: u8 = b'p';
pub(super) const TOUCH: u8 = b't';
pub(super) const UNFINISHED: u8 = b'u';
pub(super) const WALLET: u8 = b'w';

/// Rows that change, `None` for those that go; the later of two for one key counts.
#[derive(Debug, Default)]
pub(super) struct Rows(pub(super) Vec<(Vec<u8>, Option<Vec<u8>>)>);

impl Rows {
    pub(super) fn put_coin(&mut self, coin: &Coin) {
        self.0.push((coin_key(&coin.outpoint), Some(coin_value(coin))));
    }

    /// The addresses that a transaction pays are used.
    pub(super) fn put_used(&mut self, touch: &Touch) {
        let addresses: BTreeSet<&Address> = touch.made.iter().map(|coin| &coin.address).collect();
        self.0.extend(addresses.into_iter().map(|it| (used_key(it), Some(Vec::new()))));
    }

    pub(super) fn delete_coin(&mut self, outpoint: &OutPoint) {
        self.0.push((coin_key(outpoint), None));
    }

    pub(super) fn put_touch(&mut self, touch: &Touch) {
        self.0.push((touch_key(&touch.txid), Some(touch_value(touch))));
    }

    pub(super) fn delete_touch(&mut self, txid: &Txid) {
        self.0.push((touch_key(txid), None));
    }

    pub(super) fn put_history(&mut self, wallet: &WalletName, place: TouchPlace, txid: &Txid) {
        self.0.push((history_key(wallet, place), Some(txid.as_bytes().to_vec())));
    }

    pub(super) fn delete_history(&mut self, wallet: &WalletName, place: TouchPlace) {
        self.0.push((history_key(wallet, place), None));
    }

    pub(super) fn put_place(&mut self, place: &Place) {
        let mut value = place.height.to_le_bytes().to_vec();
        value.extend_from_slice(place.hash.as_bytes());
        value.extend_from_slice(&place.final_height.to_le_bytes());
        self.0.push((vec![PLACE], Some(value)));
    }

    pub(super) fn put_wallet(&mut self, wallet: &WalletName) {
        self.0.push((wallet_key(wallet), Some(Vec::new())));
    }

    pub(super) fn delete_wallet(&mut self, wallet: &WalletName) {
        self.0.push((wallet_key(wallet), None));
    }
}

pub(super) fn used_key(address: &Address) -> Vec<u8> {
    let (kind, hash) = kind_of(address);
    [&[USED, kind], hash.as_slice()].concat()
}

const fn kind_of(address: &Address) -> (u8, &[u8; 20]) {
    match address {
        Address::P2pkh(hash) => (0, hash.as_bytes()),
        Address::P2sh(hash) => (1, hash.as_bytes()),
    }
}

pub(super) fn touch_key(txid: &Txid) -> Vec<u8> {
    [&[TOUCH], txid.as_bytes().as_slice()].concat()
}

pub(super) fn wallet_key(wallet: &WalletName) -> Vec<u8> {
    [&[WALLET], wallet.as_str().as_bytes()].concat()
}

/// All of a wallet's history begins with this.
pub(super) fn history_prefix(wallet: &WalletName) -> Vec<u8> {
    [&[HISTORY], wallet.as_str().as_bytes(), &[0]].concat()
}

pub(super) fn history_key(wallet: &WalletName, place: TouchPlace) -> Vec<u8> {
    let mut key = history_prefix(wallet);
    key.extend_from_slice(&place.height.to_be_bytes());
    key.extend_from_slice(&place.index.to_be_bytes());
    key
}

fn coin_key(outpoint: &OutPoint) -> Vec<u8> {
    let mut key = vec![COIN];
    key.extend_from_slice(outpoint.txid.as_bytes());
    key.extend_from_slice(&outpoint.vout.to_be_bytes());
    key
}

pub(super) fn coin_of_row(key: &[u8], value: &[u8]) -> Option<Coin> {
    let mut reader = Reader::new(key.get(1..)?);
    let txid = Txid::from_bytes(reader.array().ok()?);
    let outpoint = OutPoint { txid, vout: u32::from_be_bytes(reader.array().ok()?) };
    let mut reader = Reader::new(value);
    let coin = coin_of(outpoint, &mut reader)?;
    (reader.remaining() == 0).then_some(coin)
}

/// `address kind: u8 | hash: 20 | amount: u64 | height: u32 | coinbase: u8`
fn coin_value(coin: &Coin) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(34);
    let (kind, hash) = kind_of(&coin.address);
    bytes.push(kind);
    bytes.extend_from_slice(hash);
    bytes.extend_from_slice(&coin.amount.to_le_bytes());
    bytes.extend_from_slice(&coin.height.unwrap_or(0).to_le_bytes());
    bytes.push(u8::from(coin.from_coinbase));
    bytes
}

fn coin_of(outpoint: OutPoint, reader: &mut Reader<'_>) -> Option<Coin> {
    let kind = reader.u8().ok()?;
    let hash = reader.array().ok()?;
    let address = match kind {
        0 => Address::P2pkh(KeyHash::from_bytes(hash)),
        1 => Address::P2sh(ScriptHash::from_bytes(hash)),
        _ => return None,
    };
    let (amount, height) = (reader.u64().ok()?, Some(reader.u32().ok()?));
    let from_coinbase = reader.u8().ok()? != 0;
    Some(Coin { outpoint, amount, address, height, from_coinbase })
}

pub(super) fn place_of(value: &[u8]) -> Option<Place> {
    let mut reader = Reader::new(value);
    let height = reader.u32().ok()?;
    let hash = BlockHash::from_bytes(reader.array().ok()?);
    Some(Place { height, hash, final_height: reader.u32().ok()? })
}

/// `height: u32 | index: u32 | time: u32 | coinbase: u8 | inputs: u32 | outputs sum: u64 | spent |
/// made`, the last two as a count (u32) and, for each, outpoint and coin.
fn touch_value(touch: &Touch) -> Vec<u8> {
    let place = touch.place.unwrap_or(TouchPlace { height: 0, index: 0 });
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&place.height.to_le_bytes());
    bytes.extend_from_slice(&place.index.to_le_bytes());
    bytes.extend_from_slice(&touch.time.to_le_bytes());
    bytes.push(u8::from(touch.is_coinbase));
    bytes.extend_from_slice(&touch.inputs.to_le_bytes());
    bytes.extend_from_slice(&touch.outputs_sum.to_le_bytes());
    for coins in [&touch.spent, &touch.made] {
        let count = u32::try_from(coins.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&count.to_le_bytes());
        for coin in coins {
            bytes.extend_from_slice(coin.outpoint.txid.as_bytes());
            bytes.extend_from_slice(&coin.outpoint.vout.to_le_bytes());
            bytes.extend_from_slice(&coin_value(coin));
        }
    }
    bytes
}

pub(super) fn touch_of(txid: Txid, value: &[u8]) -> Option<Touch> {
    let mut reader = Reader::new(value);
    let place = TouchPlace { height: reader.u32().ok()?, index: reader.u32().ok()? };
    let time = reader.u32().ok()?;
    let is_coinbase = reader.u8().ok()? != 0;
    let (inputs, outputs_sum) = (reader.u32().ok()?, reader.u64().ok()?);
    let (spent, made) = (coins_of(&mut reader)?, coins_of(&mut reader)?);
    let place = Some(place);
    let touch = Touch { txid, place, time, is_coinbase, spent, made, inputs, outputs_sum };
    (reader.remaining() == 0).then_some(touch)
}

fn coins_of(reader: &mut Reader<'_>) -> Option<Vec<Coin>> {
    let count = reader.u32().ok()?;
    let coin = |reader: &mut Reader<'_>| {
        let txid = Txid::from_bytes(reader.array().ok()?);
        let outpoint = OutPoint { txid, vout: reader.u32().ok()? };
        coin_of(outpoint, reader)
    };
    (0..count).map(|_| coin(reader)).collect()
}
