//! Four `pentad-node` processes that validate.

use std::fs;
use std::path::{Path, PathBuf};

use pentad_crypto::{Address, SecretKey};
use pentad_ledger::ChainSpec;
use pentad_ledger::spec::{Allocation, Validator};

use crate::node::Node;
use crate::process::{text, write_secret};

/// The fewest of which one may fail.
pub const NODES: usize = 4;

fn validator_key(number: usize) -> [u8; 32] {
    [u8::try_from(number + 1).expect("small"); 32]
}

/// A network of validators with these coins.
///
/// # Panics
/// When it would have more coins than there may be.
#[must_use]
pub fn spec(time: u32, allocations: Vec<Allocation>) -> ChainSpec {
    let validators = (0..NODES).map(|number| {
        let key = SecretKey::from_bytes(validator_key(number)).expect("a key").public_key();
        let payout = Address::P2pkh(key.key_hash());
        Validator { name: format!("node{}", number + 1), key, payout }
    });
    ChainSpec::development_pbft("bench", time, allocations, validators.collect())
        .expect("a valid spec")
}

/// Starts all with more flags, and waits until each is linked with all others.
///
/// # Panics
/// When they do not start.
pub async fn start(spec: &ChainSpec, directory: &Path, flags: &[&str]) -> Vec<Node> {
    let chain = directory.join("chain.toml");
    fs::write(&chain, spec.to_toml()).expect("writable");
    let mut nodes: Vec<Node> = Vec::new();
    for number in 0..NODES {
        let bootstrap = nodes.first().map(|node| node.p2p.clone());
        nodes.push(spawn(number, &chain, directory, bootstrap.as_deref(), flags));
    }
    for node in &nodes {
        node.linked(NODES - 1).await;
    }
    nodes
}

/// Starts the one of that number.
///
/// # Panics
/// When it does not start.
pub fn spawn(
    number: usize,
    chain: &Path,
    directory: &Path,
    bootstrap: Option<&str>,
    more: &[&str],
) -> Node {
    let data = directory.join(format!("node{}", number + 1));
    let key = write_key(number, &data);
    let mut flags = vec!["--validator-key", text(&key)];
    flags.extend(more);
    if let Some(first) = bootstrap {
        flags.extend(["--bootstrap", first]);
    }
    Node::spawn(chain, &data, &flags)
}

/// Writes a validator's key into a directory; its file.
///
/// # Panics
/// When it cannot be written.
#[must_use]
pub fn write_key(number: usize, directory: &Path) -> PathBuf {
    fs::create_dir_all(directory).expect("writable");
    let file = directory.join("validator.key");
    let digits: String = validator_key(number).iter().map(|it| format!("{it:02x}")).collect();
    write_secret(&file, &digits);
    file
}
