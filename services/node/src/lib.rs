//! A node in one process: the services behind one gRPC port, their clients wired straight to each
//! other's tower services.
//!
//! | in the data directory | |
//! |---|---|
//! | `chain/` | blocks, indexes, the lock on the directory |
//! | `wallets/`, `payments/` | sealed keys; payments made and under way |
//! | `peer/` | the node's key, its routing table, anchors |
//! | `consensus/` | the safety log of a validator |
//! | `cookie` | the credential of local clients, mode 0600 |
//! | `network.json` | where to find this node, for the command line |
//!
//! Invariant: the services meet over `api` clients here, too; none links another.

mod args;
mod config;
mod node;
mod presence;

pub use args::NodeArgs;
pub use config::NodeConfig;
pub use node::{NodeError, SERVICE, serve};
