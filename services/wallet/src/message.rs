//! Signed messages: the text forms around the signature itself.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use pentad_crypto::{Address, AddressVersions, KeyHash, MessageError, MessageSignature};
use sha2::{Digest as _, Sha256};

use crate::error::WalletError;

/// Most bytes of a text: what a call may carry, and more than anybody reads.
const MESSAGE_LEN_MAX: usize = 64 * 1024;

/// The key that an address stands for.
pub(crate) fn owner(address: &str, versions: &AddressVersions) -> Result<KeyHash, WalletError> {
    let field = || "address".to_owned();
    match Address::decode(address, versions) {
        Ok(Address::P2pkh(owner)) => Ok(owner),
        Ok(Address::P2sh(_)) => Err(WalletError::NoKey),
        Err(problem) => Err(WalletError::Address { field: field(), problem }),
    }
}

/// Texts that are signed, and those that are looked at, have a bound.
pub(crate) fn bounded(text: &str) -> Result<&str, WalletError> {
    match text.len() {
        0..=MESSAGE_LEN_MAX => Ok(text),
        found => Err(WalletError::MessageLength { found, most: MESSAGE_LEN_MAX }),
    }
}

/// SHA-256 of a text, for the audit log.
pub(crate) fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

pub(crate) fn to_text(signature: &MessageSignature) -> String {
    BASE64_STANDARD.encode(signature.as_bytes())
}

/// Whether `signature`, in base64, is that of the owner for the text.
pub(crate) fn verify(owner: &KeyHash, text: &str, signature: &str) -> Result<(), MessageError> {
    let bytes = BASE64_STANDARD.decode(signature.trim()).map_err(|_| MessageError::Encoding)?;
    let bytes = bytes.try_into().map_err(|_| MessageError::Encoding)?;
    MessageSignature::from_bytes(bytes).verify(owner, text)
}
