//! Base58 with a version byte and a checksum of four bytes.

use pentad_primitives::sha256d;
use thiserror::Error;

const CHECKSUM_LEN: usize = 4;
/// Longest text that is looked at: decoding costs the square of the length, and the longest thing
/// encoded here, an extended key, has 111 characters.
const TEXT_LEN_MAX: usize = 128;

/// Why a text is not base58check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Base58CheckError {
    /// A character that base58 does not have.
    #[error("character {character:?} at position {position} is not base58")]
    Character {
        /// The character.
        character: char,
        /// Counted from 1.
        position: usize,
    },
    /// Too short for a version and a checksum, or longer than anything encoded so.
    #[error("wrong length")]
    Length,
    /// A typing error, most likely.
    #[error("the checksum does not match; is there a typing error?")]
    Checksum,
}

/// Encodes a version byte and a payload.
#[must_use]
pub fn encode(version: u8, payload: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(payload.len().saturating_add(1 + CHECKSUM_LEN));
    bytes.push(version);
    bytes.extend_from_slice(payload);
    bytes.extend(checksum(&bytes));
    bs58::encode(bytes).into_string()
}

/// The version byte and the payload.
///
/// # Errors
/// When the text is not base58, too short or long, or its checksum is wrong.
pub fn decode(text: &str) -> Result<(u8, Vec<u8>), Base58CheckError> {
    if text.len() > TEXT_LEN_MAX {
        return Err(Base58CheckError::Length);
    }
    let bytes = bs58::decode(text).into_vec().map_err(|_| bad_character(text))?;
    let (body, sum) = bytes.split_last_chunk::<CHECKSUM_LEN>().ok_or(Base58CheckError::Length)?;
    if checksum(body) != *sum {
        return Err(Base58CheckError::Checksum);
    }
    let (version, payload) = body.split_first().ok_or(Base58CheckError::Length)?;
    Ok((*version, payload.to_vec()))
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_LEN] {
    let [a, b, c, d, ..] = sha256d(bytes).to_bytes();
    [a, b, c, d]
}

fn bad_character(text: &str) -> Base58CheckError {
    let is_base58 = |c: char| c.is_ascii_alphanumeric() && !matches!(c, '0' | 'O' | 'I' | 'l');
    let found = (1..).zip(text.chars()).find(|(_, character)| !is_base58(*character));
    found.map_or(Base58CheckError::Length, |(position, character)| Base58CheckError::Character {
        character,
        position,
    })
}
