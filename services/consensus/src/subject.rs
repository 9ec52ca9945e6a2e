//! What validators agree on, sequence by sequence.

use pentad_ledger::ChainSpec;
use pentad_ledger::spec::Engine;

/// What the validators of a network agree on. A sequence is a height under both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// Engine pbft: which block comes next. The body of a proposal is the block.
    NextBlock,
    /// Engine hybrid: which block of work is final. The body of a proposal is its header; the block
    /// comes by the network.
    FinalBlock {
        /// Blocks that must stand on it.
        depth: u32,
    },
}

impl Subject {
    /// Of a network; none without validators.
    pub(crate) fn of(spec: &ChainSpec) -> Option<Self> {
        match spec.engine() {
            Engine::Pow(_) => None,
            Engine::Pbft(_) => Some(Self::NextBlock),
            Engine::Hybrid(hybrid) => Some(Self::FinalBlock { depth: hybrid.finality_depth }),
        }
    }
}
