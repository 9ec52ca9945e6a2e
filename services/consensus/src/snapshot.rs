//! How things stand, for those who ask.

use std::time::Duration;

use pentad_pbft::{Evidence, Status};

use crate::subject::Subject;

/// The driver's answer to a question.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) status: Status,
    /// Since each validator's last valid message.
    pub(crate) since_heard: Vec<Option<Duration>>,
    /// Seconds by which each validator's clock seems to be ahead, from its last proposal.
    pub(crate) skews: Vec<Option<i64>>,
    /// Since the last block became final here.
    pub(crate) since_progress: Option<Duration>,
    /// Since this view began.
    pub(crate) since_view: Duration,
    /// What is agreed on.
    pub(crate) subject: Subject,
    /// What waits for agreement: transactions, or blocks that are deep enough.
    pub(crate) pending: u64,
    /// How long the first of them has waited.
    pub(crate) longest_wait: Option<Duration>,
    /// The latest first.
    pub(crate) evidence: Vec<Evidence>,
}
