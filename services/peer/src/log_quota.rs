//! Strangers decide how often they come and misbehave; they shall not fill the disk with log lines.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The time that a quota is for.
const WINDOW: Duration = Duration::from_secs(60);

/// So many lines a minute. A std mutex is right: it is held for a few instructions.
#[derive(Debug)]
pub(crate) struct LogQuota {
    lines_max: u32,
    state: Mutex<Option<(Instant, u32)>>,
}

impl LogQuota {
    pub(crate) const fn new(lines_max: u32) -> Self {
        Self { lines_max, state: Mutex::new(None) }
    }

    /// Whether one more line may be written at `now`.
    pub(crate) fn take(&self, now: Instant) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, lines) = match *state {
            Some((since, lines)) if now.duration_since(since) < WINDOW => (since, lines + 1),
            _ => (now, 1),
        };
        *state = Some((since, lines));
        lines <= self.lines_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attack 41: log lines.
    #[test]
    fn log_lines_are_capped() {
        let (quota, now) = (LogQuota::new(10), Instant::now());
        assert_eq!((0..100).filter(|_| quota.take(now)).count(), 10);
        assert!(quota.take(now + WINDOW));
    }
}
