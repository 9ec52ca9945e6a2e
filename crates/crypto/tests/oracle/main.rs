//! Held against rust-bitcoin and published vectors.

mod prop;
mod vectors;
