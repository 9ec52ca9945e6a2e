//! Style is a test: what reviewers would otherwise have to repeat.

mod attacks;
mod dependencies;
mod roles;
mod sources;
