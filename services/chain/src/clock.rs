use std::sync::atomic::{AtomicU32, Ordering};

use pentad_service_kit::since_1970;

/// The node's idea of the time, injected so that tests decide it.
pub trait Clock: Send + Sync + 'static {
    /// Seconds since the Unix epoch.
    fn unix_seconds(&self) -> u32;
}

/// The operating system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn unix_seconds(&self) -> u32 {
        // Block times end in 2106 with their 32 bits.
        u32::try_from(since_1970().as_secs()).unwrap_or(u32::MAX)
    }
}

/// A clock that stands still until it is set.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicU32);

impl ManualClock {
    /// A clock that shows `unix_seconds`.
    #[must_use]
    pub const fn new(unix_seconds: u32) -> Self {
        Self(AtomicU32::new(unix_seconds))
    }

    /// Sets the clock.
    pub fn set(&self, unix_seconds: u32) {
        self.0.store(unix_seconds, Ordering::SeqCst);
    }

    /// Moves the clock forward.
    pub fn advance(&self, seconds: u32) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn unix_seconds(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}
