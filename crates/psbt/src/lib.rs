//! Partially signed transactions (BIP174, version 0): how wallets pass a payment round until all
//! who must have signed it.
//!
//! Only what Pentad has scripts for: P2PKH and P2SH of m-of-n multisig, signed with SIGHASH_ALL.
//! Fields of witnesses and of taproot are refused by name; fields that nobody knows are kept. Pure:
//! no IO, no clock, no entropy, no panics.
//!
//! An own codec: rust-bitcoin's brings its own transactions and a second libsecp256k1, and knows
//! scripts that no ledger of ours takes. It is the oracle of the tests instead.

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

mod decode;
mod encode;
mod error;
mod roles;

use std::collections::BTreeMap;

use pentad_crypto::hd::Fingerprint;
use pentad_crypto::{PublicKey, Signature};
use pentad_primitives::{Script, Transaction};

pub use decode::PSBT_BYTES_MAX;
pub use error::{PsbtError, RoleError};

/// First bytes of every partially signed transaction.
const MAGIC: [u8; 5] = *b"psbt\xff";

/// Keys and values that are kept as they came.
pub type Unknown = BTreeMap<Vec<u8>, Vec<u8>>;
/// Signatures by the compressed public keys that made them.
pub type Signatures = BTreeMap<[u8; PublicKey::LEN], Signature>;
/// Where keys come from, by the keys.
pub type Derivations = BTreeMap<[u8; PublicKey::LEN], Derivation>;

/// Where a key comes from (BIP32).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Derivation {
    /// Of the master key.
    pub fingerprint: Fingerprint,
    /// From the master key; hardened numbers have their highest bit set.
    pub path: Vec<u32>,
}

/// A transaction on its way round those who sign it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Psbt {
    /// What is signed. Its scriptSigs are empty.
    transaction: Transaction,
    /// Fields of the whole that nobody here knows.
    pub unknown: Unknown,
    /// One for each input of the transaction.
    pub inputs: Vec<Input>,
    /// One for each output of the transaction.
    pub outputs: Vec<Output>,
}

/// What is known of an input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Input {
    /// The transaction whose output is spent.
    pub previous: Option<Transaction>,
    /// Who has signed.
    pub signatures: Signatures,
    /// SIGHASH_ALL is asked for in so many words; no other is possible.
    pub has_sighash: bool,
    /// Of a P2SH output.
    pub redeem_script: Option<Script>,
    /// Where its keys come from.
    pub derivations: Derivations,
    /// Once all have signed.
    pub final_script_sig: Option<Script>,
    /// Fields that nobody here knows.
    pub unknown: Unknown,
}

/// What is known of an output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Of a P2SH output.
    pub redeem_script: Option<Script>,
    /// Where its keys come from.
    pub derivations: Derivations,
    /// Fields that nobody here knows.
    pub unknown: Unknown,
}
