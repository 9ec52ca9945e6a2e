//! What is written down of a use of a key, before it has an effect.

use std::sync::Arc;

use pentad_crypto::{Address, AddressVersions, ScriptTemplate, classify};
use pentad_keystore::audit::{Event, Paid};
use pentad_keystore::{KeystoreError, Wallet};
use pentad_primitives::{Transaction, TxOut};

use crate::error::WalletError;
use crate::wallets::Inner;

impl Inner {
    /// Returns once an entry about a wallet is durable: then what it tells of may be done.
    pub(crate) async fn note(&self, wallet: &Wallet, event: Event) -> Result<(), WalletError> {
        self.audit.append(Some(wallet.name()), event).await?;
        Ok(())
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

/// A signed payment whose first `payments` outputs are not change.
pub(crate) fn payment_signed(
    transaction: &Transaction,
    payments: usize,
    fee: u64,
    dry_run: bool,
    versions: &AddressVersions,
) -> Event {
    let paid = transaction.outputs.iter().take(payments).map(|output| paid(output, versions));
    Event::PaymentSigned {
        txid: transaction.txid().to_string(),
        paid: paid.collect(),
        fee,
        dry_run,
    }
}

fn paid(output: &TxOut, versions: &AddressVersions) -> Paid {
    let to = match classify(&output.script_pubkey) {
        Some(ScriptTemplate::P2pkh(hash)) => Address::P2pkh(hash).encode(versions),
        Some(ScriptTemplate::P2sh(hash)) => Address::P2sh(hash).encode(versions),
        Some(ScriptTemplate::Data(data)) => format!("data:{}", hex::encode(data)),
        None => format!("script:{}", hex::encode(output.script_pubkey.as_bytes())),
    };
    Paid { to, amount: output.amount.units() }
}
