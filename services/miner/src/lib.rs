//! The miner service: takes block templates from the chain service, lets threads of its own and
//! workers in other processes search nonces, and submits what they find.
//!
//! Invariant: the runtime is never blocked by the search.
//! Invariant: a thread drops stale work within a batch of nonces.

mod chain;
mod config;
mod driver;
mod error;
mod extra_nonce;
mod generate;
mod given;
mod grpc;
mod job;
mod meter;
mod metrics;
mod miner;
mod payout;
mod pool;
mod search;
mod session;
mod shares;
mod status;
mod submit;
mod templates;
mod work;
mod worker;
mod workers;

pub use config::{MinerConfig, WorkerConfig};
pub use error::MinerError;
pub use miner::Miner;
pub use worker::Worker;
