//! Tests of the whole service over its gRPC surface, on development networks.

mod assembly;
mod blocks;
mod bulk;
mod crash;
mod events;
mod finality;
mod fixture;
mod following;
mod hybrid;
mod hybrid_properties;
mod mempool_changes;
mod pbft;
mod pbft_sync;
mod properties;
mod queries;
mod reads;
mod rebuild;
mod set_hash;
mod signatures;
mod start;
mod transactions;
mod validators;
mod verify;
