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

pub use down::down;
pub use status::status;
pub use up::up;
