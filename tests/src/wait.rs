//! Waiting on conditions, never on the clock alone.

use std::thread;
use std::time::{Duration, Instant};

/// How long any condition may take: two noisy cores may run several networks at once.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(50);

/// Waits until `condition` gives a value.
///
/// # Panics
/// When it has not within [`DEADLINE`]; the message names `what` and the last reason.
pub fn wait_for<T>(what: &str, condition: impl FnMut() -> Result<T, String>) -> T {
    within(DEADLINE, condition)
        .unwrap_or_else(|reason| panic!("{what}: not within {DEADLINE:?}: {reason}"))
}

/// Waits until `condition` gives a value, for what need not come.
///
/// # Errors
/// The last reason, when it has not within `limit`.
pub fn within<T>(
    limit: Duration,
    mut condition: impl FnMut() -> Result<T, String>,
) -> Result<T, String> {
    let start = Instant::now();
    loop {
        match condition() {
            Err(_) if start.elapsed() < limit => thread::sleep(POLL),
            outcome => return outcome,
        }
    }
}

/// Waits until `condition` holds.
///
/// # Panics
/// When it does not within [`DEADLINE`].
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(what, || if condition() { Ok(()) } else { Err("still false".to_owned()) });
}
