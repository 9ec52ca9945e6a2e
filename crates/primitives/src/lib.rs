//! Amounts, hashes, transactions, blocks, merkle trees and Bitcoin's encoding.
//!
//! The formats are Bitcoin's, byte for byte: an 80-byte header, double SHA-256, compact targets,
//! the legacy serialization of transactions. Pure: no IO, no clock, no entropy, no panics.

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

pub mod amount;
pub mod block;
pub mod encode;
pub mod hash;
pub mod height;
pub mod merkle;
pub mod pow;
pub mod sighash;
pub mod transaction;

pub use amount::{Amount, AmountError};
pub use block::{Block, BlockHeader};
pub use encode::{Decode, DecodeError, Encode};
pub use hash::{BlockHash, Hash256, HashParseError, MerkleRoot, Txid, sha256, sha256d};
pub use height::BlockHeight;
pub use pow::{CompactTarget, HeaderHasher, Target, TargetError, Work};
pub use transaction::{OutPoint, Script, Transaction, TxIn, TxOut, Utxo};
