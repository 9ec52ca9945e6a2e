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
mod config;
mod credentials;
mod domain;
mod encoding;
mod event;
mod evidence;
mod identifiers;
mod keys;
pub mod link_proof;
mod message;
mod quorum;
mod record;
mod replica;
pub mod secp;
mod validators;

pub use certificate::{CertificateError, CommitCertificate, PreparedCertificate};
pub use config::{Config, Recovered, Tip, WINDOW_MAX};
pub use credentials::{Credentials, Signed};
pub use domain::{Domain, Statement};
pub use encoding::{BODY_LEN_MAX, DecodeError};
pub use event::{Input, Output, Recipient, Timer};
pub use evidence::{Evidence, HaltReason};
pub use identifiers::{ReplicaId, Sequence, View};
pub use keys::{Keys, Signature};
pub use message::{
    Body, Certified, Checkpoint, FetchBody, MESSAGE_LEN_MAX, Message, NewView, NewViewError, Phase,
    PrePrepare, SignedPrePrepare, ViewChange, ViewChangeError, Vote,
};
pub use quorum::{Quorum, REPLICAS_MAX};
pub use record::{Record, StableCheckpoint};
pub use replica::{InFlight, Replica, Size, Stage, Status};
pub use validators::{Validator, ValidatorSet, ValidatorSetError};
