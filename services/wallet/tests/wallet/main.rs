//! The wallet service over its gRPC surface, against a chain service in memory.

mod audit;
mod bed;
mod errors;
mod exports;
mod fake_chain;
mod keystore;
mod leases;
mod policy;
mod restore;
mod retries;
mod secrets;
mod send;
mod settle;
mod unlock;
