//! Networks of real processes over real sockets.

mod alone;
mod attacks;
mod bad_input;
mod coins;
mod context;
mod crash;
mod disk;
mod every_method;
mod foreign_peer;
mod fork;
mod grpc;
mod kademlia;
mod many;
mod observability;
mod page;
mod payment;
mod pbft;
mod pbft_kills;
mod pbft_liars;
mod proof;
mod readme;
mod stranger;
mod terminal;
mod tutorial;
mod wallet_kills;
mod workers;
