//! Engine hybrid: work makes the blocks, validators make them final.

use pentad_crypto::{Address, PublicKey};

use super::{Allocation, ChainSpec, Engine, Parameters, Pbft, Pow, SpecError, Validator};

/// Blocks that must stand on one before it is made final, unless the spec says otherwise.
pub const DEFAULT_FINALITY_DEPTH: u32 = 6;
/// Deeper than any fork that work alone leaves open for a day of ten-second blocks.
const FINALITY_DEPTH_MAX: u32 = 10_000;

/// Most work wins among the chains that hold the last final block, and validators agree on what is
/// final, one height after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hybrid {
    /// Who may append a block.
    pub pow: Pow,
    /// Blocks that must stand on one before validators make it final (σ), at least 1.
    pub finality_depth: u32,
    /// Who makes blocks final, and how patiently. The blocks are the miners': there are no
    /// heartbeats, and nothing is paid to validators (in place of a payout, each has the address of
    /// its key).
    pub agreement: Pbft,
}

impl Hybrid {
    /// The defaults with these rules of work and validators of these names and keys.
    #[must_use]
    pub fn new(pow: Pow, voters: impl IntoIterator<Item = (String, PublicKey)>) -> Self {
        let validators = voters.into_iter().map(|(name, key)| {
            let payout = Address::P2pkh(key.key_hash());
            Validator { name, key, payout }
        });
        let agreement = Pbft::new(validators.collect());
        Self { pow, finality_depth: DEFAULT_FINALITY_DEPTH, agreement }
    }

    pub(super) fn validate(&self) -> Result<(), SpecError> {
        self.pow.validate()?;
        if !(1..=FINALITY_DEPTH_MAX).contains(&self.finality_depth) {
            return Err(SpecError::FinalityDepth);
        }
        self.agreement.validate()
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        self.pow.encode(out);
        out.extend_from_slice(&self.finality_depth.to_le_bytes());
        self.agreement.encode(out);
    }
}

impl Parameters {
    /// The defaults of design section 2 for work that validators make final.
    ///
    /// # Errors
    /// As [`Parameters::new`].
    pub fn hybrid(
        name: &str,
        genesis_time: u32,
        allocations: Vec<Allocation>,
        voters: impl IntoIterator<Item = (String, PublicKey)>,
    ) -> Result<Self, SpecError> {
        let mut parameters = Self::new(name, genesis_time, allocations)?;
        if let Engine::Pow(pow) = parameters.engine {
            parameters.engine = Engine::Hybrid(Hybrid::new(pow, voters));
        }
        Ok(parameters)
    }
}

impl ChainSpec {
    /// A network of miners and validators for trying things out: fixed easy target, coinbase
    /// spendable in the next block.
    ///
    /// # Errors
    /// A name, allocation or validator that no spec may have.
    pub fn development_hybrid(
        name: &str,
        genesis_time: u32,
        allocations: Vec<Allocation>,
        voters: impl IntoIterator<Item = (String, PublicKey)>,
    ) -> Result<Self, SpecError> {
        let mut parameters = Parameters::new(name, genesis_time, allocations)?;
        parameters.rewards.coinbase_maturity = 1;
        parameters.engine = Engine::Hybrid(Hybrid::new(Pow::development(), voters));
        Self::new(parameters)
    }
}
