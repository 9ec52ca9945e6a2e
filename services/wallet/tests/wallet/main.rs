//! The wallet service over its gRPC surface, against a chain service in memory.

mod bed;
mod errors;
mod fake_chain;
mod keystore;
mod leases;
mod retries;
mod secrets;
mod send;
mod settle;
mod unlock;
