use serde::Deserialize;

/// A block a second from each node: quick for its user, slow against the way between nodes.
const DEVELOPMENT_PAUSE_MS: u64 = 1000;

/// Section `[miner]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MinerConfig {
    /// Threads that search; 0: one per core.
    pub threads: u32,
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
            mine: false,
            payout_address: None,
            development_pause_ms: DEVELOPMENT_PAUSE_MS,
        }
    }
}
