//! The chain service: blocks, UTXO index, mempool, templates, events.
//!
//! One [writer](writer) thread owns all state that changes; everybody else reads what it
//! [publishes](view). Blocks and transactions go to it through a bounded queue ([`Submitter`]),
//! reads never do ([`Reader`]).
//!
//! Invariant: no block is trusted because of who delivered it.
//! Invariant: under PBFT no block is kept without a certificate of its network's validators.
//! Invariant: nothing is acknowledged before it is durable.
//! Invariant: a read never waits for a block being checked.

mod ahead;
mod backlog;
mod chain;
mod clock;
mod config;
mod cores;
mod departures;
mod dry_run;
mod error;
mod finality;
mod flow;
mod follow;
mod grpc;
mod metrics;
mod progress;
mod reader;
mod refusal;
mod scan;
mod set_hash;
mod signature_cache;
mod submitter;
#[cfg(test)]
mod tests;
mod traces;
mod verify;
mod view;
mod writer;

pub use chain::{Chain, OpenError, Options, read_spec};
pub use clock::{Clock, ManualClock, SystemClock};
pub use config::{ChainConfig, MempoolConfig, StoreConfig};
pub use error::{ChainError, FinalityError};
pub use finality::{Certified, Finality};
pub use follow::{Cursor, Step, steps};
pub use progress::{Phase, Progress};
pub use reader::{BlockRef, Reader, View};
pub use refusal::Refusal;
pub use submitter::{BatchTicket, Submitter, Ticket};
pub use view::{MempoolEvent, Published, TipView};
pub use writer::{Admission, BlockOutcome, Ended, HeadersChecked, Origin, TemplateRefused};
