//! Development networks: several nodes on this machine, one process each.

mod create;
mod down;
mod lock;
mod ports;
mod probe;
pub mod process;
mod ready;
mod spawn;
mod status;
mod supervise;
mod up;

use std::path::PathBuf;

pub use down::down;
pub use status::status;
pub use up::up;

use crate::args::{DEVNET_DIR, Globals};

/// The directory that `devnet` works on.
fn directory(globals: &Globals) -> PathBuf {
    globals.dir.clone().unwrap_or_else(|| PathBuf::from(DEVNET_DIR))
}
