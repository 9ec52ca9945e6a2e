use std::sync::{Mutex, PoisonError};

use pentad_crypto::Address;
use pentad_primitives::OutPoint;

use super::{Leases, Selection};
use crate::error::WalletError;
use pentad_keystore::Wallet;

/// What a payment has taken: coins, and perhaps a change address. Given back when it is dropped,
/// unless the payment was made.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    leases: &'a Mutex<Leases>,
    wallet: &'a Wallet,
    outpoints: Vec<OutPoint>,
    change: Option<Address>,
}

impl<'a> Claim<'a> {
    /// Claims the selected coins of `wallet`.
    pub(crate) fn coins(
        selection: &Selection,
        wallet: &'a Wallet,
        leases: &'a Mutex<Leases>,
    ) -> Result<Self, WalletError> {
        let outpoints: Vec<OutPoint> = selection.coins.iter().map(|coin| coin.outpoint).collect();
        let claimed = leases.lock().unwrap_or_else(PoisonError::into_inner).claim(&outpoints);
        if claimed {
            Ok(Self { leases, wallet, outpoints, change: None })
        } else {
            // One wallet's payments take turns: this is a wallet of the same keys by another name.
            Err(WalletError::CoinsClaimed)
        }
    }

    /// Adds the change address that was taken for this payment.
    pub(crate) const fn with_change(mut self, change: Address) -> Self {
        self.change = Some(change);
        self
    }

    /// The payment is in the journal: the claim lasts until it is settled.
    pub(crate) fn keep(mut self) {
        self.outpoints.clear();
        self.change = None;
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        leases.release(&self.outpoints);
        if let Some(change) = self.change {
            self.wallet.give_back(change);
        }
    }
}
