//! Signer: what is a wallet's own to sign.

use std::sync::Arc;

use pentad_keystore::audit::Event;
use pentad_keystore::{KeyPath, MultisigAccount, Signer, Wallet, WalletName};
use pentad_psbt::Psbt;

use super::SigningError;
use crate::audit::{Reservation, address, leaving, paid_to_others};
use crate::error::WalletError;
use crate::policy::Judgement;
use crate::wallets::Inner;

impl Inner {
    /// Adds the signatures of a wallet to all inputs that are its own; says how many.
    pub(crate) async fn sign_psbt(
        &self,
        psbt: &mut Psbt,
        name: WalletName,
    ) -> Result<u32, WalletError> {
        let wallet = self.wallet(name).await?;
        self.find_addresses(&wallet).await?;
        let signing = match wallet.multisig() {
            Some((_, signer)) => self.wallet(signer.parse()?).await?,
            None => Arc::clone(&wallet),
        };
        let signer = signing.signer()?;
        let inputs = own_inputs(psbt, &wallet)?;
        let fee = psbt.fee().map_err(SigningError::from)?;
        let versions = self.chain.network().await?.versions;
        let paid = paid_to_others(&psbt.transaction().outputs, &wallet, &versions);
        if let Judgement::Ask { reason } = self.judge(&signing, &paid)? {
            let wallet = signing.name().to_string();
            return Err(SigningError::Unapproved { wallet, reason }.into());
        }
        let mut reservation = Reservation::new(self, &signing, leaving(&paid, fee))?;
        let mut signed = psbt.clone();
        let (mut all, places) = (psbt.clone(), inputs.clone());
        let account = wallet.multisig().map(|(account, _)| account.clone());
        let work = move || sign_all(&mut all, &places, account.as_ref(), &signer).map(|()| all);
        signed.combine(tokio::task::spawn_blocking(work).await??).map_err(SigningError::from)?;
        let event = Event::PsbtSigned {
            of: wallet.name().to_string(),
            unsigned_txid: signed.transaction().txid().to_string(),
            inputs: inputs.iter().map(|(index, _)| *index).collect(),
            paid,
            spent: reservation.units(),
        };
        self.note(&signing, event).await?;
        reservation.keep();
        *psbt = signed;
        Ok(u32::try_from(inputs.len()).unwrap_or(u32::MAX))
    }
}

/// The inputs that spend a wallet's outputs, with the places of their keys. All inputs have to
/// tell what they spend: the fee is theirs.
fn own_inputs(psbt: &Psbt, wallet: &Wallet) -> Result<Vec<(usize, KeyPath)>, WalletError> {
    let mut own = Vec::new();
    for index in 0..psbt.inputs.len() {
        let spent = psbt.spent(index).map_err(SigningError::from)?;
        if let Some(place) = address(spent).and_then(|address| wallet.key_path(&address)) {
            own.push((index, place));
        }
    }
    if own.is_empty() {
        return Err(SigningError::Foreign(wallet.name().to_string()).into());
    }
    Ok(own)
}

fn sign_all(
    psbt: &mut Psbt,
    places: &[(usize, KeyPath)],
    account: Option<&MultisigAccount>,
    signer: &Signer,
) -> Result<(), WalletError> {
    for &(index, place) in places {
        let key = match account {
            None => signer.key(place)?,
            Some(account) => {
                // Our own: another's copy may have left it out.
                let script = account.script(place).map(|script| script.redeem_script());
                psbt.inputs[index].redeem_script = script;
                let foreign = || SigningError::Foreign(String::new());
                signer.cosigner_key(place).ok_or_else(foreign)??
            }
        };
        psbt.sign(index, &key).map_err(SigningError::from)?;
    }
    Ok(())
}

/// Whether all inputs have the signatures that they take.
pub(crate) fn is_complete(psbt: &Psbt) -> Result<bool, SigningError> {
    for index in 0..psbt.inputs.len() {
        let (have, need) = psbt.progress(index)?;
        if have < need {
            return Ok(false);
        }
    }
    Ok(true)
}
