//! The wallet service: an encrypted keystore, and payments from its coins.
//!
//! Invariant: a key leaves this service only for whoever gives its wallet's passphrase again.
//! Invariant: a use of a key is in the audit log before it has an effect.
//! Invariant: an address is on disk before it is in anybody's hands.
//! Invariant: two payments never use one coin, and one idempotency key never pays twice.
//! Invariant: a payment that was answered is made, whatever process dies.

mod audit;
mod backup;
mod balance;
mod bump;
mod chain;
mod config;
mod error;
mod grpc;
mod import;
mod labels;
mod ledger;
mod message;
mod metrics;
mod payment;
mod policy;
mod psbt;
mod restore;
mod send;
mod settle;
mod wallets;

pub use backup::BackupError;
pub use bump::BumpError;
pub use config::WalletConfig;
pub use error::WalletError;
pub use import::ImportError;
pub use labels::LabelError;
pub use ledger::LedgerError;
pub use payment::{JournalError, Lack, PAYMENTS_MAX, Shortage};
pub use policy::PolicyError;
pub use psbt::SigningError;
pub use wallets::{StartError, Wallets};
