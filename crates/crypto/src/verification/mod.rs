//! Signature verification, the costliest thing that a node does: by libsecp256k1, about twice as
//! fast as k256, or by k256 where there is no C compiler (without the feature `libsecp256k1`).
//!
//! A [`Point`] is a key in the form of the library that verifies, so that a key is parsed once.
//! Invariant: the two libraries never differ about a key or a signature; where both are compiled,
//! the tests ask both.

#[cfg(any(test, not(feature = "libsecp256k1")))]
mod k256;
#[cfg(feature = "libsecp256k1")]
mod libsecp256k1;
#[cfg(all(test, feature = "libsecp256k1"))]
mod tests;

#[cfg(not(feature = "libsecp256k1"))]
pub(crate) use k256::Point;
#[cfg(feature = "libsecp256k1")]
pub(crate) use libsecp256k1::Point;
