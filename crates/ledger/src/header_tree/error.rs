use pentad_primitives::BlockHeight;
use pentad_primitives::hash::BlockHash;
use thiserror::Error;

use crate::verify::{Fault, contextual, semantic};

/// Why a header does not enter the tree.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InsertError {
    /// Ask for the headers before it.
    #[error("parent {parent} is not known")]
    UnknownParent {
        /// As in the header.
        parent: BlockHash,
    },
    /// It, or an ancestor, broke a rule before.
    #[error("block {invalid} is invalid or descends from an invalid block")]
    Invalid {
        /// The header, if known, else its parent.
        invalid: BlockHash,
    },
    /// It forks off below the last final block.
    #[error("block would undo the final block of height {final_height}")]
    BelowFinality {
        /// Height of the last final block.
        final_height: BlockHeight,
    },
    /// Too many headers that lead nowhere (attack: low-work header flood).
    #[error("too many headers with less work than the tip")]
    LowWork,
    /// Heights or work are used up.
    #[error("chain is too long")]
    TooLong,
    /// Its claims do not hold.
    #[error(transparent)]
    Semantic(#[from] semantic::HeaderError),
    /// It does not fit its parent.
    #[error(transparent)]
    Contextual(#[from] contextual::HeaderError),
}

impl InsertError {
    /// What the refusal says about the block.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::UnknownParent { .. } | Self::LowWork => Fault::Premature,
            // Whoever has not heard of the final block may be honest.
            Self::BelowFinality { .. } => Fault::Premature,
            Self::Semantic(error) => error.fault(),
            Self::Invalid { .. } | Self::TooLong | Self::Contextual(_) => Fault::Invalid,
        }
    }
}

/// Why a block cannot become the tip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TipError {
    /// Its header is not known.
    #[error("block {0} is not known")]
    Unknown(BlockHash),
    /// A body is missing between genesis and it.
    #[error("a body is missing on the chain of block {0}")]
    Incomplete(BlockHash),
    /// It or an ancestor broke a rule.
    #[error("block {0} is invalid")]
    Invalid(BlockHash),
    /// The last final block is not among its ancestors.
    #[error("block {0} does not descend from the last final block")]
    BelowFinality(BlockHash),
    /// Only a connected block can become final.
    #[error("block {0} is not connected")]
    NotActive(BlockHash),
}
