//! Pauses between attempts to reach another service.

use std::time::Duration;

use pentad_service_kit::Backoff;

/// The first pause.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// The longest: a service that is back is used again within it.
const PAUSE_MAX: Duration = Duration::from_millis(500);

pub(crate) const fn backoff() -> Backoff {
    Backoff::new(PAUSE_MIN, PAUSE_MAX)
}
