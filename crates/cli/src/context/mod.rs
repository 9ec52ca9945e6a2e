//! Contexts: networks and nodes, with the credentials for them, under names in one file.

mod file;
mod place;
mod verbs;

pub use place::{Place, What, Why};
pub use verbs::{ContextVerb, context, remember_devnet};
