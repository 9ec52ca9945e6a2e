//! Answers to those who ask.

use std::time::Instant;

use super::Driver;
use crate::snapshot::Snapshot;

impl Driver {
    pub(super) fn snapshot(&self) -> Snapshot {
        let oldest = self.parts.pending.oldest();
        Snapshot {
            status: self.core.status(),
            since_heard: self.routes.since_heard(),
            skews: self.routes.skews(),
            since_progress: self.progress_at.as_ref().map(Instant::elapsed),
            since_view: self.view_since.elapsed(),
            pending: self.parts.pending.count(),
            longest_wait: oldest.map(|(_, since)| since.elapsed()),
            evidence: self.evidence.iter().cloned().collect(),
        }
    }
}
