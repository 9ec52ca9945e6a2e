//! The rules of a chain spec, one error variant each.

use pentad_primitives::encode::Encode;
use pentad_primitives::pow::Target;
use pentad_primitives::{Amount, Block, BlockHeight};

use super::{Engine, Limits, Parameters, Pow, SpecError};

/// Characters of the name of a network or a validator.
pub const NAME_LEN_MAX: usize = 32;
/// A block must hold a coinbase and a payment.
pub const BLOCK_BYTES_MIN: u32 = 10_000;
/// Bitcoin's own bound on a message: a block must travel in one.
pub const BLOCK_BYTES_MAX: u32 = 32_000_000;
/// A payment with a few inputs must fit.
pub const TRANSACTION_BYTES_MIN: u32 = 1_000;
/// Room beside the largest transaction for header and coinbase.
const BLOCK_BYTES_BESIDE_TRANSACTION: u32 = 1_000;
/// Genesis is built at every start.
pub const ALLOCATIONS_MAX: usize = 10_000;
/// A day: a slower chain is a mistake in the unit.
const SPACING_MAX: u32 = 86_400;
/// A year: a slower difficulty never reacts.
const HALF_LIFE_MAX: u32 = 31_536_000;

/// Whatever a spec promises must hold up to here.
const LAST_HEIGHT: BlockHeight = BlockHeight::new(u32::MAX);

impl Parameters {
    /// Checks every rule but the size of genesis.
    pub(super) fn validate(&self) -> Result<(), SpecError> {
        if !is_name(&self.name) {
            return Err(SpecError::Name);
        }
        if self.magic == [0; 4] {
            return Err(SpecError::MagicZero);
        }
        if self.address_versions.p2pkh == self.address_versions.p2sh {
            return Err(SpecError::AddressVersionsEqual);
        }
        match &self.engine {
            Engine::Pow(pow) => pow.validate()?,
            Engine::Pbft(pbft) => pbft.validate()?,
            Engine::Hybrid(hybrid) => hybrid.validate()?,
        }
        self.validate_rewards()?;
        validate_limits(self.limits)?;
        self.validate_allocations()
    }

    fn validate_rewards(&self) -> Result<(), SpecError> {
        let rewards = &self.rewards;
        if rewards.halving_interval == 0 {
            return Err(SpecError::HalvingIntervalZero);
        }
        if self.subsidies(LAST_HEIGHT) > u128::from(Amount::MAX_MONEY.units()) {
            return Err(SpecError::SubsidyTooLarge);
        }
        if rewards.coinbase_maturity == 0 {
            return Err(SpecError::CoinbaseMaturityZero);
        }
        Ok(())
    }

    fn validate_allocations(&self) -> Result<(), SpecError> {
        let allocations = &self.genesis.allocations;
        if allocations.len() > ALLOCATIONS_MAX {
            return Err(SpecError::TooManyAllocations);
        }
        if let Some(index) = allocations.iter().position(|a| a.amount == Amount::ZERO) {
            return Err(SpecError::AllocationZero { index });
        }
        Amount::sum(allocations.iter().map(|a| a.amount))
            .map_err(|_| SpecError::AllocationsOverflow)?;
        if self.issued(LAST_HEIGHT) > u128::from(Amount::MAX_MONEY.units()) {
            return Err(SpecError::SupplyTooLarge);
        }
        Ok(())
    }
}

/// May a network or validator be called this?
#[must_use]
pub fn is_name(name: &str) -> bool {
    let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    (1..=NAME_LEN_MAX).contains(&name.len()) && name.bytes().all(allowed)
}

impl Pow {
    pub(super) fn validate(&self) -> Result<(), SpecError> {
        if self.spacing == 0 || self.spacing > SPACING_MAX {
            return Err(SpecError::Spacing);
        }
        if self.half_life == 0 || self.half_life > HALF_LIFE_MAX {
            return Err(SpecError::HalfLife);
        }
        let target = Target::from_compact(self.limit).map_err(|_| SpecError::PowLimit)?;
        if target.to_compact() != self.limit {
            return Err(SpecError::PowLimit);
        }
        Ok(())
    }
}

fn validate_limits(limits: Limits) -> Result<(), SpecError> {
    if !(BLOCK_BYTES_MIN..=BLOCK_BYTES_MAX).contains(&limits.block_bytes) {
        return Err(SpecError::BlockBytes);
    }
    let transaction_max = limits.block_bytes.saturating_sub(BLOCK_BYTES_BESIDE_TRANSACTION);
    if !(TRANSACTION_BYTES_MIN..=transaction_max).contains(&limits.transaction_bytes) {
        return Err(SpecError::TransactionBytes);
    }
    Ok(())
}

/// The genesis block must keep the size limits that hold for every block.
pub(super) fn genesis_fits(parameters: &Parameters, genesis: &Block) -> Result<(), SpecError> {
    let limits = parameters.limits;
    let bytes = genesis.encoded_len();
    let fits = |bytes: usize, max: u32| u32::try_from(bytes).is_ok_and(|bytes| bytes <= max);
    let transactions_fit =
        genesis.transactions.iter().all(|t| fits(t.encoded_len(), limits.transaction_bytes));
    if !fits(bytes, limits.block_bytes) || !transactions_fit {
        return Err(SpecError::GenesisTooLarge { bytes });
    }
    Ok(())
}
