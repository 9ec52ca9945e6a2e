use thiserror::Error;

/// Why a chain spec is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SpecError {
    /// The file cannot be read as a chain spec.
    #[error("chain spec: {0}")]
    File(#[from] FileError),
    /// The name is not 1–32 characters of `a–z 0–9 -`.
    #[error("chain spec: name must be 1 to 32 characters of a-z, 0-9 and -")]
    Name,
    /// Zero magic cannot be told from an empty buffer.
    #[error("chain spec: magic must not be zero")]
    MagicZero,
    /// Two kinds of address would look the same.
    #[error("chain spec: addresses.p2pkh and addresses.p2sh must differ")]
    AddressVersionsEqual,
    /// Difficulty needs a spacing.
    #[error("chain spec: the engine's spacing must be 1 to 86400 seconds")]
    Spacing,
    /// Difficulty needs a half-life.
    #[error("chain spec: the engine's half_life must be 1 to 31536000 seconds")]
    HalfLife,
    /// The limit is not a canonical compact target.
    #[error("chain spec: the engine's limit is not a valid compact target")]
    PowLimit,
    /// The core knows wider windows; nobody has yet put one to the test on a network.
    #[error("chain spec: engine.pbft.window must be 1: this version keeps one block in flight")]
    Window,
    /// Too short a timeout leaves every view, too long a one lets a silent primary stop the chain.
    #[error("chain spec: the engine's view_timeout_ms must be 100 to 600000")]
    ViewTimeout,
    /// A primary that waits for its turn must not look like a silent one.
    #[error(
        "chain spec: engine.pbft.block_interval_ms_min must not exceed half of view_timeout_ms: \
         a primary that waits would be taken for a silent one"
    )]
    BlockInterval,
    /// Heartbeats are rarer than blocks may be, and within a day.
    #[error(
        "chain spec: engine.pbft.heartbeat_ms must be 0 (no empty blocks) or 100 to 86400000, and \
         not less than block_interval_ms_min"
    )]
    Heartbeat,
    /// Replicas keep everything since the last checkpoint.
    #[error("chain spec: the engine's checkpoint_interval must be 1 to 1024 blocks")]
    CheckpointInterval,
    /// A block is not made final the moment it is found, nor after the chain has forgotten it.
    #[error("chain spec: engine.hybrid.finality_depth must be 1 to 10000 blocks")]
    FinalityDepth,
    /// Nobody, or too many to check the signatures of.
    #[error("chain spec: the engine's validators must be 1 to 64")]
    Validators,
    /// The name of a validator has the form of a network's.
    #[error("chain spec: validator {index}: name must be 1 to 32 characters of a-z, 0-9 and -")]
    ValidatorName {
        /// Position in the list, from 0.
        index: usize,
    },
    /// Two validators of one name.
    #[error("chain spec: two validators are called `{name}`")]
    ValidatorNameTwice {
        /// The name.
        name: String,
    },
    /// One key for two validators would count twice.
    #[error("chain spec: validator `{name}` has the key of another one")]
    ValidatorKeyTwice {
        /// The second of them.
        name: String,
    },
    /// Halving needs an interval.
    #[error("chain spec: rewards.halving_interval must not be zero")]
    HalvingIntervalZero,
    /// All subsidies together must be an amount.
    #[error("chain spec: the subsidies of all blocks exceed 21 million coins")]
    SubsidyTooLarge,
    /// A coinbase cannot be spent in its own block.
    #[error("chain spec: rewards.coinbase_maturity must not be zero")]
    CoinbaseMaturityZero,
    /// The block limit is out of its range.
    #[error("chain spec: limits.block_bytes must be 10000 to 32000000")]
    BlockBytes,
    /// The transaction limit is out of its range.
    #[error("chain spec: limits.transaction_bytes must be 1000 to limits.block_bytes - 1000")]
    TransactionBytes,
    /// Genesis must stay small enough to build at every start.
    #[error("chain spec: more than 10000 genesis allocations")]
    TooManyAllocations,
    /// An allocation of nothing.
    #[error("chain spec: genesis allocation {index} is zero")]
    AllocationZero {
        /// Position in the list, from 0.
        index: usize,
    },
    /// The allocations together are no amount.
    #[error("chain spec: genesis allocations exceed 21 million coins")]
    AllocationsOverflow,
    /// All that will ever exist must be an amount.
    #[error(
        "chain spec: genesis allocations and subsidies together exceed 21 million coins; allocate \
         less, or lower rewards.subsidy or rewards.halving_interval"
    )]
    SupplyTooLarge,
    /// The genesis coinbase breaks the limits of its own spec.
    #[error("chain spec: genesis block of {bytes} bytes exceeds the size limits")]
    GenesisTooLarge {
        /// Its encoded size.
        bytes: usize,
    },
}

/// A place in `chain.toml` and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}, `{field}`: {message}")]
pub struct FileError {
    /// From 1.
    pub line: usize,
    /// The key or table on that line, as written.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}
