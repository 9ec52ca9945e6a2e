//! What is written down of a use of a key, before it has an effect.

use std::sync::Arc;

use pentad_crypto::{Address, AddressVersions, ScriptTemplate, classify};
use pentad_keystore::audit::{AuditError, Entry, Event, Paid};
use pentad_keystore::{KeystoreError, Wallet, WalletName};
use pentad_primitives::TxOut;

use crate::error::WalletError;
use crate::metrics::Kept;
use crate::payment::{Made, unix_time};
use crate::wallets::Inner;

impl Inner {
    /// Returns once an entry about a wallet is durable: then what it tells of may be done.
    pub(crate) async fn note(&self, wallet: &Wallet, event: Event) -> Result<(), WalletError> {
        let number = self.append(Some(wallet.name()), event.clone()).await?;
        let (time, wallet) = (unix_time(), wallet.name().to_string());
        self.book().note(&Entry { number, time, durable: number, wallet, event }, false);
        Ok(())
    }

    /// Returns the number of an entry once it is durable.
    pub(crate) async fn append(
        &self,
        wallet: Option<&WalletName>,
        event: Event,
    ) -> Result<u64, AuditError> {
        self.metrics.writes.wait(Kept::Audit, self.audit.append(wallet, event)).await
    }

    /// Writes down what came of an attempt that needs the passphrase: `event` if it went well, and
    /// that it was refused if the passphrase was wrong.
    pub(crate) async fn note_attempt<T>(
        &self,
        wallet: &Arc<Wallet>,
        event: Event,
        outcome: Result<T, WalletError>,
    ) -> Result<T, WalletError> {
        match outcome {
            Ok(done) => {
                self.note(wallet, event).await?;
                Ok(done)
            }
            Err(error) => {
                if matches!(error, WalletError::Keystore(KeystoreError::CannotOpen(_))) {
                    self.note(wallet, Event::Refused { attempt: event.name() }).await?;
                }
                Err(error)
            }
        }
    }
}

/// What outputs pay to others than the wallet itself.
pub(crate) fn paid_to_others(
    outputs: &[TxOut],
    wallet: &Wallet,
    versions: &AddressVersions,
) -> Vec<Paid> {
    let is_own = |output: &&TxOut| {
        address(output).is_some_and(|address| wallet.key_path(&address).is_some())
    };
    outputs.iter().filter(|output| !is_own(output)).map(|output| paid(output, versions)).collect()
}

pub(crate) fn address(output: &TxOut) -> Option<Address> {
    match classify(&output.script_pubkey)? {
        ScriptTemplate::P2pkh(hash) => Some(Address::P2pkh(hash)),
        ScriptTemplate::P2sh(hash) => Some(Address::P2sh(hash)),
        ScriptTemplate::Data(_) => None,
    }
}

pub(crate) fn paid(output: &TxOut, versions: &AddressVersions) -> Paid {
    let to = match (address(output), classify(&output.script_pubkey)) {
        (Some(address), _) => address.encode(versions),
        (None, Some(ScriptTemplate::Data(data))) => format!("data:{}", hex::encode(data)),
        (None, _) => format!("script:{}", hex::encode(output.script_pubkey.as_bytes())),
    };
    Paid { to, amount: output.amount.units() }
}

/// Units that leave a wallet with payments to others and a fee.
pub(crate) fn leaving(foreign: &[Paid], fee: u64) -> u64 {
    foreign.iter().map(|paid| paid.amount).fold(fee, u64::saturating_add)
}

/// Units that a payment is about to take out of a wallet, counted before it is signed. Given back
/// when this is dropped, unless the payment was signed.
pub(crate) struct Reservation<'a> {
    inner: &'a Inner,
    wallet: &'a Wallet,
    units: u64,
    time: u64,
}

impl<'a> Reservation<'a> {
    /// Counts the units, if the wallet's policy has room for them today.
    pub(crate) fn new(
        inner: &'a Inner,
        wallet: &'a Wallet,
        units: u64,
    ) -> Result<Self, WalletError> {
        let limit = wallet.policy().and_then(|policy| policy.limit_per_day);
        let time = unix_time();
        inner.book().reserve(wallet.name().as_str(), units, limit, time)?;
        Ok(Self { inner, wallet, units, time })
    }

    /// How much was counted.
    pub(crate) const fn units(&self) -> u64 {
        self.units
    }

    /// The payment is signed: the units are spent.
    pub(crate) const fn keep(&mut self) {
        self.units = 0;
    }

    /// Has the signed payment in the audit log; from then on the units are spent.
    pub(crate) async fn sign(mut self, signed: Signed<'_>) -> Result<(), WalletError> {
        let Signed { made, paid, dry_run, approval } = signed;
        let (spent, fee) = (self.units, made.fee);
        let txid = made.transaction.txid().to_string();
        let replaces = made.replaces.map(|txid| txid.to_string()).unwrap_or_default();
        let event = Event::PaymentSigned { txid, paid, fee, spent, dry_run, approval, replaces };
        self.inner.note(self.wallet, event).await?;
        self.units = if dry_run { spent } else { 0 };
        Ok(())
    }
}

/// What the audit log tells of a signed payment.
pub(crate) struct Signed<'a> {
    pub(crate) made: &'a Made,
    pub(crate) paid: Vec<Paid>,
    pub(crate) dry_run: bool,
    pub(crate) approval: String,
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.inner.book().release(self.wallet.name().as_str(), self.units, self.time);
    }
}
