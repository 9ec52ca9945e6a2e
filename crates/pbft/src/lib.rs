//! Castro and Liskov's "Practical Byzantine Fault Tolerance" (OSDI '99, TOCS '02), the variant
//! with signatures, as a pure state machine: `step(input) -> outputs`.
//!
//! No IO, no clock, no entropy: what a replica does follows from what it was told. The sections
//! of the paper, the message table and the encodings with golden bytes are in
//! `docs/protocol/pbft.md`.

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

mod certificate;
mod domain;
mod encoding;
mod identifiers;
mod keys;
mod quorum;
pub mod secp;
mod validators;

pub use certificate::{CertificateError, CommitCertificate};
pub use domain::{Domain, Statement};
pub use encoding::{BODY_LEN_MAX, DecodeError};
pub use identifiers::{ReplicaId, Sequence, View};
pub use keys::{Keys, Signature};
pub use quorum::{Quorum, REPLICAS_MAX};
pub use validators::{Validator, ValidatorSet, ValidatorSetError};
