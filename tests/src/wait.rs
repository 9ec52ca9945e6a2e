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
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match condition() {
            Ok(value) => return value,
            Err(reason) => {
                assert!(start.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}: {reason}");
            }
        }
        thread::sleep(POLL);
    }
}

/// Waits until `condition` holds.
///
/// # Panics
/// When it does not within [`DEADLINE`].
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(what, || if condition() { Ok(()) } else { Err("still false".to_owned()) });
}
