use serde::Deserialize;

/// Section `[miner]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MinerConfig {
    /// Threads that search; 0: one per core.
    pub threads: u32,
    /// Start mining at once. Off: only when asked to.
    pub mine: bool,
    /// Where rewards go; left out: wallet `miner` of this node, made if it is not there.
    pub payout_address: Option<String>,
}
