//! Wallets of several cosigners.

use std::sync::Arc;

use pentad_api::wallet::v1::{CreateMultisigRequest, CreateMultisigResponse};
use pentad_keystore::{MultisigAccount, Watch};

use super::SigningError;
use crate::error::WalletError;
use crate::wallets::Wallets;

impl Wallets {
    /// Makes a wallet of several, once the signer has proven that it is one of them.
    pub(crate) async fn create_multisig(
        &self,
        request: CreateMultisigRequest,
    ) -> Result<CreateMultisigResponse, WalletError> {
        let CreateMultisigRequest { wallet, signer, required, cosigners, passphrase } = request;
        let account = MultisigAccount::new(required, &cosigners).map_err(SigningError::from)?;
        let signer = self.inner.wallet(signer.parse()?).await?;
        let opened = Arc::clone(&signer);
        let own = self.again(passphrase, move |it| opened.cosigner(it)).await?;
        if !account.cosigners().iter().any(|cosigner| cosigner.key() == own.key()) {
            return Err(SigningError::NotCosigner(signer.name().to_string()).into());
        }
        let descriptor = account.descriptor();
        let versions = self.inner.chain.network().await?.versions;
        let watch = Watch::Multisig { account, signer: signer.name().clone() };
        let made = self.add_watched(&wallet, watch, &versions).await?;
        let address = made.addresses.into_iter().next().unwrap_or_default();
        Ok(CreateMultisigResponse { wallet: made.wallet, address, descriptor })
    }
}
