use std::path::Path;

use pentad_crypto::Address;
use pentad_keystore::WalletName;
use pentad_primitives::Txid;
use pentad_store::open_sled;
use sled::Batch;

use super::error::LedgerError;
use super::rows::{
    COIN, PLACE, Rows, UNFINISHED, coin_of_row, history_key, history_prefix, place_of, touch_key,
    touch_of, used_key, wallet_key,
};
use super::touch::TouchPlace;
use super::{Coin, Place, Touch};

/// Pages that sled may keep in memory; coins are read once, history seldom.
const CACHE_BYTES: u64 = 16 * 1024 * 1024;
/// What is not on disk when the process dies is told again by the chain service.
const FLUSH_EVERY_MS: u64 = 1_000;
/// Rows in one batch: larger ones cost sled far more memory.
const BATCH_ROWS: usize = 1_000;

/// The ledger on disk.
#[derive(Debug)]
pub(super) struct Store {
    rows: sled::Db,
}

impl Store {
    /// Opens or makes the ledger in `directory`.
    pub(super) fn open(directory: &Path) -> Result<Self, LedgerError> {
        let config = sled::Config::new()
            .path(directory)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(Some(FLUSH_EVERY_MS));
        let store = Self { rows: open_sled(&config)? };
        if store.rows.contains_key([UNFINISHED])? {
            tracing::warn!("the ledger was being written when the process died: made anew");
            store.clear()?;
        }
        Ok(store)
    }

    /// The block that all belongs to, and the coins of the main chain.
    pub(super) fn load(&self) -> Result<(Option<Place>, Vec<Coin>), LedgerError> {
        let place = self.rows.get([PLACE])?;
        let place = place.map(|value| place_of(&value).ok_or(LedgerError::Damaged)).transpose()?;
        let coins = self.rows.scan_prefix([COIN]).map(|row| {
            let (key, value) = row?;
            coin_of_row(&key, &value).ok_or(LedgerError::Damaged)
        });
        Ok((place, coins.collect::<Result<_, _>>()?))
    }

    /// All rows or none, also when the process dies meanwhile.
    pub(super) fn write(&self, rows: Rows) -> Result<(), LedgerError> {
        if rows.0.len() <= BATCH_ROWS {
            return self.write_some(rows);
        }
        self.rows.insert([UNFINISHED], &[])?;
        self.write_some(rows)?;
        self.rows.remove([UNFINISHED])?;
        Ok(())
    }

    /// Some of them, when the process dies meanwhile.
    pub(super) fn write_some(&self, rows: Rows) -> Result<(), LedgerError> {
        let mut rows = rows.0.into_iter().peekable();
        while rows.peek().is_some() {
            let mut batch = Batch::default();
            for (key, value) in rows.by_ref().take(BATCH_ROWS) {
                match value {
                    Some(value) => batch.insert(key, value),
                    None => batch.remove(key),
                }
            }
            self.rows.apply_batch(batch)?;
        }
        Ok(())
    }

    /// What a transaction of the main chain does to our coins.
    pub(super) fn touch(&self, txid: &Txid) -> Result<Option<Touch>, LedgerError> {
        let row = self.rows.get(touch_key(txid))?;
        row.map(|row| touch_of(*txid, &row).ok_or(LedgerError::Damaged)).transpose()
    }

    /// A wallet's transactions of the main chain below a place, the last one first.
    pub(super) fn history(
        &self,
        wallet: &WalletName,
        below: TouchPlace,
        limit: usize,
    ) -> Result<Vec<Touch>, LedgerError> {
        let range = history_prefix(wallet)..history_key(wallet, below);
        let touches = self.rows.range(range).rev().take(limit).map(|row| {
            let (_, txid) = row?;
            let txid = txid.as_ref().try_into().map_err(|_| LedgerError::Damaged)?;
            self.touch(&Txid::from_bytes(txid))?.ok_or(LedgerError::Damaged)
        });
        touches.collect()
    }

    /// How many transactions of the main chain touch a wallet.
    pub(super) fn count(&self, wallet: &WalletName) -> Result<u64, LedgerError> {
        let rows = self.rows.scan_prefix(history_prefix(wallet));
        Ok(rows.keys().try_fold(0, |count, key| key.map(|_| count + 1))?)
    }

    /// Forgets a wallet's history.
    pub(super) fn clear_history(&self, wallet: &WalletName) -> Result<(), LedgerError> {
        for row in self.rows.scan_prefix(history_prefix(wallet)) {
            self.rows.remove(row?.0)?;
        }
        Ok(())
    }

    /// Whether an address was ever paid in a block.
    pub(super) fn is_used(&self, address: &Address) -> Result<bool, LedgerError> {
        Ok(self.rows.contains_key(used_key(address))?)
    }

    /// Whether the rows hold all of a wallet.
    pub(super) fn is_complete(&self, wallet: &WalletName) -> Result<bool, LedgerError> {
        Ok(self.rows.contains_key(wallet_key(wallet))?)
    }

    pub(super) fn clear(&self) -> Result<(), LedgerError> {
        Ok(self.rows.clear()?)
    }

    pub(super) fn flush(&self) -> Result<(), LedgerError> {
        self.rows.flush()?;
        Ok(())
    }
}
