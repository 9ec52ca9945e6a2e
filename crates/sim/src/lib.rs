//! Whole PBFT networks in virtual time: a run, with all its faults, is a function of its seed.
//!
//! The core under test is the one that ships ([`pentad_pbft::Replica`]); around it stand models of
//! a node's disk, ledger and links, adversaries, and a checker that sees every message and block
//! of honest replicas. `docs/protocol/testing.md` says what is checked and how to replay a seed.

pub mod adversary;
pub mod byzantine;
pub mod campaign;
pub mod checker;
pub mod claim;
pub mod disk;
mod driver;
mod faults;
pub mod hybrid;
pub mod keys;
pub mod ledger;
pub mod model;
pub mod network;
pub mod node;
pub mod queue;
pub mod rng;
mod services;
pub mod trace;
pub mod world;

pub use network::{LinkModel, NodeId};
pub use world::{Setup, World};
