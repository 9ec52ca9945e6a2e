//! Key derivation: BIP39 entropy to a seed, BIP32 down to an account of BIP44, and from there to
//! the keys of its receive and change chains.

use std::fmt;
use std::str::FromStr;

use bip32::{ChildNumber, ExtendedPrivateKey, ExtendedPublicKey, Prefix};
use bip39::Mnemonic;
use k256::ecdsa::{SigningKey, VerifyingKey};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::keys::{PublicKey, SecretKey};

/// BIP44's purpose.
const PURPOSE: u32 = 44;

/// Why keys cannot be derived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DerivationError {
    /// Not 16, 20, 24, 28 or 32 bytes.
    #[error("BIP39 entropy has 16, 20, 24, 28 or 32 bytes")]
    Entropy,
    /// Not a mnemonic of the English list with a right checksum.
    #[error("not a BIP39 mnemonic: a word is misspelt, missing or in the wrong place")]
    Mnemonic,
    /// A number of 2³¹ or more, or (a chance of 2⁻¹²⁷) one without a key.
    #[error("there is no key at this index")]
    Index,
    /// Not an extended public key.
    #[error("not an extended public key")]
    ExtendedKey,
}

/// The mnemonic of some entropy (BIP39, English).
///
/// # Errors
/// When the entropy has a length that BIP39 does not know.
pub fn mnemonic_from_entropy(entropy: &[u8]) -> Result<Zeroizing<String>, DerivationError> {
    let mnemonic = Mnemonic::from_entropy(entropy).map_err(|_| DerivationError::Entropy)?;
    Ok(Zeroizing::new(mnemonic.to_string()))
}

/// The entropy of a mnemonic (BIP39, English).
///
/// # Errors
/// When a word is unknown or the checksum is wrong.
pub fn entropy_from_mnemonic(mnemonic: &str) -> Result<Zeroizing<Vec<u8>>, DerivationError> {
    let mnemonic = Mnemonic::parse_normalized(mnemonic).map_err(|_| DerivationError::Mnemonic)?;
    Ok(Zeroizing::new(mnemonic.to_entropy()))
}

/// The seed of some entropy and an optional passphrase, which is brought to NFKD form (BIP39).
///
/// # Errors
/// When the entropy has a length that BIP39 does not know.
pub fn seed(entropy: &[u8], passphrase: &str) -> Result<Zeroizing<[u8; 64]>, DerivationError> {
    let mnemonic = Mnemonic::from_entropy(entropy).map_err(|_| DerivationError::Entropy)?;
    Ok(Zeroizing::new(mnemonic.to_seed(passphrase)))
}

fn child(index: u32, hardened: bool) -> Result<ChildNumber, DerivationError> {
    ChildNumber::new(index, hardened).map_err(|_| DerivationError::Index)
}

/// The private key of an account, m/44'/coin'/account'.
#[derive(Clone)]
pub struct AccountKey(ExtendedPrivateKey<SigningKey>);

impl AccountKey {
    /// Derives it from a seed.
    ///
    /// # Errors
    /// When a number is 2³¹ or more.
    pub fn from_seed(
        seed: &[u8; 64],
        coin_type: u32,
        account: u32,
    ) -> Result<Self, DerivationError> {
        let mut key = ExtendedPrivateKey::new(seed).map_err(|_| DerivationError::Index)?;
        for index in [PURPOSE, coin_type, account] {
            key = key
                .derive_child(child(index, true)?)
                .map_err(|_| DerivationError::Index)?;
        }
        Ok(Self(key))
    }

    /// What can be known of it while the wallet is locked.
    #[must_use]
    pub fn public(&self) -> AccountPublicKey {
        AccountPublicKey(self.0.public_key())
    }

    /// The private key at chain/index.
    ///
    /// # Errors
    /// When a number is 2³¹ or more.
    pub fn secret_key(&self, chain: u32, index: u32) -> Result<SecretKey, DerivationError> {
        let mut key = self.0.clone();
        for index in [chain, index] {
            key = key
                .derive_child(child(index, false)?)
                .map_err(|_| DerivationError::Index)?;
        }
        SecretKey::from_bytes(key.private_key().to_bytes().into())
            .map_err(|_| DerivationError::Index)
    }
}

impl fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccountKey([redacted])")
    }
}

/// The public key of an account: gives all its addresses, no private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountPublicKey(ExtendedPublicKey<VerifyingKey>);

impl AccountPublicKey {
    /// The public key at chain/index.
    ///
    /// # Errors
    /// When a number is 2³¹ or more.
    pub fn public_key(&self, chain: u32, index: u32) -> Result<PublicKey, DerivationError> {
        let mut key = self.0.clone();
        for index in [chain, index] {
            key = key
                .derive_child(child(index, false)?)
                .map_err(|_| DerivationError::Index)?;
        }
        PublicKey::from_bytes(&key.to_bytes()).map_err(|_| DerivationError::Index)
    }
}

impl fmt::Display for AccountPublicKey {
    /// As `xpub…` (BIP32).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_string(Prefix::XPUB))
    }
}

impl FromStr for AccountPublicKey {
    type Err = DerivationError;

    /// Reads `xpub…`. An extended private key is refused: it has no business where only the public
    /// one is asked for.
    fn from_str(text: &str) -> Result<Self, DerivationError> {
        text.parse()
            .map(Self)
            .ok()
            .filter(|key| key.to_string() == text)
            .ok_or(DerivationError::ExtendedKey)
    }
}
