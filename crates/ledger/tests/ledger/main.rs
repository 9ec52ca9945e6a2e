//! The ledger through its public interface.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    missing_debug_implementations,
    reason = "tests work on small numbers"
)]

mod chain;
mod decode;
#[cfg(feature = "bitcoinconsensus")]
mod differential;
mod difficulty;
mod difficulty_jump;
mod fork_choice;
mod hybrid_spec;
mod mempool;
mod mempool_reorg;
mod oracle;
mod pbft;
mod pbft_spec;
mod proof;
mod properties;
mod replacement;
mod signatures;
mod spec;
mod template;
mod traps_block;
mod traps_transaction;
