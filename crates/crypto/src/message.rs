//! Signed messages in Bitcoin's format: whoever has the address can tell that its owner wrote the
//! text. 65 bytes: a header that says which of the possible keys signed, then r and s.

use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};
use pentad_primitives::Hash256;
use pentad_primitives::encode::{CompactSize, Encode as _};
use pentad_primitives::hash::sha256d;
use thiserror::Error;

use crate::hash::KeyHash;
use crate::keys::{PublicKey, SecretKey};

/// In front of every text, after its length: so that no signed text is a signed transaction.
const MAGIC: &[u8] = b"\x18Bitcoin Signed Message:\n";
/// Header of the first of four possible keys, if it is compressed.
const HEADER_COMPRESSED: u8 = 31;

/// A signature of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageSignature([u8; Self::LEN]);

/// Why a signature of a text counts for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MessageError {
    /// It has another length, another header, or numbers out of range.
    #[error("not a message signature of a compressed key")]
    Encoding,
    /// It is another's, or of another text.
    #[error("the signature is not by the owner of this address, or not of this text")]
    Mismatch,
}

/// What is signed: sha256d over the magic line and the text, each after its length.
#[must_use]
pub fn message_hash(text: &str) -> Hash256 {
    let mut bytes = MAGIC.to_vec();
    CompactSize::of(text.len()).encode(&mut bytes);
    bytes.extend_from_slice(text.as_bytes());
    sha256d(&bytes)
}

impl MessageSignature {
    /// Length in bytes.
    pub const LEN: usize = 65;

    /// Signs a text.
    #[must_use]
    pub fn sign(key: &SecretKey, text: &str) -> Self {
        let hash = message_hash(text);
        let (signature, recovery) = key.signing_key().sign_prehash_recoverable(hash.as_bytes());
        let mut bytes = [0; Self::LEN];
        let (header, numbers) = bytes.split_at_mut(1);
        header.fill(HEADER_COMPRESSED.saturating_add(recovery.to_byte()));
        numbers.copy_from_slice(&signature.to_bytes());
        Self(bytes)
    }

    /// Checks that the owner of a P2PKH address signed the text.
    ///
    /// # Errors
    /// When it is no signature, or another's, or of another text.
    pub fn verify(&self, owner: &KeyHash, text: &str) -> Result<(), MessageError> {
        let [header, numbers @ ..] = &self.0;
        let recovery = header.checked_sub(HEADER_COMPRESSED).and_then(RecoveryId::from_byte);
        let recovery = recovery.ok_or(MessageError::Encoding)?;
        let signature = Signature::from_slice(numbers).map_err(|_| MessageError::Encoding)?;
        let hash = message_hash(text);
        let key = VerifyingKey::recover_from_prehash(hash.as_bytes(), &signature, recovery)
            .map_err(|_| MessageError::Mismatch)?;
        let key = PublicKey::from_bytes(key.to_sec1_point(true).as_bytes());
        let key = key.map_err(|_| MessageError::Mismatch)?;
        if key.key_hash() == *owner { Ok(()) } else { Err(MessageError::Mismatch) }
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// From its bytes; what they are worth, [`MessageSignature::verify`] says.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }
}
