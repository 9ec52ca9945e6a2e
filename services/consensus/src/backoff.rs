//! Pauses that grow with every failure.

use std::time::Duration;

/// The first pause.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// The longest: a service that is back is used again within it.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Pauses between attempts to reach another service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: PAUSE_MIN }
    }
}

impl Backoff {
    /// It works again.
    pub(crate) const fn reset(&mut self) {
        self.next = PAUSE_MIN;
    }

    /// Waits, longer than the last time.
    pub(crate) async fn pause(&mut self) {
        tokio::time::sleep(self.next).await;
        self.next = self.next.saturating_mul(2).min(PAUSE_MAX);
    }
}
