//! Finality as anybody can check it: the validators that a chain spec names, the certificates that
//! they sign, and portable proofs of transactions built on both.
//!
//! Pure: nothing but a file and the chain spec is needed to check a proof.
//!
//! Invariant: a proof under PBFT shows nothing without a certificate of a quorum of the validators.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::panic
    )
)]

mod error;
mod file;
mod membership;
mod portable;

pub use error::{ProofError, Reason};
pub use file::FORMAT;
pub use membership::{CertificateFault, Membership};
pub use portable::{Basis, PortableProof, Proven};
