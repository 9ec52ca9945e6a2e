//! The everyday verbs.

mod backups;
mod balance;
mod blocks;
mod bump;
mod explain;
mod genesis;
mod history;
mod proofs;
mod send;
mod start;
mod sync;
mod validator;
mod verify;
mod wallets;

use std::time::Duration;

pub use backups::{BackupArgs, RestoreArgs, backup, restore};
pub use balance::balance;
pub use blocks::{generate, print};
pub use bump::bump;
pub use explain::{ExplainTxArgs, explain_stall, explain_tx};
pub use genesis::{Beginning, GENESIS_WALLET, Order, Voter, genesis, make_wallet};
pub use history::history;
pub use proofs::{ProofArgs, VerifyProofArgs, proof, verify_proof};
pub use send::send;
pub use start::start;
pub use sync::sync;
pub use validator::{VALIDATOR_WALLET, ValidatorArgs, ValidatorLine, validator};
pub use verify::verify;
pub use wallets::{create_wallet, print_wallets};

/// A node answers what it knows in milliseconds; a busy laptop may take a thousand times longer.
const READ_DEADLINE: Duration = Duration::from_secs(10);
/// Unlocking and making a wallet hashes its passphrase, slow on purpose; signing many inputs adds.
const KEYS_DEADLINE: Duration = Duration::from_secs(60);
