//! Wallets whose keys come from elsewhere, or stay there.

use pentad_api::Failure;
use pentad_api::wallet::v1::{
    ImportKeysRequest, ImportKeysResponse, WatchWalletRequest, WatchWalletResponse,
};
use pentad_crypto::hd::{AccountPublicKey, DerivationError};
use pentad_crypto::{Address, AddressVersions, KeyError, SecretKey};
use pentad_keystore::audit::Event;
use pentad_keystore::{Issued, KEYS_MAX, KeystoreError, WATCHED_MAX, Watch, account_address};
use thiserror::Error;
use tonic::Code;
use zeroize::Zeroizing;

use crate::error::WalletError;
use crate::grpc::keystore::{WIF_VERSION_OFFSET, addresses, owners};
use crate::restore::NONE;
use crate::wallets::Wallets;

/// Why keys or addresses from elsewhere cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ImportError {
    /// A text that is no key.
    #[error("keys[{index}]: {problem}")]
    Key {
        /// Its place in the request.
        index: usize,
        /// What is wrong with it.
        problem: KeyError,
    },
    /// Not the extended public key of an account.
    #[error("account: {0}")]
    Account(DerivationError),
    /// Neither an account nor addresses, or both, or too many.
    #[error("addresses: give an account, or 1 to {WATCHED_MAX} addresses, not {found}")]
    Watched {
        /// How many there were.
        found: usize,
    },
}

/// What the caller is told.
pub(crate) fn import_failure(error: &ImportError) -> Failure {
    let invalid = |reason, field: &str| {
        Failure::new(Code::InvalidArgument, reason, error.to_string()).with_field(field)
    };
    match error {
        ImportError::Key { problem: KeyError::WrongNetwork(_), .. } => {
            invalid("WRONG_NETWORK", "keys").with_hint("export it on this network")
        }
        ImportError::Key { .. } => invalid("INVALID_KEY", "keys")
            .with_hint("52 characters, as ExportKey shows them: a character may be missing"),
        ImportError::Account(_) => invalid("INVALID_ACCOUNT", "account")
            .with_hint("xpub… at m/44'/…'/…'; an extended private key is never taken"),
        ImportError::Watched { .. } => invalid("WATCHED", "addresses"),
    }
}

impl Wallets {
    /// Makes a wallet of WIF keys.
    pub(crate) async fn import(
        &self,
        request: ImportKeysRequest,
    ) -> Result<ImportKeysResponse, WalletError> {
        let ImportKeysRequest { wallet, keys, passphrase } = request;
        let texts: Vec<_> = keys.into_iter().map(Zeroizing::new).collect();
        let passphrase = owners(passphrase)?;
        let versions = self.inner.chain.network().await?.versions;
        let keys = parse(&texts, &versions)?;
        let name = self.inner.free_name(&wallet).await?;
        let imported = self.inner.hashing(move |keystore| {
            let imported = keystore.import(&name, keys, passphrase.as_ref());
            Ok(imported.ok_or(WalletError::NoPassphrase)??)
        });
        let wallet = self.inner.looked_after(imported.await?)?;
        let addresses = addresses(&wallet, &versions);
        self.inner.note(&wallet, Event::Imported { keys: addresses.len() }).await?;
        tracing::info!(wallet = %wallet.name(), "keys imported");
        Ok(ImportKeysResponse { wallet: wallet.name().to_string(), addresses })
    }

    /// Makes a wallet without keys.
    pub(crate) async fn watch(
        &self,
        request: WatchWalletRequest,
    ) -> Result<WatchWalletResponse, WalletError> {
        let WatchWalletRequest { wallet, account, addresses: list } = request;
        let versions = self.inner.chain.network().await?.versions;
        let watch = match (account.as_str(), list.len()) {
            ("", 1..=WATCHED_MAX) => Watch::Addresses(decode(&list, &versions)?),
            ("", found) => return Err(ImportError::Watched { found }.into()),
            (text, 0) => {
                let key: AccountPublicKey = text.parse().map_err(ImportError::Account)?;
                let found = self.inner.issued(|path| account_address(&key, path), NONE).await?;
                Watch::Account(key, Issued { receive: found.receive.max(1), ..found })
            }
            (_, found) => return Err(ImportError::Watched { found }.into()),
        };
        self.add_watched(&wallet, watch, &versions).await
    }

    /// Makes a wallet without keys of what it watches.
    pub(crate) async fn add_watched(
        &self,
        wallet: &str,
        watch: Watch,
        versions: &AddressVersions,
    ) -> Result<WatchWalletResponse, WalletError> {
        let name = self.inner.free_name(wallet).await?;
        let wallet =
            self.inner.blocking(move |keystore| Ok(keystore.watch(&name, &watch)?)).await?;
        let wallet = self.inner.looked_after(wallet)?;
        self.inner.note(&wallet, Event::Watched).await?;
        let addresses = addresses(&wallet, versions);
        Ok(WatchWalletResponse { wallet: wallet.name().to_string(), addresses })
    }
}

/// The keys of a request. An error names the key, and shows nothing of it.
fn parse(
    texts: &[Zeroizing<String>],
    versions: &AddressVersions,
) -> Result<Vec<SecretKey>, WalletError> {
    if !(1..=KEYS_MAX).contains(&texts.len()) {
        return Err(KeystoreError::KeyCount(texts.len()).into());
    }
    let version = versions.p2pkh.wrapping_add(WIF_VERSION_OFFSET);
    let parse = |(index, text): (usize, &Zeroizing<String>)| {
        SecretKey::from_wif(text, version)
            .map_err(|problem| ImportError::Key { index, problem }.into())
    };
    texts.iter().enumerate().map(parse).collect()
}

fn decode(list: &[String], versions: &AddressVersions) -> Result<Vec<Address>, WalletError> {
    let decode = |(index, text): (usize, &String)| {
        Address::decode(text, versions).map_err(|problem| WalletError::Address {
            field: format!("addresses[{index}]"),
            problem,
        })
    };
    let mut addresses: Vec<Address> = Vec::new();
    for address in list.iter().enumerate().map(decode) {
        let address = address?;
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}
