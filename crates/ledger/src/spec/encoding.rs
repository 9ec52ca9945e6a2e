//! The canonical encoding of a spec: what [`spec_hash`](super::ChainSpec::spec_hash) covers.
//!
//! ```text
//! domain "pentad.chain-spec.v1" | name: len u8, bytes | magic 4 | p2pkh u8 | p2sh u8
//! engine u8
//!   0 = pow: spacing u32, half_life u32, limit u32, fixed_target u8
//!   1 = pbft: window u32, view_timeout_ms u32, block_interval_ms_min u32, heartbeat_ms u32,
//!       checkpoint_interval u32, validators u16, each: name (len u8, bytes),
//!       compressed key 33, payout script (CompactSize and bytes)
//!   2 = hybrid: the fields of pow, finality_depth u32, the fields of pbft
//! subsidy u64 | halving_interval u32 | coinbase_maturity u32
//! block_bytes u32 | transaction_bytes u32
//! genesis: time u32, allocations u32, each: amount u64, script_pubkey (CompactSize and bytes)
//! ```
//! Integers are little-endian.

use pentad_primitives::encode::Encode;
use pentad_primitives::hash::{Hash256, sha256d};

use super::{Engine, Parameters};

const DOMAIN: &[u8] = b"pentad.chain-spec.v1";

impl Parameters {
    pub(super) fn spec_hash(&self) -> Hash256 {
        sha256d(&self.canonical())
    }

    fn canonical(&self) -> Vec<u8> {
        let mut out = DOMAIN.to_vec();
        // `validate` bounds the name and the allocations far below these types.
        out.push(u8::try_from(self.name.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(self.name.as_bytes());
        out.extend_from_slice(&self.magic);
        out.push(self.address_versions.p2pkh);
        out.push(self.address_versions.p2sh);
        match &self.engine {
            Engine::Pow(pow) => {
                out.push(0);
                pow.encode(&mut out);
            }
            Engine::Pbft(pbft) => {
                out.push(1);
                pbft.encode(&mut out);
            }
            Engine::Hybrid(hybrid) => {
                out.push(2);
                hybrid.encode(&mut out);
            }
        }
        out.extend_from_slice(&self.rewards.subsidy.units().to_le_bytes());
        for field in [
            self.rewards.halving_interval,
            self.rewards.coinbase_maturity,
            self.limits.block_bytes,
            self.limits.transaction_bytes,
            self.genesis.time,
            u32::try_from(self.genesis.allocations.len()).unwrap_or(u32::MAX),
        ] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        for allocation in &self.genesis.allocations {
            out.extend_from_slice(&allocation.amount.units().to_le_bytes());
            allocation.address.script_pubkey().encode(&mut out);
        }
        out
    }
}
