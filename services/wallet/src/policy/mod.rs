//! Policies: what holds for the payments of a wallet, who approves them, and what is known of the
//! past. The rules stand in the wallet's sealed file; what was spent and what waits is read from
//! the audit log at every start.

mod approve;
mod book;
mod error;
mod judge;
mod set;

pub(crate) use approve::Asked;
pub(crate) use book::{Book, Pending};
pub use error::PolicyError;
pub(crate) use error::policy_failure;
pub(crate) use judge::{Judgement, judge};
pub(crate) use set::{check, message};
