//! How the messages of the consensus protocol travel. They are opaque here.

use crate::Class;

/// The capability that a node announces while its consensus service exchanges messages.
pub const CAPABILITY: &str = "consensus";
/// Most bytes of what shows which validator a node is: a key and a signature.
pub const PROOF_MAX: usize = 128;
/// Most bytes of a message: a proposal with its block.
pub const PAYLOAD_MAX: usize = 8 << 20;
/// Most bytes of a message that travels in class consensus: votes, and a view change with the
/// certificates of 64 validators. It fits into one chunk.
pub const URGENT_PAYLOAD_MAX: usize = 16 << 10;

/// Most bytes of the trace contexts beside a proposal: 32 of 24 bytes.
pub const TRACES_MAX: usize = 32 * 24;

/// The class of a message: what is large must not stand in the way of votes.
#[must_use]
pub const fn class_of(payload_len: usize) -> Class {
    if payload_len <= URGENT_PAYLOAD_MAX { Class::Consensus } else { Class::Announcements }
}
