//! `chain.toml`: the text form of a spec.

use std::fmt::Display;
use std::str::FromStr;

use pentad_crypto::{Address, AddressVersions, PublicKey};
use pentad_primitives::Amount;
use pentad_primitives::pow::CompactTarget;
use serde::de;
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::engine_file::{self, EngineTable};
use super::{Allocation, FileError, Genesis, Limits, Parameters, Rewards, SpecError};

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
    let engine = file.engine.engine(address)?;
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

pub(super) fn bits<'de, D: Deserializer<'de>>(deserializer: D) -> Result<CompactTarget, D::Error> {
    magic(deserializer).map(|bytes| CompactTarget(u32::from_be_bytes(bytes)))
}

pub(super) fn public_key<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<PublicKey, D::Error> {
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
        engine = engine_file::render(&parameters.engine, versions),
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
