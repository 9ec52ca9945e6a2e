//! The peer protocol without IO: frames, chunks, handshake, sync and relay decisions, penalties,
//! Kademlia. What is sent is described in `docs/wire-protocol.md`.
//!
//! Time is an argument everywhere, counted from any fixed start.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::panic,
        clippy::expect_used
    )
)]

pub mod address;
mod aging;
pub mod budget;
pub mod chunk;
mod class;
pub mod compact;
pub mod consensus;
pub mod eviction;
pub mod finality;
pub mod frame;
pub mod gate;
pub mod handshake;
mod identity;
pub mod inbox;
pub mod intake;
pub mod kademlia;
mod kind;
pub mod orphans;
pub mod penalty;
mod rate;
mod recent;
pub mod relay;
pub mod sync;
mod tally;
#[cfg(test)]
mod tests;

pub use chunk::{Assembler, Chunker};
pub use class::{CERTIFICATE_MAX, Class};
pub use frame::{Frame, FrameError};
pub use identity::{Direction, PeerId, StaticKey, StaticKeyError};
pub use kind::Kind;
pub use penalty::Offence;
pub use recent::Recent;
pub use tally::{Tallies, Tally};
