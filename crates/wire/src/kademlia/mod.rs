//! Kademlia, wire-compatible with the PyPI package `kademlia` 2.2, without IO.
//!
//! [`Dht`] is the whole protocol as a step machine: datagrams, time and wishes go in, datagrams
//! and results come out. The parts stand on their own: the codec ([`Datagram`] over [`msgpack`]),
//! the [`RoutingTable`], the [`Lookup`], the [`ValueStore`] and the signed [`EndpointRecord`].
//!
//! Time is a [`std::time::Duration`] since any fixed moment that the caller chooses.
//!
//! Source: P. Maymounkov, D. Mazières, "Kademlia: A Peer-to-peer Information System Based on the
//! XOR Metric", IPTPS 2002; section numbers in this module refer to its long version.

mod admission;
mod bucket;
mod contact;
mod datagram;
mod dht;
mod lookup;
pub mod msgpack;
mod node_id;
mod record;
mod table;
mod values;

pub use admission::{AMPLIFICATION_MAX, PROOF_LIFETIME};
pub use contact::{Contact, Scope, Subnet};
pub use datagram::{
    Datagram, DatagramError, Found, MAX_DATAGRAM_BYTES, MAX_VALUE_BYTES, Request, RpcId,
};
pub use dht::{Dht, Input, MAX_SEARCHES, Outcome, Output, Settings, Ticket, Wish};
pub use lookup::Lookup;
pub use msgpack::Value;
pub use node_id::{Distance, NodeId, ParseNodeIdError};
pub use record::{EndpointRecord, NetworkId, RecordError, VerifiedRecord, node_id, record_key};
pub use table::{BucketView, Insertion, RoutingTable};
pub use values::{StoreError, ValueStore};

/// Contacts in a bucket, in a reply and in the result of a lookup: k of the paper.
pub const K: usize = 20;
/// Calls of a lookup on their way at once: α of the paper.
pub const ALPHA: usize = 3;

#[cfg(test)]
pub(crate) mod tests;
