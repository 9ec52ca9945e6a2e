//! How many transactions may wait for a block before whoever hands in more has to wait too.
//!
//! Where blocks are final at once, the mempool is only a queue in front of consensus. Let in faster
//! than they become final, transactions would wait longer and longer in it, on some nodes longer
//! than on others, until it looks as if primaries kept them out.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// As many may wait as became final in this time.
const WINDOW: Duration = Duration::from_millis(500);
/// So many always may: enough for a block that is worth making, and for a network that was idle.
const WAITING_MIN: usize = 1_000;
/// Nobody waits longer than this: without validators nothing becomes final, and the mempool has
/// bounds of its own.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// What became final lately. A std mutex is right: it is held for a few instructions.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    recent: Mutex<VecDeque<(Instant, usize)>>,
}

impl Backlog {
    /// A block made so many transactions final that waited.
    pub(crate) fn on_final(&self, count: usize, now: Instant) {
        let mut recent = self.recent();
        recent.push_back((now, count));
        while recent.front().is_some_and(|(at, _)| now.duration_since(*at) > WINDOW) {
            recent.pop_front();
        }
    }

    /// How many may wait.
    pub(crate) fn limit(&self, now: Instant) -> usize {
        let recent = self.recent();
        let of_window =
            recent.iter().filter(|(at, _)| now.saturating_duration_since(*at) <= WINDOW);
        of_window.map(|(_, count)| count).sum::<usize>().max(WAITING_MIN)
    }

    fn recent(&self) -> MutexGuard<'_, VecDeque<(Instant, usize)>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_may_wait_as_became_final_lately() {
        let backlog = Backlog::default();
        let start = Instant::now();
        assert_eq!(backlog.limit(start), WAITING_MIN);
        for step in 0..10 {
            backlog.on_final(WAITING_MIN, start + WINDOW * step / 2);
        }
        // Those of this moment, of half a window ago and of a window ago.
        assert_eq!(backlog.limit(start + WINDOW * 9 / 2), 3 * WAITING_MIN);
        assert_eq!(backlog.recent().len(), 3, "what is older is forgotten");
        assert_eq!(backlog.limit(start + WINDOW * 11 / 2), WAITING_MIN);
        assert_eq!(backlog.limit(start + WINDOW * 20), WAITING_MIN);
    }
}
