//! Validators with their chain services in one process.

mod agreement;
mod bed;
mod checkpoints;
mod hybrid;
mod identity;
mod questions;
mod restarts;
mod switch;
