use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Time since 1970 by the system's clock, which means the same after a restart; nothing where that
/// stands before.
#[must_use]
pub fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
