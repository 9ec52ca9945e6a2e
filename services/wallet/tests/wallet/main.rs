//! The wallet service over its gRPC surface, against a chain service in memory.

mod audit;
mod backup;
mod bed;
mod bump;
mod errors;
mod exports;
mod fake_chain;
mod following;
mod history;
mod import;
mod keystore;
mod labels;
mod leases;
mod policy;
mod psbt;
mod restore;
mod retries;
mod script_sig;
mod secrets;
mod send;
mod settle;
mod unlock;
mod writes;
