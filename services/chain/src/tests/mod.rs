//! Tests of the whole service over its gRPC surface, on development networks.

mod assembly;
mod blocks;
mod crash;
mod events;
mod fixture;
mod reads;
mod start;
mod transactions;
