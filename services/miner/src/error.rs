use pentad_api::Failure;
use pentad_crypto::AddressError;
use thiserror::Error;
use tonic::{Code, Status};

/// Most blocks that one call generates.
pub(crate) const GENERATE_MAX: u32 = 1000;
/// Most threads that a call may ask for: more than any machine has, and a bound.
pub(crate) const THREADS_MAX: u32 = 1024;

/// Why the miner did not do what it was asked.
#[derive(Debug, Error)]
pub enum MinerError {
    /// The network's blocks are not made by work.
    #[error("this network's blocks are made by engine {engine:?}: there is nothing to mine")]
    NotProofOfWork {
        /// Its engine.
        engine: String,
    },
    /// Blocks at will are for development networks.
    #[error("network {network:?} is no development network: blocks cannot be generated at will")]
    NotDevelopment {
        /// Its name.
        network: String,
    },
    /// No payout address, and no wallet service to ask for one.
    #[error("there is no payout address, and this miner has no wallet service to ask for one")]
    NoPayout,
    /// The payout address cannot be used.
    #[error("payout_address: {0}")]
    Payout(#[from] AddressError),
    /// `blocks` is out of range.
    #[error("blocks: {asked} is not between 1 and {GENERATE_MAX}")]
    Blocks {
        /// What was asked for.
        asked: u32,
    },
    /// `threads` is out of range.
    #[error("threads: {asked} is more than {THREADS_MAX}")]
    Threads {
        /// What was asked for.
        asked: u32,
    },
    /// `throttle_percent` is out of range.
    #[error("throttle_percent: {asked} is more than 100")]
    Throttle {
        /// What was asked for.
        asked: u32,
    },
    /// There is nothing to pause or to resume.
    #[error("the miner is not mining")]
    Idle,
    /// A worker said something that it may not say.
    #[error("{problem}")]
    Worker {
        /// What it did.
        problem: String,
    },
    /// A worker handed in too much that was nothing.
    #[error("too many solutions that are none: {wrong}")]
    TooManyWrong {
        /// How many.
        wrong: u64,
    },
    /// No more workers are taken.
    #[error("{max} workers are connected: no more are taken")]
    Crowded {
        /// The most there may be.
        max: usize,
    },
    /// The chain service sent something that cannot be worked on.
    #[error("the chain service sent a template that cannot be used: {problem}")]
    Template {
        /// What is wrong with it.
        problem: String,
    },
    /// The wallet service answered without an address.
    #[error("wallet \"miner\" has no address")]
    NoAddress,
    /// The miner is stopping.
    #[error("the miner is shutting down")]
    ShuttingDown,
    /// The system refused another thread.
    #[error("cannot start a search thread: {0}")]
    Thread(#[from] std::io::Error),
    /// The chain service refused, or cannot be reached.
    #[error("chain service: {}", .0.message())]
    Chain(Box<Status>),
    /// The wallet service refused, or cannot be reached.
    #[error("wallet service: {}", .0.message())]
    Wallet(Box<Status>),
}

impl MinerError {
    /// Another service cannot be reached: it may be starting.
    pub(crate) fn is_unavailable(&self) -> bool {
        matches!(
            self,
            Self::Chain(status) | Self::Wallet(status) if status.code() == Code::Unavailable
        )
    }
}

impl From<MinerError> for Status {
    fn from(error: MinerError) -> Self {
        let message = error.to_string();
        let failure = |code, reason| Failure::new(code, reason, message.clone());
        match error {
            MinerError::NotProofOfWork { .. } => {
                failure(Code::FailedPrecondition, "NOT_PROOF_OF_WORK")
                    .with_hint("its validators order the blocks; send transactions to fill them")
            }
            MinerError::NotDevelopment { .. } => {
                failure(Code::FailedPrecondition, "NOT_A_DEVELOPMENT_NETWORK")
                    .with_hint("mine for real instead (MinerService.StartMining)")
            }
            MinerError::NoPayout => failure(Code::FailedPrecondition, "NO_PAYOUT_ADDRESS")
                .with_hint("give payout_address, in the call or in the configuration"),
            MinerError::Payout(AddressError::WrongNetwork { .. }) => {
                failure(Code::InvalidArgument, "WRONG_NETWORK")
                    .with_field("payout_address")
                    .with_hint("use an address of this network")
            }
            MinerError::Payout(_) => failure(Code::InvalidArgument, "INVALID_ADDRESS")
                .with_field("payout_address")
                .with_hint("copy the whole address again"),
            MinerError::Blocks { .. } => {
                failure(Code::InvalidArgument, "OUT_OF_RANGE").with_field("blocks")
            }
            MinerError::Threads { .. } => {
                failure(Code::InvalidArgument, "OUT_OF_RANGE").with_field("threads")
            }
            MinerError::Throttle { .. } => {
                failure(Code::InvalidArgument, "OUT_OF_RANGE").with_field("throttle_percent")
            }
            MinerError::Idle => failure(Code::FailedPrecondition, "NOT_MINING")
                .with_hint("start it (MinerService.StartMining)"),
            MinerError::Worker { .. } => failure(Code::InvalidArgument, "BAD_WORKER_MESSAGE")
                .with_hint("say hello once, first of all; then hand in solutions"),
            MinerError::TooManyWrong { .. } => {
                failure(Code::FailedPrecondition, "TOO_MANY_WRONG_SOLUTIONS")
                    .with_hint("hash the whole header of 80 bytes, twice, with SHA-256")
            }
            MinerError::Crowded { .. } => failure(Code::ResourceExhausted, "TOO_MANY_WORKERS")
                .with_hint("let one worker have more slots"),
            MinerError::Template { .. } => failure(Code::Internal, "BAD_TEMPLATE"),
            MinerError::NoAddress => failure(Code::Internal, "NO_ADDRESS"),
            MinerError::ShuttingDown => failure(Code::Unavailable, "SHUTTING_DOWN")
                .with_hint("call again once the node is back"),
            MinerError::Thread(_) => {
                failure(Code::ResourceExhausted, "NO_THREAD").with_hint("ask for fewer threads")
            }
            // The other service's own code, reason and hint are the best there are.
            MinerError::Chain(status) | MinerError::Wallet(status) => return *status,
        }
        .into()
    }
}
