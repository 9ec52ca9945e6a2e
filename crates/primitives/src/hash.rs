//! Double SHA-256 and the ids made of it.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// Single SHA-256.
#[must_use]
pub fn sha256(data: &[u8]) -> [u8; 32] {
    Sha256::digest(data).into()
}

/// Double SHA-256: Bitcoin's hash of headers, transactions and merkle nodes.
#[must_use]
pub fn sha256d(data: &[u8]) -> Hash256 {
    Hash256(Sha256::digest(Sha256::digest(data)).into())
}

/// A displayed hash that is not 64 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("expected a hash of 64 hex digits")]
pub struct HashParseError;

macro_rules! hash_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// Held in internal byte order; displayed and parsed reversed, as Bitcoin does.
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// All zero bytes.
            pub const ZERO: Self = Self([0; 32]);

            /// From internal byte order.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// In internal byte order.
            #[must_use]
            pub const fn to_bytes(self) -> [u8; 32] {
                self.0
            }

            /// In internal byte order.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().rev().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = HashParseError;

            fn from_str(text: &str) -> Result<Self, HashParseError> {
                let mut bytes = [0; 32];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| HashParseError)?;
                bytes.reverse();
                Ok(Self(bytes))
            }
        }
    };
}

hash_type! {
    /// A double SHA-256 hash of anything.
    Hash256
}
hash_type! {
    /// Id of a transaction: the hash of its encoding.
    Txid
}
hash_type! {
    /// Hash of a block header.
    BlockHash
}
hash_type! {
    /// Root of the merkle tree over a block's transaction ids.
    MerkleRoot
}

macro_rules! from_hash {
    ($($name:ident),*) => {
        $(impl From<Hash256> for $name {
            fn from(hash: Hash256) -> Self {
                Self(hash.0)
            }
        })*
    };
}

from_hash!(Txid, BlockHash, MerkleRoot);
