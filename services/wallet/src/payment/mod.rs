//! Payments: what is asked for, which coins pay, what is signed, and what is remembered.

mod claim;
mod committer;
mod journal;
mod order;
mod raise;
mod record;
mod select;
mod shortage;
mod sign;
mod size;
mod turns;

pub(crate) use claim::Claim;
pub use journal::JournalError;
pub(crate) use journal::{Journal, Unsettled, Versions};
pub use order::PAYMENTS_MAX;
pub(crate) use order::{Order, SEQUENCE_REPLACEABLE, Source, check_fee_rate, check_key};
pub(crate) use raise::{Raise, RaiseError, Raised};
pub(crate) use record::{Made, PaymentKey, Progress, Record, unix_time};
pub(crate) use select::{SelectError, Selection, select};
pub use shortage::{Lack, Shortage};
pub(crate) use sign::{sign, unsigned};
pub(crate) use size::{INPUT_BYTES, multisig_input_bytes};
pub(crate) use turns::KeyTurns;

/// Blocks over a transaction, its own counted, from which on no reorganisation is expected.
pub(crate) const SETTLED_DEPTH: u32 = 6;
