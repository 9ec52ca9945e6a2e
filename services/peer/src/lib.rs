//! The peer service: discovery by UDP, encrypted links by TCP, sync and relay.
//!
//! Decisions are made by the pure machines of `pentad-wire`; here are sockets, tasks and the
//! chain service. One task, the [hub](hub), knows all peers; each link has a reader, a writer and
//! a task that answers questions.
//!
//! Invariant: no ledger rule is known here; whatever a peer sends is judged by the chain service.
//! Invariant: the hub never waits for a peer; a link never waits for another one.
//! Invariant: whatever strangers send, the accept loop lives.

mod addresses;
mod addresses_file;
mod ban_list;
mod chain;
mod config;
pub mod discovery;
mod door;
mod exchange;
mod grpc;
mod hub;
mod identity;
mod kept_file;
mod link;
mod listener;
mod log_quota;
mod message;
mod metrics;
mod relay_service;
mod service;
mod shares;
mod startup;
#[cfg(test)]
mod tests;
mod trace;

pub use addresses::AddressError;
pub use config::PeerConfig;
pub use identity::IdentityError;
pub use service::{Peer, Sockets, StartError};
pub use shares::{IpRange, IpRangeError};
