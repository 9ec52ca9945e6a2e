//! secp256k1 keys and ECDSA signatures, as strict as they can be: compressed keys, strict DER
//! (BIP66), low S (BIP146), deterministic nonces (RFC 6979).

use std::fmt;

use k256::ecdsa::signature::hazmat::PrehashSigner as _;
use k256::ecdsa::{self, SigningKey};
use pentad_primitives::Hash256;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::base58check::{self, Base58CheckError};
use crate::hash::{KeyHash, hash160};
use crate::verification::Point;

/// Marks a WIF key whose public key is compressed.
const WIF_COMPRESSED: u8 = 0x01;

/// Why bytes are not a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// Not a compressed point on the curve.
    #[error("not a compressed public key")]
    Public,
    /// Zero, or not below the order of the curve.
    #[error("not a private key")]
    Secret,
    /// Not a WIF key at all.
    #[error("not a WIF key: {0}")]
    Encoding(#[from] Base58CheckError),
    /// A WIF key of another network.
    #[error("a WIF key of another network (version byte {0:#04x})")]
    WrongNetwork(u8),
    /// A WIF key for an uncompressed public key.
    #[error("a WIF key for an uncompressed public key")]
    Uncompressed,
}

/// Why a signature is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SignatureError {
    /// Not strict DER.
    #[error("the signature is not strict DER")]
    Encoding,
    /// S is in the upper half of the range: the same signature in another form.
    #[error("the signature has a high S")]
    HighS,
    /// It does not verify.
    #[error("the signature does not match the key and the message")]
    Mismatch,
}

/// A compressed public key, parsed for the library that verifies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(Point);

impl PublicKey {
    /// Length of the encoding in bytes.
    pub const LEN: usize = 33;

    /// From the 33 bytes of the compressed form; no other form is taken.
    ///
    /// # Errors
    /// When the bytes are not a compressed point on the curve.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        // SEC 1 knows more forms, of which libraries differ in what they take.
        if !matches!(bytes, [0x02 | 0x03, ..]) {
            return Err(KeyError::Public);
        }
        let bytes = bytes.try_into().map_err(|_| KeyError::Public)?;
        Point::from_compressed(bytes).map(Self).ok_or(KeyError::Public)
    }

    /// The compressed form.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        self.0.to_compressed()
    }

    /// What a P2PKH output to this key names.
    #[must_use]
    pub fn key_hash(&self) -> KeyHash {
        KeyHash::from_bytes(hash160(&self.to_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublicKey(")?;
        self.to_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

/// A private key; wiped from memory when dropped, never shown.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// From 32 bytes, the most significant first.
    ///
    /// # Errors
    /// When they are zero or not below the order of the curve.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, KeyError> {
        let bytes = Zeroizing::new(bytes);
        SigningKey::from_slice(bytes.as_slice()).map(Self).map_err(|_| KeyError::Secret)
    }

    /// As 32 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes().into())
    }

    pub(crate) const fn signing_key(&self) -> &SigningKey {
        &self.0
    }

    /// Its public key.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().into())
    }

    /// Signs a hash: the same key and hash always give the same signature (RFC 6979), with low S.
    ///
    /// # Panics
    /// Never: a 32-byte hash and a valid key can always be signed, but for a chance of 2⁻²⁵⁶.
    #[must_use]
    #[allow(clippy::expect_used, reason = "fails only for hashes of another length")]
    pub fn sign(&self, hash: &Hash256) -> Signature {
        let signature: ecdsa::Signature =
            self.0.sign_prehash(hash.as_bytes()).expect("a hash of 32 bytes can be signed");
        Signature(signature.normalize_s())
    }

    /// In the wallet import format, for a compressed public key.
    #[must_use]
    pub fn to_wif(&self, version: u8) -> Zeroizing<String> {
        let mut payload = Zeroizing::new(self.to_bytes().to_vec());
        payload.push(WIF_COMPRESSED);
        Zeroizing::new(base58check::encode(version, &payload))
    }

    /// From the wallet import format.
    ///
    /// # Errors
    /// When the text is not a WIF key of this network for a compressed public key.
    pub fn from_wif(text: &str, version: u8) -> Result<Self, KeyError> {
        let (found, payload) = base58check::decode(text)?;
        let payload = Zeroizing::new(payload);
        if found != version {
            return Err(KeyError::WrongNetwork(found));
        }
        match payload.split_first_chunk::<32>() {
            Some((key, [WIF_COMPRESSED])) => Self::from_bytes(*key),
            Some((_, [])) => Err(KeyError::Uncompressed),
            _ => Err(KeyError::Secret),
        }
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey([redacted])")
    }
}

/// An ECDSA signature with low S.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature(ecdsa::Signature);

impl Signature {
    /// Longest strict DER form of a low-S signature, in bytes.
    pub const DER_LEN_MAX: usize = 71;

    /// In DER.
    #[must_use]
    pub fn to_der(&self) -> Vec<u8> {
        self.0.to_der().as_bytes().to_vec()
    }

    /// As r then s, 32 bytes each, big-endian.
    #[must_use]
    pub fn to_compact(&self) -> [u8; 64] {
        self.0.to_bytes().into()
    }

    /// From r then s, 32 bytes each, big-endian, with low S: a signature has one compact form.
    ///
    /// # Errors
    /// When r or s is out of range, or S is high.
    pub fn from_compact(bytes: &[u8; 64]) -> Result<Self, SignatureError> {
        let signature =
            ecdsa::Signature::from_slice(bytes).map_err(|_| SignatureError::Encoding)?;
        if signature.normalize_s() != signature {
            return Err(SignatureError::HighS);
        }
        Ok(Self(signature))
    }

    /// From strict DER (BIP66) with low S (BIP146).
    ///
    /// # Errors
    /// When the bytes are any other form, even of a valid signature.
    pub fn from_der_strict(bytes: &[u8]) -> Result<Self, SignatureError> {
        let signature = ecdsa::Signature::from_der(bytes).map_err(|_| SignatureError::Encoding)?;
        // One encoding only: whatever the parser may forgive does not come out the same.
        if signature.to_der().as_bytes() != bytes {
            return Err(SignatureError::Encoding);
        }
        if signature.normalize_s() != signature {
            return Err(SignatureError::HighS);
        }
        Ok(Self(signature))
    }

    /// Checks it against a key and a hash.
    ///
    /// # Errors
    /// When it does not match.
    pub fn verify(&self, key: &PublicKey, hash: &Hash256) -> Result<(), SignatureError> {
        if key.0.verifies(&self.0, hash) { Ok(()) } else { Err(SignatureError::Mismatch) }
    }
}
