//! Key derivation: BIP39 entropy to a seed, BIP32 down to an account of BIP44, and from there to
//! the keys of its receive and change chains.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use bip32::{ChildNumber, ExtendedPrivateKey, ExtendedPublicKey, Prefix, PublicKey as _};
use bip39::Mnemonic;
use k256::ecdsa::{SigningKey, VerifyingKey};
use k256::elliptic_curve::BatchNormalize as _;
use k256::{AffinePoint, CompressedPoint, NonZeroScalar, ProjectivePoint};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::hash::{KeyHash, hash160};
use crate::keys::{PublicKey, SecretKey};

/// What an account is for: the first number of its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// One key signs (BIP44).
    Single,
    /// One of several keys that sign together (BIP87).
    Multisig,
}

impl Purpose {
    /// The number, which is hardened in paths.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Single => 44,
            Self::Multisig => 87,
        }
    }
}

/// The first four bytes of a key's hash160: how BIP32 and BIP174 name a master key.
pub type Fingerprint = [u8; 4];

/// Depth of an account, m/purpose'/coin'/account'.
const ACCOUNT_DEPTH: u8 = 3;

/// Points that share the one inversion that brings them to their affine form.
const NORMALIZED_TOGETHER: usize = 64;

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
    /// Not the extended public key of an account.
    #[error("not the extended public key (xpub) of an account")]
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

/// The fingerprint of the master key of a seed.
///
/// # Errors
/// When (a chance of 2⁻¹²⁷) the seed has no master key.
pub fn master_fingerprint(seed: &[u8; 64]) -> Result<Fingerprint, DerivationError> {
    let key = ExtendedPrivateKey::<SigningKey>::new(seed).map_err(|_| DerivationError::Index)?;
    Ok(fingerprint(&key.public_key()))
}

fn fingerprint(key: &ExtendedPublicKey<VerifyingKey>) -> Fingerprint {
    let [a, b, c, d, ..] = hash160(&key.to_bytes());
    [a, b, c, d]
}

fn child(index: u32, hardened: bool) -> Result<ChildNumber, DerivationError> {
    ChildNumber::new(index, hardened).map_err(|_| DerivationError::Index)
}

/// The private key of an account, m/purpose'/coin'/account'.
#[derive(Clone)]
pub struct AccountKey(ExtendedPrivateKey<SigningKey>);

impl AccountKey {
    /// Derives it from a seed.
    ///
    /// # Errors
    /// When a number is 2³¹ or more.
    pub fn from_seed(
        seed: &[u8; 64],
        purpose: Purpose,
        coin_type: u32,
        account: u32,
    ) -> Result<Self, DerivationError> {
        let mut key = ExtendedPrivateKey::new(seed).map_err(|_| DerivationError::Index)?;
        for index in [purpose.number(), coin_type, account] {
            key = key.derive_child(child(index, true)?).map_err(|_| DerivationError::Index)?;
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
            key = key.derive_child(child(index, false)?).map_err(|_| DerivationError::Index)?;
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
    /// Its own fingerprint, for whom nobody knows the master key.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        fingerprint(&self.0)
    }

    /// The public key at chain/index.
    ///
    /// # Errors
    /// When a number is 2³¹ or more.
    pub fn public_key(&self, chain: u32, index: u32) -> Result<PublicKey, DerivationError> {
        let mut key = self.0.clone();
        for index in [chain, index] {
            key = key.derive_child(child(index, false)?).map_err(|_| DerivationError::Index)?;
        }
        PublicKey::from_bytes(&key.to_bytes()).map_err(|_| DerivationError::Index)
    }

    /// The hashes of the public keys at chain/index, for many indexes: a quarter of the work of one
    /// after the other.
    ///
    /// # Errors
    /// When a number is 2³¹ or more.
    #[allow(clippy::arithmetic_side_effects, reason = "any two points have a sum")]
    pub fn key_hashes(
        &self,
        chain: u32,
        indexes: Range<u32>,
    ) -> Result<Vec<KeyHash>, DerivationError> {
        let no_key = |_| DerivationError::Index;
        let chain = self.0.derive_child(child(chain, false)?).map_err(no_key)?;
        let (parent, chain_code) = (chain.public_key(), &chain.attrs().chain_code);
        let parent_point = ProjectivePoint::from(*parent.as_affine());
        let point = |index| {
            let (tweak, _) =
                parent.derive_tweak(chain_code, child(index, false)?).map_err(no_key)?;
            // Zero, or not below the order of the curve: a chance of 2⁻¹²⁷.
            let tweak = Option::<NonZeroScalar>::from(NonZeroScalar::from_repr(tweak.into()));
            let tweak = tweak.ok_or(DerivationError::Index)?;
            Ok(ProjectivePoint::mul_by_generator(&tweak) + parent_point)
        };
        let hash = |point: AffinePoint| {
            let key = VerifyingKey::from_affine(point).map_err(|_| DerivationError::Index)?;
            Ok(KeyHash::from_bytes(hash160(CompressedPoint::from(&key).as_slice())))
        };
        let points: Vec<ProjectivePoint> = indexes.map(point).collect::<Result<_, _>>()?;
        let mut hashes = Vec::with_capacity(points.len());
        for some in points.chunks(NORMALIZED_TOGETHER) {
            let mut together = [ProjectivePoint::GENERATOR; NORMALIZED_TOGETHER];
            together.iter_mut().zip(some).for_each(|(to, point)| *to = *point);
            let affine = ProjectivePoint::batch_normalize(&together);
            for point in affine.into_iter().take(some.len()) {
                hashes.push(hash(point)?);
            }
        }
        Ok(hashes)
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
    /// one is asked for. So is a key at another depth, whose children are no addresses.
    fn from_str(text: &str) -> Result<Self, DerivationError> {
        let key: ExtendedPublicKey<_> = text.parse().map_err(|_| DerivationError::ExtendedKey)?;
        let attrs = key.attrs();
        let is_account = attrs.depth == ACCOUNT_DEPTH && attrs.child_number.is_hardened();
        // One text only: whatever else the parser takes does not come out the same.
        Some(Self(key))
            .filter(|key| is_account && key.to_string() == text)
            .ok_or(DerivationError::ExtendedKey)
    }
}

#[cfg(test)]
mod tests {
    use bip32::{DerivationPath, XPrv};

    use super::*;

    /// Test vectors 1 to 3 of BIP32: seed, path, extended private key.
    const BIP32: [(&str, &str, &str); 4] = [
        (
            "000102030405060708090a0b0c0d0e0f",
            "m",
            "xprv9s21ZrQH143K3QTDL4LXw2F7HEK3wJUD2nW2nRk4stbPy6cq3jPPqjiChkVvvNKmPGJxWUtg6LnF5kejM\
             RNNU3TGtRBeJgk33yuGBxrMPHi",
        ),
        (
            "000102030405060708090a0b0c0d0e0f",
            "m/0'/1/2'/2/1000000000",
            "xprvA41z7zogVVwxVSgdKUHDy1SKmdb533PjDz7J6N6mV6uS3ze1ai8FHa8kmHScGpWmj4WggLyQjgPie1rFS\
             ruoUihUZREPSL39UNdE3BBDu76",
        ),
        (
            "fffcf9f6f3f0edeae7e4e1dedbd8d5d2cfccc9c6c3c0bdbab7b4b1aeaba8a5a2\
             9f9c999693908d8a8784817e7b7875726f6c696663605d5a5754514e4b484542",
            "m/0/2147483647'",
            "xprv9wSp6B7kry3Vj9m1zSnLvN3xH8RdsPP1Mh7fAaR7aRLcQMKTR2vidYEeEg2mUCTAwCd6vnxVrcjfy2kRg\
             VsFawNzmjuHc2YmYRmagcEPdU9",
        ),
        (
            // A secret that begins with a zero byte keeps it.
            "4b381541583be4423346c643850da4b320e46a87ae3d2a4e6da11eba819cd4ac\
             ba45d239319ac14f863b8d5ab5a0d0c64d2e8a1e7d1457df2e5a3c51c73235be",
            "m/0'",
            "xprv9uPDJpEQgRQfDcW7BkF7eTya6RPxXeJCqCJGHuCJ4GiRVLzkTXBAJMu2qaMWPrS7AANYqdq6vcBcBUdJC\
             VVFceUvJFjaPdGZ2y9WACViL4L",
        ),
    ];

    #[test]
    fn bip32_vectors() {
        for (seed, path, expected) in BIP32 {
            let path: DerivationPath = path.parse().unwrap();
            let key = XPrv::derive_from_path(&hex::decode(seed).unwrap(), &path).unwrap();
            assert_eq!(key.to_string(Prefix::XPRV).as_str(), expected);
        }
    }

    /// The published address of the most published mnemonic.
    #[test]
    fn first_address_of_abandon_about() {
        let account =
            AccountKey::from_seed(&seed(&[0; 16], "").unwrap(), Purpose::Single, 0, 0).unwrap();
        assert_eq!(
            account.public().to_string(),
            "xpub6BosfCnifzxcFwrSzQiqu2DBVTshkCXacvNsWGYJVVhhawA7d4R5WSWGFNbi8Aw6ZRc1brxMyWMzG3DSS\
             SSoekkudhUd9yLb6qx39T9nMdj"
        );
        let address = crate::Address::P2pkh(account.public().public_key(0, 0).unwrap().key_hash());
        assert_eq!(address.encode(&Default::default()), "1LqBGSKuX5yYUonjxT5qGfpUsXKYYWeabA");
    }

    #[test]
    fn only_the_xpub_of_an_account_is_read() {
        let account = AccountKey::from_seed(&[7; 64], Purpose::Single, 0, 0).unwrap();
        let xpub = account.public().to_string();
        assert_eq!(xpub.parse(), Ok(account.public()));
        let master = XPrv::new(&[7; 64]).unwrap();
        let not_hardened = account.0.derive_child(child(0, false).unwrap()).unwrap();
        for refused in [
            account.0.to_string(Prefix::XPRV).to_string(),
            account.0.public_key().to_string(Prefix::TPUB),
            master.public_key().to_string(Prefix::XPUB),
            not_hardened.public_key().to_string(Prefix::XPUB),
            format!("{xpub} "),
            xpub.replace("xpub6", "xpub7"),
            String::new(),
        ] {
            let parsed = refused.parse::<AccountPublicKey>();
            assert_eq!(parsed, Err(DerivationError::ExtendedKey), "{refused}");
        }
    }

    #[test]
    fn many_at_once_are_those_one_by_one() {
        let account = AccountKey::from_seed(&[7; 64], Purpose::Single, 1, 0).unwrap().public();
        for (chain, indexes) in [(0, 0..40), (1, 1_000..1_003), (0, 5..5)] {
            let one = |index| account.public_key(chain, index).unwrap().key_hash();
            let expected: Vec<_> = indexes.clone().map(one).collect();
            assert_eq!(account.key_hashes(chain, indexes), Ok(expected));
        }
        let too_high = (1 << 31) - 1..(1 << 31) + 1;
        assert_eq!(account.key_hashes(0, too_high), Err(DerivationError::Index));
        assert_eq!(account.key_hashes(1 << 31, 0..1), Err(DerivationError::Index));
    }

    #[test]
    fn passphrases_are_normalised() {
        // Composed and decomposed, "é" is one passphrase.
        assert_eq!(seed(&[1; 16], "caf\u{e9}"), seed(&[1; 16], "cafe\u{301}"));
        assert_ne!(seed(&[1; 16], "caf\u{e9}"), seed(&[1; 16], "cafe"));
    }

    #[test]
    fn lengths_of_entropy() {
        for length in 0..40 {
            let is_valid = matches!(length, 16 | 20 | 24 | 28 | 32);
            assert_eq!(seed(&vec![1; length], "").is_ok(), is_valid, "{length}");
        }
    }
}
