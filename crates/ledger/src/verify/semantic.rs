//! Second stage: what a header or block claims, with the chain spec and the time of day.

use pentad_primitives::hash::BlockHash;
use pentad_primitives::pow::{CompactTarget, Target};
use pentad_primitives::{Block, BlockHeader};
use thiserror::Error;

use super::Fault;
use crate::coinbase;
use crate::spec::{ChainSpec, Pow};

/// Seconds that a block may be ahead of the clock (Bitcoin's rule).
pub const FUTURE_SECONDS_MAX: u32 = 2 * 60 * 60;

/// Why a header's claims do not hold.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// Its bits are negative, zero or too large.
    #[error("bits {bits} are no target")]
    Bits {
        /// As in the header.
        bits: CompactTarget,
    },
    /// Its target is easier than the network's easiest.
    #[error("target {bits} is easier than the limit {limit}")]
    TargetAboveLimit {
        /// As in the header.
        bits: CompactTarget,
        /// The spec's.
        limit: CompactTarget,
    },
    /// Its hash does not meet its target.
    #[error("not enough work: block hash {hash} does not meet target {bits}")]
    Work {
        /// The header's hash.
        hash: BlockHash,
        /// The target it should meet.
        bits: CompactTarget,
    },
    /// Nobody works for a block that validators sign: its nonce says nothing.
    #[error("nonce is {nonce}, must be 0 under PBFT")]
    Nonce {
        /// As in the header.
        nonce: u32,
    },
    /// It is more than two hours ahead.
    #[error("block time {time} is more than two hours ahead of {now}")]
    TooFarAhead {
        /// The header's, Unix seconds.
        time: u32,
        /// This node's, Unix seconds.
        now: u32,
    },
}

impl HeaderError {
    /// A block ahead of its time may be valid later.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::TooFarAhead { .. } => Fault::Premature,
            Self::Bits { .. }
            | Self::TargetAboveLimit { .. }
            | Self::Work { .. }
            | Self::Nonce { .. } => Fault::Invalid,
        }
    }
}

/// Why a block's claims do not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BlockError {
    /// The coinbase scriptSig does not begin with height and network.
    #[error("coinbase does not begin with its height and the network's tag")]
    CoinbaseForm,
    /// The coinbase is another network's.
    #[error("coinbase belongs to another network")]
    CoinbaseNetwork,
}

/// Under proof of work: checks work against the header's own bits, and its time against the clock.
/// Whether these are the right bits is a question of [context](super::contextual).
///
/// Under PBFT nobody works, and a certified block is valid whatever the clock says: only proposals
/// are held [against it](check_not_ahead).
///
/// # Errors
/// The first rule broken.
pub fn check_header(
    header: &BlockHeader,
    hash: &BlockHash,
    spec: &ChainSpec,
    now: u32,
) -> Result<(), HeaderError> {
    match spec.pow() {
        Some(pow) => {
            check_work(header, hash, pow)?;
            check_not_ahead(header, now)
        }
        None if header.nonce != 0 => Err(HeaderError::Nonce { nonce: header.nonce }),
        None => Ok(()),
    }
}

fn check_work(header: &BlockHeader, hash: &BlockHash, pow: &Pow) -> Result<(), HeaderError> {
    let bits = header.bits;
    let target = Target::from_compact(bits).map_err(|_| HeaderError::Bits { bits })?;
    let limit = pow.limit;
    // A spec's limit is a valid target.
    let easiest = Target::from_compact(limit).map_err(|_| HeaderError::Bits { bits: limit })?;
    if target > easiest {
        return Err(HeaderError::TargetAboveLimit { bits, limit });
    }
    if !target.is_met_by(hash) {
        return Err(HeaderError::Work { hash: *hash, bits });
    }
    Ok(())
}

/// Checks a block's time against the clock.
///
/// # Errors
/// [`HeaderError::TooFarAhead`].
pub fn check_not_ahead(header: &BlockHeader, now: u32) -> Result<(), HeaderError> {
    let time = header.time;
    if time > now.saturating_add(FUTURE_SECONDS_MAX) {
        return Err(HeaderError::TooFarAhead { time, now });
    }
    Ok(())
}

/// Checks that the coinbase is this network's. Genesis, which is not, is never checked.
///
/// # Errors
/// The rule broken.
pub fn check_block(block: &Block, spec: &ChainSpec) -> Result<(), BlockError> {
    let input = block.transactions.first().and_then(|coinbase| coinbase.inputs.first());
    let commitment = input
        .and_then(|input| coinbase::commitment(&input.script_sig))
        .ok_or(BlockError::CoinbaseForm)?;
    if commitment.tag != coinbase::tag(spec.genesis_hash().as_bytes()) {
        return Err(BlockError::CoinbaseNetwork);
    }
    Ok(())
}
