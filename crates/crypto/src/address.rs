//! Addresses: what people pay to.

use pentad_primitives::Script;
use thiserror::Error;

use crate::base58check::{self, Base58CheckError};
use crate::hash::{KeyHash, ScriptHash};
use crate::script;

/// Version bytes of a network's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressVersions {
    /// Of pay-to-public-key-hash.
    pub p2pkh: u8,
    /// Of pay-to-script-hash.
    pub p2sh: u8,
}

impl Default for AddressVersions {
    /// Bitcoin's: addresses begin with 1 and 3.
    fn default() -> Self {
        Self { p2pkh: 0x00, p2sh: 0x05 }
    }
}

/// Whom an output pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// The holder of a key.
    P2pkh(KeyHash),
    /// Those whom a redeem script names.
    P2sh(ScriptHash),
}

/// Why a text is not an address of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AddressError {
    /// It is not base58check at all.
    #[error("not an address: {0}")]
    Encoding(#[from] Base58CheckError),
    /// It has not 20 bytes.
    #[error("not an address: its payload has {0} bytes, not 20")]
    Length(usize),
    /// A version byte that this network does not use.
    #[error(
        "an address of another network: its version byte is {found:#04x}, \
         not {p2pkh:#04x} or {p2sh:#04x}",
        p2pkh = versions.p2pkh,
        p2sh = versions.p2sh
    )]
    WrongNetwork {
        /// The version byte.
        found: u8,
        /// What the network uses.
        versions: AddressVersions,
    },
}

impl Address {
    /// As base58check with the network's version byte.
    #[must_use]
    pub fn encode(&self, versions: &AddressVersions) -> String {
        match self {
            Self::P2pkh(hash) => base58check::encode(versions.p2pkh, hash.as_bytes()),
            Self::P2sh(hash) => base58check::encode(versions.p2sh, hash.as_bytes()),
        }
    }

    /// Reads an address of this network.
    ///
    /// # Errors
    /// When the text is no address, or one of another network.
    pub fn decode(text: &str, versions: &AddressVersions) -> Result<Self, AddressError> {
        let (version, payload) = base58check::decode(text)?;
        let hash: [u8; 20] =
            payload.as_slice().try_into().map_err(|_| AddressError::Length(payload.len()))?;
        if version == versions.p2pkh {
            Ok(Self::P2pkh(KeyHash::from_bytes(hash)))
        } else if version == versions.p2sh {
            Ok(Self::P2sh(ScriptHash::from_bytes(hash)))
        } else {
            Err(AddressError::WrongNetwork { found: version, versions: *versions })
        }
    }

    /// The script of an output that pays it.
    #[must_use]
    pub fn script_pubkey(&self) -> Script {
        match self {
            Self::P2pkh(hash) => script::p2pkh_script(hash),
            Self::P2sh(hash) => script::p2sh_script(hash),
        }
    }
}
