//! The peer protocol without IO: frames, chunks, Kademlia, sync decisions
