//! The gRPC face of the wallets. Spans carry names of wallets, never passphrases.

use std::sync::Arc;
use std::time::Duration;

use pentad_api::wallet::v1::keystore_service_server::KeystoreService;
use pentad_api::wallet::v1::wallet_service_server::WalletService;
use pentad_api::wallet::v1::{
    CreateWalletRequest, CreateWalletResponse, GetBalanceRequest, GetBalanceResponse,
    ListWalletsRequest, ListWalletsResponse, LockWalletRequest, LockWalletResponse,
    NewAddressRequest, NewAddressResponse, SendRequest, SendResponse, UnlockWalletRequest,
    UnlockWalletResponse, Wallet as WalletMessage,
};
use pentad_crypto::{Address, AddressVersions};
use tonic::{Request, Response, Status};

use crate::error::WalletError;
use crate::send::on_disk;
use crate::wallets::Wallets;
use pentad_keystore::{Chain, Keystore, KeystoreError, Passphrase, Wallet, WalletName};

/// How long a wallet stays open if the caller does not say.
const UNLOCK_SECONDS_DEFAULT: u32 = 300;
/// A wallet stays open for a day at most.
const UNLOCK_SECONDS_MAX: u32 = 86_400;

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
        let name = named(&wallet)?;
        let versions = self.inner.chain.network().await?.versions;
        let wallet =
            self.inner.hashing(move |keystore| create(keystore, name, passphrase.as_ref())).await?;
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
            Ok(wallet) => WalletMessage {
                wallet: name.to_string(),
                addresses: addresses(&wallet, &versions),
                unlocked: wallet.is_unlocked(),
            },
            Err(error) => {
                tracing::error!(wallet = %name, %error, "a wallet that cannot be read");
                WalletMessage { wallet: name.to_string(), ..WalletMessage::default() }
            }
        });
        Ok(Response::new(ListWalletsResponse { wallets: wallets.collect() }))
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
        let passphrase = owners(passphrase)?;
        let name: WalletName = wallet.parse().map_err(WalletError::Name)?;
        let seconds = match seconds {
            0 => UNLOCK_SECONDS_DEFAULT,
            asked => asked.min(UNLOCK_SECONDS_MAX),
        };
        let time = Duration::from_secs(u64::from(seconds));
        self.inner
            .hashing(move |keystore| {
                let service = keystore.service_passphrase();
                let passphrase =
                    passphrase.as_ref().or(service).ok_or(WalletError::NoPassphrase)?;
                Ok(keystore.get(&name)?.unlock(passphrase, Some(time))?)
            })
            .await?;
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
        self.inner.wallet(name).await?.lock();
        Ok(Response::new(LockWalletResponse {}))
    }
}

#[tonic::async_trait]
impl WalletService for Wallets {
    #[tracing::instrument(
        skip_all,
        fields(wallet = request.get_ref().wallet),
        err(level = "debug")
    )]
    async fn new_address(
        &self,
        request: Request<NewAddressRequest>,
    ) -> Result<Response<NewAddressResponse>, Status> {
        let name = request.into_inner().wallet.parse().map_err(WalletError::Name)?;
        let versions = self.inner.chain.network().await?.versions;
        let wallet = self.inner.wallet(name).await?;
        let key_hash = on_disk(&wallet, |wallet| wallet.issue(Chain::Receive)).await?;
        let address = Address::P2pkh(key_hash).encode(&versions);
        Ok(Response::new(NewAddressResponse { address }))
    }

    #[tracing::instrument(
        skip_all,
        fields(wallet = request.get_ref().wallet),
        err(level = "debug")
    )]
    async fn get_balance(
        &self,
        request: Request<GetBalanceRequest>,
    ) -> Result<Response<GetBalanceResponse>, Status> {
        let name = request.into_inner().wallet.parse().map_err(WalletError::Name)?;
        let balance = self.balance(name).await?;
        let (confirmed, pending, immature) = (balance.confirmed, balance.pending, balance.immature);
        Ok(Response::new(GetBalanceResponse { confirmed, pending, immature }))
    }

    #[tracing::instrument(skip_all, err(level = "debug"))]
    async fn send(&self, request: Request<SendRequest>) -> Result<Response<SendResponse>, Status> {
        let sent = Self::send(self, request.into_inner()).await?;
        Ok(Response::new(SendResponse {
            txid: sent.txid.to_string(),
            fee: sent.fee,
            repeated_request: sent.repeated,
        }))
    }
}

/// The passphrase of a request; `None` when it is left to the service.
fn owners(passphrase: String) -> Result<Option<Passphrase>, WalletError> {
    let given = (!passphrase.is_empty()).then(|| Passphrase::new(passphrase));
    Ok(given.transpose()?)
}

/// The name of a new wallet; `None` when the choice is left to the service.
fn named(wallet: &str) -> Result<Option<WalletName>, WalletError> {
    let given = (!wallet.is_empty()).then(|| wallet.parse());
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

fn addresses(wallet: &Wallet, versions: &AddressVersions) -> Vec<String> {
    wallet.key_hashes().into_iter().map(|key| Address::P2pkh(key).encode(versions)).collect()
}
