use std::path::PathBuf;

use serde::Deserialize;

use pentad_keystore::KdfCost;

/// Units per 1000 bytes: one unit a byte.
const FEE_RATE_DEFAULT: u64 = 1000;

/// Section `[wallet]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WalletConfig {
    /// File (mode 0600) with the passphrase of wallets that unlock by themselves; left out: there
    /// are none.
    pub passphrase_file: Option<PathBuf>,
    /// What it costs to try one passphrase of a new wallet.
    pub kdf: KdfCost,
    /// Fee rate of payments that name none, units per 1000 bytes.
    pub fee_rate: u64,
}

impl Default for WalletConfig {
    fn default() -> Self {
        Self { passphrase_file: None, kdf: KdfCost::default(), fee_rate: FEE_RATE_DEFAULT }
    }
}
