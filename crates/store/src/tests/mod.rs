//! Tests over whole files and engines; what is pure is tested beside its code.

mod block_log;
mod certificates;
mod chain_store;
mod coins;
mod damage;
mod data_dir;
mod engines;
#[cfg(feature = "fail-points")]
mod faults;
mod index;
#[cfg(feature = "fail-points")]
mod safety_faults;
mod safety_log;
pub mod sample;
mod set_hash;
mod transaction_file;
