//! How many traces other nodes may have continued here: they choose what is sampled, and this
//! node pays for it.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::counts::COUNTS;

/// Spans from other nodes that are continued in a second, and as many at once.
const PER_SECOND: f64 = 500.0;

static BUDGET: Mutex<Option<Budget>> = Mutex::new(None);

#[derive(Clone, Copy, Debug)]
struct Budget {
    left: f64,
    at: Instant,
}

impl Budget {
    fn take(&mut self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = since.mul_add(PER_SECOND, self.left).min(PER_SECOND);
        self.at = now;
        let is_enough = self.left >= 1.0;
        if is_enough {
            self.left -= 1.0;
        }
        is_enough
    }
}

/// Whether a span of another node is continued here. It must not be, and is counted, where others
/// ask for more than this node can spare.
#[must_use]
pub fn take_foreign() -> bool {
    let now = Instant::now();
    let mut budget = BUDGET.lock().unwrap_or_else(PoisonError::into_inner);
    let taken = budget.get_or_insert(Budget { left: PER_SECOND, at: now }).take(now);
    drop(budget);
    if !taken {
        COUNTS.contexts_ignored.inc();
    }
    taken
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn other_nodes_cannot_have_everything_traced() {
        let start = Instant::now();
        let mut budget = Budget { left: PER_SECOND, at: start };
        let taken = |budget: &mut Budget, now| (0..10_000).filter(|_| budget.take(now)).count();
        assert_eq!(taken(&mut budget, start), 500);
        assert_eq!(taken(&mut budget, start + Duration::from_millis(100)), 50);
        assert_eq!(taken(&mut budget, start + Duration::from_secs(60)), 500);
    }
}
