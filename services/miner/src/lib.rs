//! The miner service: proof of work
