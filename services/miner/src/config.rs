use pentad_service_kit::Upstream;
use serde::Deserialize;

/// A block a second from each node: quick for its user, slow against the way between nodes.
const DEVELOPMENT_PAUSE_MS: u64 = 1000;

/// Section `[miner]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MinerConfig {
    /// Threads that search; 0: one per core.
    pub threads: u32,
    /// No threads here: workers in other processes search (`pentad-miner --work-from`).
    pub workers_only: bool,
    /// Share of the time that each thread searches, in percent, 1 to 100.
    pub throttle_percent: u32,
    /// Start mining at once. Off: only when asked to.
    pub mine: bool,
    /// Where rewards go; left out: wallet `miner` of this node, made if it is not there.
    pub payout_address: Option<String>,
    /// Development networks take any second hash for a block: there a miner rests after each of
    /// its blocks for about so many milliseconds (half to one and a half times as many).
    pub development_pause_ms: u64,
}

impl Default for MinerConfig {
    fn default() -> Self {
        Self {
            threads: 0,
            workers_only: false,
            throttle_percent: 100,
            mine: false,
            payout_address: None,
            development_pause_ms: DEVELOPMENT_PAUSE_MS,
        }
    }
}

/// Section `[worker]`: search for a miner in another process, and do nothing else.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkerConfig {
    /// The miner to take work from, `http://host:port`; left out: be a miner.
    pub from: Option<Upstream>,
    /// What to be called there.
    pub name: String,
    /// Threads that search; 0: one per core.
    pub threads: u32,
    /// Share of the time that each thread searches, in percent, 1 to 100.
    pub throttle_percent: u32,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self { from: None, name: "worker".to_owned(), threads: 0, throttle_percent: 100 }
    }
}
