//! The consensus service: a validator's part in agreement by PBFT (design.md section 4).
//!
//! The core ([`pentad_pbft::Replica`]) decides; this service gives it messages from the peer
//! service, what the chain's tip and mempool do, and the time, and does what it says: writes the
//! safety log, sends, asks the chain service for blocks and about them, hands it final ones.
//!
//! Invariant: nothing that binds this validator leaves before it is durable in the safety log.
//! Invariant: a failed write of the log ends the process; a log that may be old does not vote.
//! Invariant: a node without a validator key signs nothing and needs no core: it follows.

mod backoff;
mod body;
mod chain;
mod config;
mod connect;
mod driver;
mod error;
mod event;
mod explain;
mod grpc;
mod key_file;
mod margin;
mod message;
mod metrics;
mod names;
mod pending;
mod relay;
mod safety;
mod service;
mod snapshot;
mod subject;
mod tip;
mod traces;
mod validator;
mod vitals;

pub use config::ConsensusConfig;
pub use error::StartError;
pub use key_file::KeyFileError;
pub use safety::SafetyError;
pub use service::Consensus;
