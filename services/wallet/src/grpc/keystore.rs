//! Keys: wallets made, opened, exported; texts signed.

use std::sync::Arc;
use std::time::Duration;

use pentad_api::wallet::v1::keystore_service_server::KeystoreService;
use pentad_api::wallet::v1::{Wallet as WalletMessage, *};
use pentad_crypto::{Address, AddressVersions, MessageSignature};
use pentad_keystore::audit::Event;
use pentad_keystore::{KeyPath, Keystore, KeystoreError, Passphrase, Wallet, WalletName, Words};
use tonic::{Request, Response, Status};
use zeroize::Zeroizing;

use super::labels::of_addresses;
use crate::error::WalletError;
use crate::message;
use crate::wallets::{Inner, Wallets};

/// How long a wallet stays open if the caller does not say.
const UNLOCK_SECONDS_DEFAULT: u32 = 300;
/// A wallet stays open for a day at most.
const UNLOCK_SECONDS_MAX: u32 = 86_400;
/// What a WIF key's version byte has more than that of P2PKH addresses (Bitcoin's 0x80 and 0x00).
pub(crate) const WIF_VERSION_OFFSET: u8 = 0x80;

#[tonic::async_trait]
impl KeystoreService for Wallets {
    #[tracing::instrument(
        skip_all,
        fields(wallet = request.get_ref().wallet),
        err(level = "debug")
    )]
    async fn create_wallet(
        &self,
        request: Request<CreateWalletRequest>,
    ) -> Result<Response<CreateWalletResponse>, Status> {
        let CreateWalletRequest { wallet, passphrase } = request.into_inner();
        let passphrase = owners(passphrase)?;
        let name = super::named(&wallet)?;
        let versions = self.inner.chain.network().await?.versions;
        let wallet =
            self.inner.hashing(move |keystore| create(keystore, name, passphrase.as_ref())).await?;
        self.inner.note(&wallet, Event::Created).await?;
        self.inner.ledger.watch_new(&wallet).map_err(WalletError::from)?;
        tracing::info!(wallet = %wallet.name(), "wallet created");
        Ok(Response::new(CreateWalletResponse {
            wallet: wallet.name().to_string(),
            address: addresses(&wallet, &versions).swap_remove(0),
        }))
    }

    #[tracing::instrument(skip_all, err(level = "debug"))]
    async fn list_wallets(
        &self,
        _: Request<ListWalletsRequest>,
    ) -> Result<Response<ListWalletsResponse>, Status> {
        let versions = self.inner.chain.network().await?.versions;
        let listed = self.inner.hashing(|keystore| Ok(keystore.list()?)).await?;
        let wallets = listed.into_iter().map(|(name, wallet)| match wallet {
            Ok(wallet) => Ok(WalletMessage {
                wallet: name.to_string(),
                addresses: addresses(&wallet, &versions),
                unlocked: wallet.is_unlocked(),
                watch_only: wallet.is_watch_only(),
                labels: of_addresses(&self.inner, &name)?,
            }),
            Err(error) => {
                tracing::error!(wallet = %name, %error, "a wallet that cannot be read");
                Ok(WalletMessage { wallet: name.to_string(), ..WalletMessage::default() })
            }
        });
        let wallets = wallets.collect::<Result<_, WalletError>>()?;
        Ok(Response::new(ListWalletsResponse { wallets }))
    }

    #[tracing::instrument(
        skip_all,
        fields(wallet = request.get_ref().wallet),
        err(level = "debug")
    )]
    async fn unlock_wallet(
        &self,
        request: Request<UnlockWalletRequest>,
    ) -> Result<Response<UnlockWalletResponse>, Status> {
        let UnlockWalletRequest { wallet, passphrase, seconds } = request.into_inner();
        let name: WalletName = wallet.parse().map_err(WalletError::Name)?;
        let seconds = match seconds {
            0 => UNLOCK_SECONDS_DEFAULT,
            asked => asked.min(UNLOCK_SECONDS_MAX),
        };
        let time = Duration::from_secs(u64::from(seconds));
        let wallet = self.inner.wallet(name).await?;
        let opened = Arc::clone(&wallet);
        let opening = self.again(passphrase, move |it| opened.unlock(it, Some(time))).await;
        self.inner.note_attempt(&wallet, Event::Unlocked { seconds }, opening).await?;
        Ok(Response::new(UnlockWalletResponse {}))
    }

    #[tracing::instrument(
        skip_all,
        fields(wallet = request.get_ref().wallet),
        err(level = "debug")
    )]
    async fn lock_wallet(
        &self,
        request: Request<LockWalletRequest>,
    ) -> Result<Response<LockWalletResponse>, Status> {
        let name = request.into_inner().wallet.parse().map_err(WalletError::Name)?;
        let wallet = self.inner.wallet(name).await?;
        wallet.lock();
        self.inner.note(&wallet, Event::Locked).await?;
        Ok(Response::new(LockWalletResponse {}))
    }

    #[tracing::instrument(
        skip_all,
        fields(wallet = request.get_ref().wallet),
        err(level = "debug")
    )]
    async fn restore_wallet(
        &self,
        request: Request<RestoreWalletRequest>,
    ) -> Result<Response<RestoreWalletResponse>, Status> {
        let RestoreWalletRequest { wallet, words, passphrase } = request.into_inner();
        let words = Words::parse(&Zeroizing::new(words)).map_err(WalletError::Words)?;
        let passphrase = owners(passphrase)?;
        let name = self.inner.free_name(&wallet).await?;
        let versions = self.inner.chain.network().await?.versions;
        let (wallet, issued) = self.inner.restore(name, words, passphrase).await?;
        self.inner.note(&wallet, Event::Restored).await?;
        tracing::info!(wallet = %wallet.name(), "wallet restored");
        Ok(Response::new(RestoreWalletResponse {
            wallet: wallet.name().to_string(),
            address: addresses(&wallet, &versions).swap_remove(0),
            receive_addresses: issued.receive,
            change_addresses: issued.change,
        }))
    }

    #[tracing::instrument(
        skip_all,
        fields(wallet = request.get_ref().wallet),
        err(level = "debug")
    )]
    async fn show_words(
        &self,
        request: Request<ShowWordsRequest>,
    ) -> Result<Response<ShowWordsResponse>, Status> {
        let ShowWordsRequest { wallet, passphrase } = request.into_inner();
        let name = wallet.parse().map_err(WalletError::Name)?;
        let wallet = self.inner.wallet(name).await?;
        tracing::warn!(wallet = %wallet.name(), "its words are asked for");
        given_where_a_policy_holds(&wallet, &passphrase)?;
        let opened = Arc::clone(&wallet);
        let words = self.again(passphrase, move |it| opened.words(it)).await;
        let words = self.inner.note_attempt(&wallet, Event::WordsShown, words).await?;
        Ok(Response::new(ShowWordsResponse { words: words.to_string() }))
    }

    #[tracing::instrument(
        skip_all,
        fields(wallet = request.get_ref().wallet),
        err(level = "debug")
    )]
    async fn change_passphrase(
        &self,
        request: Request<ChangePassphraseRequest>,
    ) -> Result<Response<ChangePassphraseResponse>, Status> {
        let ChangePassphraseRequest { wallet, passphrase, new_passphrase } = request.into_inner();
        let (old, new) = (owners(passphrase)?, owners(new_passphrase)?);
        let new = new.ok_or(WalletError::NoNewPassphrase)?;
        let name = wallet.parse().map_err(WalletError::Name)?;
        let wallet = self.inner.wallet(name).await?;
        if old.is_none() {
            given_where_a_policy_holds(&wallet, "")?;
        }
        let opened = Arc::clone(&wallet);
        let changing = self.inner.hashing(move |keystore| {
            let changed = keystore.change_passphrase(&opened, old.as_ref(), &new);
            Ok(changed.ok_or(WalletError::NoPassphrase)??)
        });
        self.inner.note_attempt(&wallet, Event::PassphraseChanged, changing.await).await?;
        Ok(Response::new(ChangePassphraseResponse {}))
    }

    #[tracing::instrument(skip_all, err(level = "debug"))]
    async fn export_key(
        &self,
        request: Request<ExportKeyRequest>,
    ) -> Result<Response<ExportKeyResponse>, Status> {
        let ExportKeyRequest { address, passphrase } = request.into_inner();
        let versions = self.inner.chain.network().await?.versions;
        let (wallet, path) = self.inner.key_of(&address, &versions).await?;
        tracing::warn!(wallet = %wallet.name(), address, "a private key is asked for");
        given_where_a_policy_holds(&wallet, &passphrase)?;
        let opened = Arc::clone(&wallet);
        let key = self.again(passphrase, move |it| opened.export(path, it)).await;
        let key = self.inner.note_attempt(&wallet, Event::KeyExported { address }, key).await?;
        let key = key.to_wif(versions.p2pkh.wrapping_add(WIF_VERSION_OFFSET)).to_string();
        Ok(Response::new(ExportKeyResponse { key }))
    }

    #[tracing::instrument(
        skip_all,
        fields(wallet = request.get_ref().wallet),
        err(level = "debug")
    )]
    async fn import_keys(
        &self,
        request: Request<ImportKeysRequest>,
    ) -> Result<Response<ImportKeysResponse>, Status> {
        Ok(Response::new(self.import(request.into_inner()).await?))
    }

    #[tracing::instrument(
        skip_all,
        fields(wallet = request.get_ref().wallet),
        err(level = "debug")
    )]
    async fn watch_wallet(
        &self,
        request: Request<WatchWalletRequest>,
    ) -> Result<Response<WatchWalletResponse>, Status> {
        Ok(Response::new(self.watch(request.into_inner()).await?))
    }

    #[tracing::instrument(
        skip_all,
        fields(wallet = request.get_ref().wallet),
        err(level = "debug")
    )]
    async fn backup_wallet(
        &self,
        request: Request<BackupWalletRequest>,
    ) -> Result<Response<BackupWalletResponse>, Status> {
        let name = request.into_inner().wallet.parse().map_err(WalletError::Name)?;
        Ok(Response::new(self.back_up(name).await?))
    }

    #[tracing::instrument(
        skip_all,
        fields(wallet = request.get_ref().wallet),
        err(level = "debug")
    )]
    async fn restore_backup(
        &self,
        request: Request<RestoreBackupRequest>,
    ) -> Result<Response<RestoreBackupResponse>, Status> {
        Ok(Response::new(self.restore_backup(request.into_inner()).await?))
    }

    #[tracing::instrument(skip_all, err(level = "debug"))]
    async fn sign_message(
        &self,
        request: Request<SignMessageRequest>,
    ) -> Result<Response<SignMessageResponse>, Status> {
        let SignMessageRequest { address, message } = request.into_inner();
        let text = message::bounded(&message)?;
        let versions = self.inner.chain.network().await?.versions;
        let (wallet, path) = self.inner.key_of(&address, &versions).await?;
        let signer = wallet.signer().map_err(WalletError::from)?;
        let key = signer.key(path).map_err(WalletError::from)?;
        let signature = message::to_text(&MessageSignature::sign(&key, text));
        let sha256 = hex::encode(message::digest(text));
        self.inner.note(&wallet, Event::MessageSigned { address, sha256 }).await?;
        Ok(Response::new(SignMessageResponse { signature }))
    }

    #[tracing::instrument(skip_all, err(level = "debug"))]
    async fn verify_message(
        &self,
        request: Request<VerifyMessageRequest>,
    ) -> Result<Response<VerifyMessageResponse>, Status> {
        let VerifyMessageRequest { address, message, signature } = request.into_inner();
        let text = message::bounded(&message)?;
        let owner = message::owner(&address, &self.inner.chain.network().await?.versions)?;
        let verdict = message::verify(&owner, text, &signature);
        let reason = verdict.err().map(|error| error.to_string()).unwrap_or_default();
        Ok(Response::new(VerifyMessageResponse { valid: reason.is_empty(), reason }))
    }
}

impl Wallets {
    /// Does what asks for a wallet's passphrase again, even if the wallet is open; empty: that of
    /// the service's own file.
    pub(crate) async fn again<T: Send + 'static>(
        &self,
        passphrase: String,
        work: impl FnOnce(&Passphrase) -> Result<T, KeystoreError> + Send + 'static,
    ) -> Result<T, WalletError> {
        let given = owners(passphrase)?;
        self.inner
            .hashing(move |keystore| {
                let passphrase = given.as_ref().or(keystore.service_passphrase());
                Ok(work(passphrase.ok_or(WalletError::NoPassphrase)?)?)
            })
            .await
    }
}

impl Inner {
    /// The name of a new wallet: the one that is given, or one that is free.
    pub(crate) async fn free_name(&self, wallet: &str) -> Result<WalletName, WalletError> {
        match super::named(wallet)? {
            Some(name) => Ok(name),
            None => self.blocking(|keystore| Ok(keystore.free_name())).await,
        }
    }

    /// The wallet that an address belongs to, and its place there.
    async fn key_of(
        &self,
        address: &str,
        versions: &AddressVersions,
    ) -> Result<(Arc<Wallet>, KeyPath), WalletError> {
        let owner = Address::P2pkh(message::owner(address, versions)?);
        let wallet = self.blocking(move |keystore| Ok(keystore.owner(&owner))).await?;
        let found = wallet.and_then(|wallet| wallet.key_path(&owner).map(|path| (wallet, path)));
        found.ok_or_else(|| WalletError::NotOurs(address.to_owned()))
    }
}

/// The passphrase of a request; `None` when it is left to the service.
pub(crate) fn owners(passphrase: String) -> Result<Option<Passphrase>, WalletError> {
    let given = (!passphrase.is_empty()).then(|| Passphrase::new(passphrase));
    Ok(given.transpose()?)
}

fn create(
    keystore: &Keystore,
    name: Option<WalletName>,
    passphrase: Option<&Passphrase>,
) -> Result<Arc<Wallet>, WalletError> {
    let create =
        |name: &WalletName| keystore.create(name, passphrase).ok_or(WalletError::NoPassphrase);
    let Some(name) = name else {
        loop {
            match create(&keystore.free_name())? {
                // Somebody was quicker: the next free name, then.
                Err(KeystoreError::WalletExists(_)) => {}
                created => return Ok(created?),
            }
        }
    };
    Ok(create(&name)??)
}

pub(crate) fn addresses(wallet: &Wallet, versions: &AddressVersions) -> Vec<String> {
    wallet.addresses_in_use().iter().map(|address| address.encode(versions)).collect()
}

/// The service's own passphrase does not do where a policy holds: whoever may pay could take the
/// keys past it.
fn given_where_a_policy_holds(wallet: &Wallet, passphrase: &str) -> Result<(), WalletError> {
    if passphrase.is_empty() && wallet.policy().is_some() {
        return Err(WalletError::NoPassphrase);
    }
    Ok(())
}
