//! Payments: what is asked for, which coins pay, what is signed, and what is remembered.

mod claim;
mod committer;
mod journal;
mod order;
mod record;
mod select;
mod shortage;
mod sign;
mod size;
mod turns;

pub(crate) use claim::Claim;
pub use journal::JournalError;
pub(crate) use journal::{Journal, Unsettled};
pub use order::PAYMENTS_MAX;
pub(crate) use order::{Order, Source};
pub(crate) use record::{PaymentKey, Progress, Record, unix_time};
pub(crate) use select::{SelectError, Selection, select};
pub use shortage::Shortage;
pub(crate) use sign::{sign, unsigned};
pub(crate) use size::{INPUT_BYTES, multisig_input_bytes};
pub(crate) use turns::KeyTurns;

/// Blocks over a transaction, its own counted, from which on no reorganisation is expected.
pub(crate) const SETTLED_DEPTH: u32 = 6;
