//! How many threads can work at once.

use std::num::NonZero;
use std::sync::LazyLock;
use std::thread;

/// Asked for once: the system's answer comes out of a dozen files of control groups.
static CORES: LazyLock<usize> =
    LazyLock::new(|| thread::available_parallelism().map_or(1, NonZero::get));

/// Cores that this process may use, at least one.
pub(crate) fn cores() -> usize {
    *CORES
}
