use pentad_api::Failure;
use pentad_pbft::ValidatorSetError;
use thiserror::Error;
use tonic::{Code, Status};

use crate::chain::ChainError;
use crate::key_file::KeyFileError;
use crate::safety::SafetyError;

/// Why the consensus service cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// There is no validator key where there should be one.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The safety log cannot be used.
    #[error(transparent)]
    Safety(#[from] SafetyError),
    /// The chain spec's validators are no set.
    #[error(transparent)]
    Validators(#[from] ValidatorSetError),
    /// A task of the start panicked.
    #[error(transparent)]
    Task(#[from] tokio::task::JoinError),
}

/// Why a question has no answer.
#[derive(Debug, Error)]
pub(crate) enum ConsensusError {
    #[error("this network's blocks are made by work: nobody makes them final")]
    NoFinality,
    #[error("the validator does not answer: {0}")]
    Busy(String),
    #[error("{0}")]
    Chain(#[from] ChainError),
}

impl From<ConsensusError> for Status {
    fn from(error: ConsensusError) -> Self {
        let message = error.to_string();
        match error {
            ConsensusError::NoFinality => {
                Failure::new(Code::FailedPrecondition, "NO_FINALITY", message)
                    .with_hint("wait for more blocks on top instead")
                    .into()
            }
            ConsensusError::Busy(_) => {
                Failure::new(Code::Unavailable, "BUSY", message).with_hint("ask again").into()
            }
            ConsensusError::Chain(ChainError::Status(status)) => *status,
            ConsensusError::Chain(_) => Failure::new(Code::Internal, "CHAIN", message).into(),
        }
    }
}
