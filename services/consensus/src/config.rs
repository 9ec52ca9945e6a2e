use std::path::PathBuf;

use serde::Deserialize;

/// A few round trips with their durable writes: what is not answered by then was probably lost.
const RESEND_MS: u64 = 250;

/// Section `[consensus]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConsensusConfig {
    /// File of mode 0600 with this validator's secret key, in WIF or as 64 hex digits; left out:
    /// the node follows.
    pub validator_key: Option<PathBuf>,
    /// The sign guard, which knows an old copy of the safety log; best on another disk than the
    /// data. Left out: beside the key, with `.guard` added to its name.
    pub guard_file: Option<PathBuf>,
    /// The operator's word, for one start, that the safety log is the latest there is although
    /// its guard is missing. A guard that is there is never overruled.
    pub adopt_log: bool,
    /// Milliseconds after which unanswered messages are sent again, at first.
    pub resend_ms: u64,
}

impl Default for ConsensusConfig {
    fn default() -> Self {
        Self { validator_key: None, guard_file: None, adopt_log: false, resend_ms: RESEND_MS }
    }
}
