//! Answers to those who ask.

use std::time::Instant;

use super::Driver;
use crate::snapshot::Snapshot;

impl Driver {
    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            status: self.core.status(),
            since_heard: self.routes.since_heard(),
            skews: self.routes.skews(),
            since_progress: self.progress_at.as_ref().map(Instant::elapsed),
            since_view: self.view_since.elapsed(),
            subject: self.parts.chain.subject(),
            pending: self.waiting(),
            longest_wait: self.longest_wait(),
            evidence: self.evidence.iter().cloned().collect(),
        }
    }
}
