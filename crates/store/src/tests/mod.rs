//! Tests over whole files and engines; what is pure is tested beside its code.

mod block_log;
mod chain_store;
mod data_dir;
mod engines;
mod index;
pub mod sample;
mod transaction_file;
