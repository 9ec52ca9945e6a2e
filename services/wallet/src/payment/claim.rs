use pentad_crypto::Address;
use pentad_keystore::Wallet;
use pentad_primitives::OutPoint;

use crate::ledger::Ledger;

/// What a payment has taken: coins, and perhaps a change address. Given back when it is dropped,
/// unless the payment was made.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    ledger: &'a Ledger,
    wallet: &'a Wallet,
    outpoints: Vec<OutPoint>,
    change: Option<Address>,
}

impl<'a> Claim<'a> {
    /// Of coins that were claimed for a payment of `wallet`.
    pub(crate) const fn new(
        ledger: &'a Ledger,
        wallet: &'a Wallet,
        outpoints: Vec<OutPoint>,
    ) -> Self {
        Self { ledger, wallet, outpoints, change: None }
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
        self.ledger.release(&self.outpoints);
        if let Some(change) = self.change {
            self.wallet.give_back(change);
        }
    }
}
