//! Creator and updater: a payment of a wallet's coins that nobody has signed.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use pentad_api::wallet::v1::send_request::From;
use pentad_api::wallet::v1::{CreatePsbtRequest, SendRequest};
use pentad_crypto::PublicKey;
use pentad_keystore::{Cosigner, KeyPath, MultisigAccount, Wallet, WalletName};
use pentad_primitives::{Script, TxOut};
use pentad_psbt::{Derivation, Derivations, Psbt};

use super::SigningError;
use crate::audit::address;
use crate::error::WalletError;
use crate::payment::{INPUT_BYTES, Order, multisig_input_bytes};
use crate::send::Prepared;
use crate::wallets::{Inner, Wallets};

impl Wallets {
    /// Chooses coins for a payment; answers with the fee in units, too.
    pub(crate) async fn create_psbt(
        &self,
        request: CreatePsbtRequest,
    ) -> Result<(Psbt, u64), WalletError> {
        let network = self.inner.chain.network().await?;
        let wallet = self.inner.wallet(request.wallet.parse::<WalletName>()?).await?;
        self.inner.find_addresses(&wallet).await?;
        let mut order = Order::check(asked(request), &network, self.inner.fee_rate)?;
        order.is_unsigned = true;
        order.input_bytes = match wallet.multisig() {
            Some((account, _)) => {
                multisig_input_bytes(account.required().into(), account.cosigners().len())
            }
            None => INPUT_BYTES,
        };
        let Prepared { made, .. } = self.inner.prepare(&order, &wallet, &network).await?;
        let mut psbt = Psbt::new(made.transaction).map_err(SigningError::from)?;
        self.inner.update(&mut psbt, &wallet).await?;
        Ok((psbt, made.fee))
    }
}

/// As a request to send, which nothing of is sent.
fn asked(request: CreatePsbtRequest) -> SendRequest {
    let CreatePsbtRequest {
        wallet,
        payments,
        fee_rate,
        data,
        lock_time,
        subtract_fee,
        replaceable,
    } = request;
    SendRequest {
        from: Some(From::Wallet(wallet)),
        payments,
        fee_rate,
        dry_run: true,
        data,
        lock_time,
        subtract_fee,
        replaceable,
        ..SendRequest::default()
    }
}

impl Inner {
    /// Tells what is spent, and what signers of an account of several need to know.
    async fn update(&self, psbt: &mut Psbt, wallet: &Arc<Wallet>) -> Result<(), WalletError> {
        let mut known = HashMap::new();
        for index in 0..psbt.inputs.len() {
            let txid = psbt.transaction().inputs[index].previous_output.txid;
            if let Entry::Vacant(unknown) = known.entry(txid) {
                unknown.insert(self.chain.transaction(txid).await?);
            }
            psbt.inputs[index].previous = known.get(&txid).cloned();
        }
        let Some((account, _)) = wallet.multisig() else {
            return Ok(());
        };
        for index in 0..psbt.inputs.len() {
            let spent = psbt.spent(index).map_err(SigningError::from)?;
            if let Some((script, derivations)) = of_account(account, wallet, spent) {
                let input = &mut psbt.inputs[index];
                (input.redeem_script, input.derivations) = (Some(script), derivations);
            }
        }
        let outputs = psbt.transaction().outputs.clone();
        for (output, told) in outputs.iter().zip(&mut psbt.outputs) {
            if let Some((script, derivations)) = of_account(account, wallet, output) {
                (told.redeem_script, told.derivations) = (Some(script), derivations);
            }
        }
        Ok(())
    }
}

/// The redeem script of an output to the account, and where its keys come from.
fn of_account(
    account: &MultisigAccount,
    wallet: &Wallet,
    output: &TxOut,
) -> Option<(Script, Derivations)> {
    let place: KeyPath = wallet.key_path(&address(output)?)?;
    let keys = account.keys(place)?;
    let derivation = |(key, cosigner): (&PublicKey, &Cosigner)| {
        let (fingerprint, path) = cosigner.derivation(place);
        (key.to_bytes(), Derivation { fingerprint, path })
    };
    let derivations = keys.iter().zip(account.cosigners()).map(derivation).collect();
    Some((account.script(place)?.redeem_script(), derivations))
}
