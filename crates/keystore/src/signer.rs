use std::fmt;
use std::sync::Arc;

use pentad_crypto::SecretKey;
use pentad_crypto::hd::{self, AccountKey, DerivationError, Purpose};

use crate::secrets::Secrets;
use crate::{ACCOUNT, COIN_TYPE, Cosigner, KeyPath};

const HARDENED: u32 = 1 << 31;

/// The keys of an unlocked wallet, for one payment.
#[derive(Clone)]
pub struct Signer(Arc<Keys>);

/// Keys in the clear; wiped when dropped.
#[allow(clippy::large_enum_variant, reason = "one stands behind each Arc")]
enum Keys {
    /// Of the wallet's words.
    Accounts { single: AccountKey, multisig: AccountKey },
    /// Those that were imported.
    Imported(Vec<SecretKey>),
}

impl Signer {
    /// Derives the accounts of a wallet's words, or takes over what was imported.
    pub(crate) fn of(secrets: &Secrets) -> Result<Self, DerivationError> {
        Ok(Self(Arc::new(match secrets {
            Secrets::Entropy(entropy) => {
                let seed = hd::seed(entropy, "")?;
                let account = |purpose| AccountKey::from_seed(&seed, purpose, COIN_TYPE, ACCOUNT);
                Keys::Accounts {
                    single: account(Purpose::Single)?,
                    multisig: account(Purpose::Multisig)?,
                }
            }
            Secrets::Keys(keys) => Keys::Imported(keys.clone()),
        })))
    }

    /// The key at a place of the wallet.
    ///
    /// # Errors
    /// When there is none.
    pub fn key(&self, path: KeyPath) -> Result<SecretKey, DerivationError> {
        let (chain, index) = path.numbers();
        match &*self.0 {
            Keys::Accounts { single, .. } => single.secret_key(chain, index),
            Keys::Imported(keys) => usize::try_from(index)
                .ok()
                .and_then(|index| keys.get(index).cloned())
                .ok_or(DerivationError::Index),
        }
    }

    /// The key with which the wallet signs at a place of an account of several; `None` of imported
    /// keys.
    ///
    /// # Errors
    /// When there is no key at this place.
    pub fn cosigner_key(&self, path: KeyPath) -> Option<Result<SecretKey, DerivationError>> {
        let (chain, index) = path.numbers();
        match &*self.0 {
            Keys::Accounts { multisig, .. } => Some(multisig.secret_key(chain, index)),
            Keys::Imported(_) => None,
        }
    }
}

/// What others need to know of a wallet to sign together with it.
pub(crate) fn cosigner(entropy: &[u8]) -> Result<Cosigner, DerivationError> {
    let seed = hd::seed(entropy, "")?;
    let account = AccountKey::from_seed(&seed, Purpose::Multisig, COIN_TYPE, ACCOUNT)?;
    let path = [Purpose::Multisig.number(), COIN_TYPE, ACCOUNT].map(|number| number | HARDENED);
    Ok(Cosigner::new(hd::master_fingerprint(&seed)?, path.to_vec(), account.public()))
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer([redacted])")
    }
}
