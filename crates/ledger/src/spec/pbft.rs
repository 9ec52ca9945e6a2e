//! Engine pbft: who orders the blocks, and how patiently.

use std::collections::BTreeSet;

use pentad_crypto::{Address, PublicKey};
use pentad_primitives::encode::Encode as _;
use pentad_primitives::pow::CompactTarget;

use super::{DEVELOPMENT_TARGET, SpecError, validate};

/// The bits of every block: nobody works for it, and each block counts the same.
pub const PBFT_BITS: CompactTarget = DEVELOPMENT_TARGET;
/// Every validator's signature is checked for every block.
pub const VALIDATORS_MAX: usize = 64;
/// Sequences in flight above the last executed one, unless the spec says otherwise.
pub const DEFAULT_WINDOW: u32 = 1;
/// Milliseconds that replicas wait for progress in a view.
pub const DEFAULT_VIEW_TIMEOUT_MS: u32 = 2_000;
/// Blocks between checkpoints.
pub const DEFAULT_CHECKPOINT_INTERVAL: u32 = 64;
/// Less than a few round trips and durable writes would leave every view.
const VIEW_TIMEOUT_MS_MIN: u32 = 100;
/// Ten minutes: a network that a silent primary stops for longer is as good as down.
const VIEW_TIMEOUT_MS_MAX: u32 = 600_000;
/// A day: a slower heartbeat is a mistake in the unit.
const HEARTBEAT_MS_MAX: u32 = 86_400_000;
/// Replicas keep what they said since the last checkpoint.
const CHECKPOINT_INTERVAL_MAX: u32 = 1_024;

/// Validators order the blocks (Castro & Liskov), and each block is final at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pbft {
    /// Sequences in flight above the last executed one. This version knows 1.
    pub window: u32,
    /// Milliseconds that replicas wait for progress before they leave a view.
    pub view_timeout_ms: u32,
    /// Milliseconds between blocks at least.
    pub block_interval_ms_min: u32,
    /// Milliseconds without transactions after which an empty block is made; 0: never, and an
    /// empty block is invalid.
    pub heartbeat_ms: u32,
    /// Blocks between checkpoints.
    pub checkpoint_interval: u32,
    /// Who orders the blocks; a validator's place in the list is its replica's number.
    pub validators: Vec<Validator>,
}

/// A member of the consortium that orders the blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validator {
    /// 1–32 characters of `a–z 0–9 -`.
    pub name: String,
    /// Its signatures verify under this key.
    pub key: PublicKey,
    /// Blocks that it proposes pay their fees and subsidy to this address.
    pub payout: Address,
}

impl Pbft {
    /// The defaults with these validators.
    #[must_use]
    pub fn new(validators: Vec<Validator>) -> Self {
        Self {
            window: DEFAULT_WINDOW,
            view_timeout_ms: DEFAULT_VIEW_TIMEOUT_MS,
            block_interval_ms_min: 0,
            heartbeat_ms: 0,
            checkpoint_interval: DEFAULT_CHECKPOINT_INTERVAL,
            validators,
        }
    }

    pub(super) fn validate(&self) -> Result<(), SpecError> {
        if self.window != DEFAULT_WINDOW {
            return Err(SpecError::Window);
        }
        if !(VIEW_TIMEOUT_MS_MIN..=VIEW_TIMEOUT_MS_MAX).contains(&self.view_timeout_ms) {
            return Err(SpecError::ViewTimeout);
        }
        // A primary that waits for its turn must not look like a silent one.
        if self.block_interval_ms_min > self.view_timeout_ms / 2 {
            return Err(SpecError::BlockInterval);
        }
        let is_too_often = self.heartbeat_ms != 0
            && self.heartbeat_ms < self.block_interval_ms_min.max(VIEW_TIMEOUT_MS_MIN);
        if is_too_often || self.heartbeat_ms > HEARTBEAT_MS_MAX {
            return Err(SpecError::Heartbeat);
        }
        if !(1..=CHECKPOINT_INTERVAL_MAX).contains(&self.checkpoint_interval) {
            return Err(SpecError::CheckpointInterval);
        }
        self.validate_validators()
    }

    fn validate_validators(&self) -> Result<(), SpecError> {
        if !(1..=VALIDATORS_MAX).contains(&self.validators.len()) {
            return Err(SpecError::Validators);
        }
        let (mut names, mut keys) = (BTreeSet::new(), BTreeSet::new());
        for (index, validator) in self.validators.iter().enumerate() {
            if !validate::is_name(&validator.name) {
                return Err(SpecError::ValidatorName { index });
            }
            if !names.insert(&validator.name) {
                return Err(SpecError::ValidatorNameTwice { name: validator.name.clone() });
            }
            if !keys.insert(validator.key.to_bytes()) {
                return Err(SpecError::ValidatorKeyTwice { name: validator.name.clone() });
            }
        }
        Ok(())
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        for field in [
            self.window,
            self.view_timeout_ms,
            self.block_interval_ms_min,
            self.heartbeat_ms,
            self.checkpoint_interval,
        ] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        // `validate` bounds the count and the names far below these types.
        let count = u16::try_from(self.validators.len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&count.to_le_bytes());
        for validator in &self.validators {
            out.push(u8::try_from(validator.name.len()).unwrap_or(u8::MAX));
            out.extend_from_slice(validator.name.as_bytes());
            out.extend_from_slice(&validator.key.to_bytes());
            validator.payout.script_pubkey().encode(out);
        }
    }
}
