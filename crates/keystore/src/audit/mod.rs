//! The audit log: every use of a key, in a chain of hashes.
//!
//! `<data>/audit.log`, mode 0600, is only ever appended to. A line is one entry: 64 hex digits, a
//! space, JSON in one line. The digits are SHA-256 over the hash of the line before (32 bytes;
//! zeros for the first) and the JSON; so whoever knows one line's hash knows all lines before it.
//!
//! A file of 8 MiB is followed by another one, `audit.log.2` and so on, in which numbers and the
//! chain of hashes go on. It begins with an entry `continued`, which repeats the last hash before,
//! and with entries that say what must be known of all before, so that a start reads the last file
//! only. All files together are the log: whoever takes one away breaks the chain.
//!
//! An entry is durable before what it tells of is done: before a signature leaves, before words
//! are shown. Entries that come at one time share one sync.
//!
//! `durable` in each line is the number of the last entry that was synced when the line was
//! written. A line that is not what was written can be the tail that a crash tore only if no later
//! line says that it was durable: then it is cut, and an entry says so. Otherwise the log is
//! damaged, and nothing is appended to it.

mod entry;
mod error;
mod line;
mod log;
mod scan;
#[cfg(test)]
mod segment_tests;
mod segments;
#[cfg(test)]
mod tests;

pub use entry::{Entry, Event, Paid};
pub use error::AuditError;
pub use line::LineHash;
pub use log::{AuditLog, Head, Summary};
pub use scan::Recorded;
