//! Blocks that PBFT is about to agree on: what a replica checks before it votes for one, beside
//! [`connect`](crate::connect::connect) and the signatures.

use thiserror::Error;

use crate::spec::ChainSpec;
use crate::verify::contextual::{self, BlockContext};
use crate::verify::{CheckedBlock, Fault, semantic};

/// How a block is proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The validator that proposes it and is to be paid, by its place in the spec; `None`: a new
    /// primary proposes again what another one did, and any validator may be paid.
    pub proposer: Option<u16>,
    /// It is proposed for the first time: its time is held against the clock. What was proposed
    /// before may be final already, whatever the clock says.
    pub is_first: bool,
}

/// Why a proposal deserves no vote.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProposalError {
    /// There is nobody to agree with.
    #[error("blocks of this network are made by proof of work, not proposed")]
    NotPbft,
    /// The spec has no such validator.
    #[error("there is no validator {proposer}")]
    UnknownProposer {
        /// As asked for.
        proposer: u16,
    },
    /// The reward is the proposer's.
    #[error("coinbase does not pay to the proposer, validator {proposer}")]
    Payee {
        /// Who proposes it.
        proposer: u16,
    },
    /// The header breaks a rule.
    #[error(transparent)]
    Semantic(#[from] semantic::HeaderError),
    /// The header does not fit its parent.
    #[error(transparent)]
    Contextual(#[from] contextual::HeaderError),
}

impl ProposalError {
    /// What the refusal says about the block.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Semantic(error) => error.fault(),
            // Another may propose the same block.
            Self::NotPbft | Self::UnknownProposer { .. } | Self::Payee { .. } => Fault::Premature,
            Self::Contextual(_) => Fault::Invalid,
        }
    }
}

/// Checks a block whose parent is that of `context`.
///
/// # Errors
/// The first rule broken.
pub fn check(
    block: &CheckedBlock,
    context: &BlockContext,
    spec: &ChainSpec,
    proposal: Proposal,
    now: u32,
) -> Result<(), ProposalError> {
    let pbft = spec.pbft().ok_or(ProposalError::NotPbft)?;
    let header = &block.block().header;
    semantic::check_header(header, &block.hash(), spec, now)?;
    contextual::check_header(header, context)?;
    if proposal.is_first {
        semantic::check_not_ahead(header, now)?;
    }
    let Some(proposer) = proposal.proposer else {
        return Ok(());
    };
    let validator = pbft.validators.get(usize::from(proposer));
    let validator = validator.ok_or(ProposalError::UnknownProposer { proposer })?;
    let payout = validator.payout.script_pubkey();
    let coinbase = block.block().transactions.first();
    let mut outputs = coinbase.into_iter().flat_map(|coinbase| &coinbase.outputs);
    if !outputs.all(|output| output.script_pubkey == payout) {
        return Err(ProposalError::Payee { proposer });
    }
    Ok(())
}
