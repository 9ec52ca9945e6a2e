//! Networks where work makes the blocks and validators make them final.
//!
//! Around the same core stand a chain with the ledger's own fork choice, in place of the simple
//! ledger, and a seeded process that finds blocks; a sequence is the height of the block that it
//! makes final.

pub mod campaign;
mod chain;
mod promises;
mod services;

use pentad_ledger::spec::{ChainSpec, DEFAULT_SPACING};
use pentad_pbft::ValidatorSet;

pub use chain::{Chain, Outcome, digest};

use crate::queue::Millis;
use crate::world::Setup;

/// Unix seconds at the start of a run.
pub(crate) const GENESIS_TIME: u32 = 1_800_000_000;

/// Where work makes the blocks.
#[derive(Clone, Debug)]
pub struct Work {
    /// Blocks that must stand on one before validators make it final (σ).
    pub depth: u64,
    /// Mean time between two blocks of all miners.
    pub block_ms: Millis,
    /// Mutation: validators make any block of their main chain final, however deep.
    pub signs_at_any_depth: bool,
    /// Mutation: fork choice does not heed what is final.
    pub ignores_finality: bool,
}

impl Work {
    #[must_use]
    pub const fn new(depth: u64) -> Self {
        Self {
            depth,
            block_ms: DEFAULT_SPACING as Millis * 1000,
            signs_at_any_depth: false,
            ignores_finality: false,
        }
    }
}

impl Setup {
    /// A network of miners who validate.
    #[must_use]
    pub const fn hybrid(replicas: u16, work: Work) -> Self {
        let mut setup = Self::new(replicas);
        setup.work = Some(work);
        setup
    }
}

/// The rules of a network with these validators.
pub(crate) fn spec(validators: &ValidatorSet, work: &Work) -> ChainSpec {
    let voters = validators.quorum().ids().filter_map(|id| {
        let validator = validators.get(id)?;
        Some((validator.name.clone(), validator.key))
    });
    let spec = ChainSpec::development_hybrid("simulated", GENESIS_TIME, Vec::new(), voters);
    let mut parameters = spec.expect("a valid spec").parameters().clone();
    if let pentad_ledger::spec::Engine::Hybrid(hybrid) = &mut parameters.engine {
        hybrid.finality_depth = u32::try_from(work.depth).expect("a few blocks");
    }
    ChainSpec::new(parameters).expect("a valid spec")
}
