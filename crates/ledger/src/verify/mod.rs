//! Verification in three stages.
//!
//! 1. [`structural`]: the bytes of a transaction or block alone.
//! 2. [`semantic`]: what they claim (work, network), with the chain spec and the time of day.
//! 3. [`contextual`]: their place in the chain: parent, unspent outputs, signatures.
//!
//! The first two need no chain, so blocks can pass them in any order and on any thread; their
//! proof is a [`CheckedBlock`] or [`CheckedTransaction`]. Signatures are [`SignatureCheck`]s,
//! independent of one another.

mod checked;
pub mod contextual;
mod fault;
pub mod semantic;
mod signature;
pub mod structural;

pub use checked::{CheckedBlock, CheckedTransaction};
pub use fault::Fault;
pub use signature::{
    SignatureCheck, SignatureError, SignatureErrorKind, block_signatures, transaction_signatures,
    verify_signatures,
};

use thiserror::Error;

/// Why a block is refused by its own bytes.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BlockError {
    /// The first stage.
    #[error(transparent)]
    Structural(#[from] structural::BlockError),
    /// The second stage.
    #[error(transparent)]
    Semantic(#[from] semantic::BlockError),
}

impl BlockError {
    /// What the refusal says about the block's hash.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Structural(error) => error.fault(),
            Self::Semantic(_) => Fault::Invalid,
        }
    }

    /// Do these bytes merely not belong to the header? Then its hash must not be remembered as
    /// invalid: the honest block may yet arrive (CVE-2012-2459).
    #[must_use]
    pub fn is_mutation(&self) -> bool {
        self.fault() == Fault::Mutation
    }
}
