//! Hashes, secp256k1 keys and signatures, addresses, script templates, key derivation.
//!
//! As strict as can be, so that third parties cannot alter a transaction: compressed keys, strict
//! DER, low S, SIGHASH_ALL, minimal pushes. Pure: no IO, no clock, no entropy, no panics.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::panic
    )
)]

pub mod address;
pub mod base58check;
pub mod hash;
pub mod hd;
pub mod keys;
pub mod message;
pub mod muhash;
pub mod script;
mod verification;

pub use address::{Address, AddressError, AddressVersions};
pub use base58check::Base58CheckError;
pub use hash::{KeyHash, ScriptHash, hash160};
pub use keys::{KeyError, PublicKey, SecretKey, Signature, SignatureError};
pub use message::{MessageError, MessageSignature};
pub use muhash::MuHash;
pub use pentad_primitives::sha256d;
pub use script::{ScriptSigError, ScriptTemplate, classify};
