//! `chain.toml`: the text form of a spec.

use std::fmt::Display;
use std::str::FromStr;

use pentad_crypto::{Address, AddressVersions, PublicKey};
use pentad_primitives::Amount;
use pentad_primitives::pow::CompactTarget;
use serde::de::{self, IgnoredAny};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::{
    Allocation, Engine, FileError, Genesis, Limits, Parameters, Pbft, Pow, Rewards, SpecError,
    Validator,
};
use super::{DEFAULT_CHECKPOINT_INTERVAL, DEFAULT_VIEW_TIMEOUT_MS, DEFAULT_WINDOW};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    #[serde(deserialize_with = "magic")]
    magic: [u8; 4],
    addresses: AddressesTable,
    engine: EngineTable,
    rewards: RewardsTable,
    limits: LimitsTable,
    genesis: GenesisTable,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddressesTable {
    p2pkh: u8,
    p2sh: u8,
}

/// `[engine.pow]`, `[engine.pbft]` or `[engine.hybrid]`.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum EngineTable {
    Pow(PowTable),
    Pbft(PbftTable),
    Hybrid(IgnoredAny),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PowTable {
    spacing: u32,
    half_life: u32,
    #[serde(deserialize_with = "bits")]
    limit: CompactTarget,
    fixed_target: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PbftTable {
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

const fn default_window() -> u32 {
    DEFAULT_WINDOW
}

const fn default_view_timeout_ms() -> u32 {
    DEFAULT_VIEW_TIMEOUT_MS
}

const fn default_checkpoint_interval() -> u32 {
    DEFAULT_CHECKPOINT_INTERVAL
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RewardsTable {
    #[serde(deserialize_with = "coins")]
    subsidy: Amount,
    halving_interval: u32,
    coinbase_maturity: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsTable {
    block_bytes: u32,
    transaction_bytes: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GenesisTable {
    time: u32,
    #[serde(default)]
    allocations: Vec<AllocationTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AllocationTable {
    address: Spanned<String>,
    #[serde(deserialize_with = "coins")]
    amount: Amount,
}

/// Reads the fields of a `chain.toml`; rules are checked elsewhere.
pub(super) fn parse(text: &str) -> Result<Parameters, SpecError> {
    let file: File = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        file_error(text, at, error.message())
    })?;
    let versions = AddressVersions { p2pkh: file.addresses.p2pkh, p2sh: file.addresses.p2sh };
    let address = |written: &Spanned<String>| {
        Address::decode(written.get_ref(), &versions)
            .map_err(|error| file_error(text, written.span().start, &error.to_string()))
    };
    let engine = engine(file.engine, address)?;
    let allocations = file.genesis.allocations.into_iter().map(|allocation| {
        Ok(Allocation { address: address(&allocation.address)?, amount: allocation.amount })
    });
    let allocations = allocations.collect::<Result<_, FileError>>()?;
    Ok(Parameters {
        name: file.name,
        magic: file.magic,
        address_versions: versions,
        engine,
        rewards: Rewards {
            subsidy: file.rewards.subsidy,
            halving_interval: file.rewards.halving_interval,
            coinbase_maturity: file.rewards.coinbase_maturity,
        },
        limits: Limits {
            block_bytes: file.limits.block_bytes,
            transaction_bytes: file.limits.transaction_bytes,
        },
        genesis: Genesis { time: file.genesis.time, allocations },
    })
}

fn engine(
    table: EngineTable,
    address: impl Fn(&Spanned<String>) -> Result<Address, FileError>,
) -> Result<Engine, SpecError> {
    match table {
        EngineTable::Pow(pow) => Ok(Engine::Pow(Pow {
            spacing: pow.spacing,
            half_life: pow.half_life,
            limit: pow.limit,
            fixed_target: pow.fixed_target,
        })),
        EngineTable::Pbft(pbft) => {
            let validators = pbft.validators.into_iter().map(|validator| {
                let payout = address(&validator.payout)?;
                Ok(Validator { name: validator.name, key: validator.key, payout })
            });
            Ok(Engine::Pbft(Pbft {
                window: pbft.window,
                view_timeout_ms: pbft.view_timeout_ms,
                block_interval_ms_min: pbft.block_interval_ms_min,
                heartbeat_ms: pbft.heartbeat_ms,
                checkpoint_interval: pbft.checkpoint_interval,
                validators: validators.collect::<Result<_, FileError>>()?,
            }))
        }
        EngineTable::Hybrid(_) => Err(SpecError::EngineUnsupported("hybrid")),
    }
}

/// Names the line of a byte offset, and the field: the one that the message quotes, else the key on
/// that line.
fn file_error(text: &str, at: usize, message: &str) -> FileError {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count().saturating_add(1);
    let quoted = message.split_once("field `").and_then(|(_, rest)| rest.split_once('`'));
    let on_line = || {
        let line = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
        line.split('=').next().unwrap_or_default().trim()
    };
    let field = quoted.map_or_else(on_line, |(field, _)| field).to_owned();
    FileError { line, field, message: message.to_owned() }
}

fn magic<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 4], D::Error> {
    let text = String::deserialize(deserializer)?;
    let mut magic = [0; 4];
    hex::decode_to_slice(text, &mut magic)
        .map_err(|_| de::Error::custom("expected a string of 8 hex digits"))?;
    Ok(magic)
}

fn bits<'de, D: Deserializer<'de>>(deserializer: D) -> Result<CompactTarget, D::Error> {
    magic(deserializer).map(|bytes| CompactTarget(u32::from_be_bytes(bytes)))
}

fn public_key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PublicKey, D::Error> {
    let bytes = hex::decode(String::deserialize(deserializer)?).unwrap_or_default();
    PublicKey::from_bytes(&bytes)
        .map_err(|_| de::Error::custom("expected a compressed public key, 66 hex digits"))
}

fn coins<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Amount, D::Error> {
    let text = String::deserialize(deserializer)?;
    Amount::from_str(&text).map_err(|error| custom(&error))
}

fn custom<E: de::Error>(error: &impl Display) -> E {
    E::custom(error)
}

/// Writes a `chain.toml` with comments for people.
pub(super) fn render(parameters: &Parameters) -> String {
    let versions = &parameters.address_versions;
    let (rewards, limits) = (&parameters.rewards, &parameters.limits);
    let mut text = format!(
        r#"# The chain spec: every node of a network needs the same fields (comments do not count).
# Amounts are coins in quotes, times are seconds.

name = "{name}"
# First bytes of the network's messages.
magic = "{magic}"

# Version bytes of base58check addresses.
[addresses]
p2pkh = {p2pkh}
p2sh = {p2sh}

{engine}
[rewards]
# New coins of a block, before the first halving.
subsidy = "{subsidy}"
# Blocks between halvings.
halving_interval = {halving_interval}
# Blocks until a coinbase may be spent; 1 = in the next block.
coinbase_maturity = {coinbase_maturity}

[limits]
block_bytes = {block_bytes}
transaction_bytes = {transaction_bytes}

[genesis]
# Unix seconds.
time = {time}
"#,
        name = parameters.name,
        magic = hex::encode(parameters.magic),
        p2pkh = versions.p2pkh,
        p2sh = versions.p2sh,
        engine = render_engine(parameters),
        subsidy = rewards.subsidy,
        halving_interval = rewards.halving_interval,
        coinbase_maturity = rewards.coinbase_maturity,
        block_bytes = limits.block_bytes,
        transaction_bytes = limits.transaction_bytes,
        time = parameters.genesis.time,
    );
    render_allocations(parameters, &mut text);
    text
}

fn render_engine(parameters: &Parameters) -> String {
    match &parameters.engine {
        Engine::Pow(pow) => render_pow(pow),
        Engine::Pbft(pbft) => render_pbft(pbft, &parameters.address_versions),
    }
}

fn render_pow(pow: &Pow) -> String {
    let Pow { spacing, half_life, limit, fixed_target } = pow;
    format!(
        r#"# Proof of work: most work wins.
[engine.pow]
# Seconds between blocks that difficulty aims at.
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

fn render_allocations(parameters: &Parameters, text: &mut String) {
    let allocations = &parameters.genesis.allocations;
    if !allocations.is_empty() {
        text.push_str("\n# Coins that exist from the start, spendable at once.\n");
    }
    for allocation in allocations {
        let address = allocation.address.encode(&parameters.address_versions);
        let amount = allocation.amount;
        text.push_str(&format!(
            "[[genesis.allocations]]\naddress = \"{address}\"\namount = \"{amount}\"\n\n"
        ));
    }
}
