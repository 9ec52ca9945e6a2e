use pentad_primitives::Amount;
use pentad_primitives::encode::Encode;
use pentad_primitives::{Script, TxOut};

use crate::utxo::is_spendable;

/// Unconfirmed ancestors of a transaction at most, itself included (Bitcoin Core's bound): what a
/// block template and an eviction have to walk.
pub const ANCESTORS_MAX: u32 = 25;
/// Descendants of a transaction at most, itself included (Bitcoin Core's bound).
pub const DESCENDANTS_MAX: u32 = 25;
/// Transactions that one replacement may remove (BIP125, rule 5).
pub const REPLACED_MAX: usize = 100;
/// Bytes of a compressed-key P2PKH input: what spending an output will cost.
const SPENDING_INPUT_BYTES: usize = 148;

/// Amount units per 1,000 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FeeRate(pub u64);

impl FeeRate {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// The fee for so many bytes, rounded up.
    #[must_use]
    pub fn fee(self, bytes: usize) -> Amount {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let units = self.0.saturating_mul(bytes).div_ceil(1_000);
        Amount::from_units(units).unwrap_or(Amount::MAX_MONEY)
    }
}

/// What this node's mempool takes in: not a rule of the ledger, each operator's own choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Encoded bytes of all transactions; above, the lowest fee rates go.
    pub bytes_max: usize,
    /// Seconds after which a transaction goes.
    pub expiry_seconds: u32,
    /// Fee rate at least; may be zero.
    pub min_fee_rate: FeeRate,
    /// What a replacement pays for its own bytes on top of the fees replaced (BIP125, rule 4).
    pub replacement_fee_rate: FeeRate,
    /// An output is dust if spending it at this rate costs more than it holds; zero: none is.
    pub dust_fee_rate: FeeRate,
    /// [`ANCESTORS_MAX`].
    pub ancestors_max: u32,
    /// [`DESCENDANTS_MAX`].
    pub descendants_max: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            bytes_max: 64_000_000,
            expiry_seconds: 14 * 24 * 60 * 60,
            min_fee_rate: FeeRate(1_000),
            replacement_fee_rate: FeeRate(1_000),
            dust_fee_rate: FeeRate(3_000),
            ancestors_max: ANCESTORS_MAX,
            descendants_max: DESCENDANTS_MAX,
        }
    }
}

impl Policy {
    /// Is the output worth less than it costs to spend? Data outputs are not meant to be spent.
    #[must_use]
    pub fn is_dust(&self, output: &TxOut) -> bool {
        is_spendable(&output.script_pubkey)
            && output.amount < self.dust_limit(&output.script_pubkey)
    }

    /// The least amount that is not dust.
    #[must_use]
    pub fn dust_limit(&self, script_pubkey: &Script) -> Amount {
        let output = TxOut { amount: Amount::ZERO, script_pubkey: script_pubkey.clone() };
        self.dust_fee_rate.fee(output.encoded_len().saturating_add(SPENDING_INPUT_BYTES))
    }
}
