//! The engine's part of `chain.toml`.

use pentad_crypto::{Address, AddressVersions, PublicKey};
use pentad_primitives::pow::CompactTarget;
use serde::Deserialize;
use toml::Spanned;

use super::file::{bits, public_key};
use super::{
    DEFAULT_CHECKPOINT_INTERVAL, DEFAULT_FINALITY_DEPTH, DEFAULT_VIEW_TIMEOUT_MS, DEFAULT_WINDOW,
    Engine, FileError, Hybrid, Pbft, Pow, Validator,
};

/// `[engine.pow]`, `[engine.pbft]` or `[engine.hybrid]`.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum EngineTable {
    Pow(PowTable),
    Pbft(PbftTable),
    Hybrid(HybridTable),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PowTable {
    spacing: u32,
    half_life: u32,
    #[serde(deserialize_with = "bits")]
    limit: CompactTarget,
    fixed_target: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PbftTable {
    #[serde(default = "default_window")]
    window: u32,
    #[serde(default = "default_view_timeout_ms")]
    view_timeout_ms: u32,
    #[serde(default)]
    block_interval_ms_min: u32,
    #[serde(default)]
    heartbeat_ms: u32,
    #[serde(default = "default_checkpoint_interval")]
    checkpoint_interval: u32,
    validators: Vec<ValidatorTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ValidatorTable {
    name: String,
    #[serde(deserialize_with = "public_key")]
    key: PublicKey,
    payout: Spanned<String>,
}

/// The fields of work stand here once more: serde refuses unknown fields of a flat table only.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HybridTable {
    spacing: u32,
    half_life: u32,
    #[serde(deserialize_with = "bits")]
    limit: CompactTarget,
    fixed_target: bool,
    #[serde(default = "default_finality_depth")]
    finality_depth: u32,
    #[serde(default = "default_view_timeout_ms")]
    view_timeout_ms: u32,
    #[serde(default = "default_checkpoint_interval")]
    checkpoint_interval: u32,
    validators: Vec<VoterTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VoterTable {
    name: String,
    #[serde(deserialize_with = "public_key")]
    key: PublicKey,
}

const fn default_window() -> u32 {
    DEFAULT_WINDOW
}

const fn default_view_timeout_ms() -> u32 {
    DEFAULT_VIEW_TIMEOUT_MS
}

const fn default_checkpoint_interval() -> u32 {
    DEFAULT_CHECKPOINT_INTERVAL
}

const fn default_finality_depth() -> u32 {
    DEFAULT_FINALITY_DEPTH
}

impl EngineTable {
    /// The engine, where `address` reads what stands in the file.
    pub(super) fn engine(
        self,
        address: impl Fn(&Spanned<String>) -> Result<Address, FileError>,
    ) -> Result<Engine, FileError> {
        Ok(match self {
            Self::Pow(PowTable { spacing, half_life, limit, fixed_target }) => {
                Engine::Pow(Pow { spacing, half_life, limit, fixed_target })
            }
            Self::Pbft(pbft) => {
                let validators = pbft.validators.into_iter().map(|validator| {
                    let payout = address(&validator.payout)?;
                    Ok(Validator { name: validator.name, key: validator.key, payout })
                });
                Engine::Pbft(Pbft {
                    window: pbft.window,
                    view_timeout_ms: pbft.view_timeout_ms,
                    block_interval_ms_min: pbft.block_interval_ms_min,
                    heartbeat_ms: pbft.heartbeat_ms,
                    checkpoint_interval: pbft.checkpoint_interval,
                    validators: validators.collect::<Result<_, _>>()?,
                })
            }
            Self::Hybrid(table) => Engine::Hybrid(table.hybrid()),
        })
    }
}

impl HybridTable {
    fn hybrid(self) -> Hybrid {
        let Self { spacing, half_life, limit, fixed_target, .. } = self;
        let pow = Pow { spacing, half_life, limit, fixed_target };
        let voters = self.validators.into_iter().map(|voter| (voter.name, voter.key));
        let mut hybrid = Hybrid::new(pow, voters);
        hybrid.finality_depth = self.finality_depth;
        hybrid.agreement.view_timeout_ms = self.view_timeout_ms;
        hybrid.agreement.checkpoint_interval = self.checkpoint_interval;
        hybrid
    }
}

pub(super) fn render(engine: &Engine, versions: &AddressVersions) -> String {
    match engine {
        Engine::Pow(pow) => {
            format!("# Proof of work: most work wins.\n[engine.pow]\n{}", render_work(pow))
        }
        Engine::Pbft(pbft) => render_pbft(pbft, versions),
        Engine::Hybrid(hybrid) => render_hybrid(hybrid),
    }
}

fn render_work(pow: &Pow) -> String {
    let Pow { spacing, half_life, limit, fixed_target } = pow;
    format!(
        r#"# Seconds between blocks that difficulty aims at.
spacing = {spacing}
# Seconds of delay that halve the difficulty.
half_life = {half_life}
# The easiest target, in compact form; also the target of genesis.
limit = "{limit}"
# true: every block has this target, and blocks may be made at will (a development network).
fixed_target = {fixed_target}
"#
    )
}

fn render_pbft(pbft: &Pbft, versions: &AddressVersions) -> String {
    let Pbft { window, view_timeout_ms, block_interval_ms_min, heartbeat_ms, .. } = pbft;
    let checkpoint_interval = pbft.checkpoint_interval;
    let mut text = format!(
        r#"# PBFT: validators agree on each block, which is final then.
[engine.pbft]
# Blocks in flight.
window = {window}
# Milliseconds that replicas wait for progress before they leave a view.
view_timeout_ms = {view_timeout_ms}
# Milliseconds between blocks at least.
block_interval_ms_min = {block_interval_ms_min}
# Milliseconds without transactions after which an empty block is made; 0 = never.
heartbeat_ms = {heartbeat_ms}
# Blocks between checkpoints.
checkpoint_interval = {checkpoint_interval}

# Who signs. A validator's place in this list is its number; blocks that it proposes pay to its
# payout address.
"#
    );
    for Validator { name, key, payout } in &pbft.validators {
        let (key, payout) = (hex::encode(key.to_bytes()), payout.encode(versions));
        text.push_str(&format!(
            "[[engine.pbft.validators]]\nname = \"{name}\"\nkey = \"{key}\"\n\
             payout = \"{payout}\"\n\n"
        ));
    }
    text.truncate(text.trim_end().len().saturating_add(1));
    text
}

fn render_hybrid(hybrid: &Hybrid) -> String {
    let Hybrid { pow, finality_depth, agreement } = hybrid;
    let Pbft { view_timeout_ms, checkpoint_interval, validators, .. } = agreement;
    let work = render_work(pow);
    let mut text = format!(
        r#"# Proof of work: most work wins, among the chains that hold the last final block.
# Validators make blocks final (PBFT) once they are deep enough.
[engine.hybrid]
{work}# Blocks that must stand on one before it is made final.
finality_depth = {finality_depth}
# Milliseconds that replicas wait for progress before they leave a view.
view_timeout_ms = {view_timeout_ms}
# Blocks between checkpoints.
checkpoint_interval = {checkpoint_interval}

# Who signs. A validator's place in this list is its number.
"#
    );
    for Validator { name, key, .. } in validators {
        let key = hex::encode(key.to_bytes());
        text.push_str(&format!(
            "[[engine.hybrid.validators]]\nname = \"{name}\"\nkey = \"{key}\"\n\n"
        ));
    }
    text.truncate(text.trim_end().len().saturating_add(1));
    text
}
