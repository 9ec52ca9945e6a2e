//! The miner service over its gRPC surface, against a chain and a keystore in memory.

mod bed;
mod fake_chain;
mod fake_keystore;
mod generate;
mod mining;
mod payout;
mod workers;
