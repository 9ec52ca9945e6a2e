//! The miner service: takes block templates from the chain service, searches nonces on threads of
//! its own, and submits what it finds.
//!
//! Invariant: the runtime is never blocked by the search.
//! Invariant: a thread drops stale work within a batch of nonces.

mod chain;
mod config;
mod driver;
mod error;
mod extra_nonce;
mod generate;
mod grpc;
mod meter;
mod miner;
mod payout;
mod pool;
mod search;
mod status;
mod tip;

pub use config::MinerConfig;
pub use error::MinerError;
pub use miner::Miner;
