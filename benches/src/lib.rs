//! What the programs that measure have in common.

pub mod chain;
pub mod meter;
pub mod node;
pub mod payments;
pub mod process;
pub mod validators;
