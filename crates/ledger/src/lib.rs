//! The ledger's rules: verification, fork choice, mempool, block templates.
//!
//! Pure: no IO, no clock, no entropy. Whoever calls passes in the time (`now`, Unix seconds) and a
//! [`UtxoView`], and executes what is returned.
//!
//! A block goes through [`header_tree::HeaderTree::insert`] (work and times), then
//! [`verify::CheckedBlock::check`] (its own bytes), then [`connect::connect`] (against the UTXO
//! set), then its [`verify::SignatureCheck`]s, which are independent of one another.
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

pub mod coinbase;
pub mod connect;
pub mod difficulty;
pub mod fee_estimate;
pub mod header_tree;
pub mod mempool;
pub mod proof;
pub mod proposal;
pub mod spec;
pub mod template;
pub mod utxo;
pub mod verify;

pub use header_tree::HeaderTree;
pub use mempool::Mempool;
pub use proof::TransactionProof;
pub use spec::ChainSpec;
pub use template::BlockTemplate;
pub use utxo::{BlockUndo, UtxoChanges, UtxoOverlay, UtxoSet, UtxoView};
