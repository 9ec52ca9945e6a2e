//! Partially signed transactions: made here, signed here, passed round.

mod create;
mod error;
mod multisig;
mod sign;
mod submit;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use pentad_psbt::{PSBT_BYTES_MAX, Psbt, PsbtError};

pub use error::SigningError;
pub(crate) use error::signing_failure;
pub(crate) use sign::is_complete;
pub(crate) use submit::finalize;

/// Reads base64, line ends and blanks in between forgiven.
pub(crate) fn from_text(text: &str) -> Result<Psbt, SigningError> {
    // A third more than the bytes, and some blanks.
    if text.len() > PSBT_BYTES_MAX / 3 * 5 {
        return Err(PsbtError::TooLong.into());
    }
    let text: String = text.split_whitespace().collect();
    let bytes = BASE64_STANDARD.decode(text).map_err(|_| SigningError::NotBase64)?;
    Ok(Psbt::from_bytes(&bytes)?)
}

pub(crate) fn to_text(psbt: &Psbt) -> String {
    BASE64_STANDARD.encode(psbt.to_bytes())
}
