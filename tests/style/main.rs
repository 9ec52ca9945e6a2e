//! Style is a test: what reviewers would otherwise have to repeat.

mod dependencies;
mod sources;
