//! A new development network on disk.

use std::path::Path;
use std::{fs, io};

use pentad_ledger::spec::{VALIDATORS_MAX, Validator};
use pentad_network_file::{NetworkFile, NodeEntry};

use super::ports::PortBlock;
use crate::args::EngineName;
use crate::fault::Fault;
use crate::new_file::NewFile;
use crate::secret_file::{
    create_directory, make_validator_key, passphrase_file, validator_key_file,
};
use crate::verbs::{Beginning, GENESIS_WALLET, Order, VALIDATOR_WALLET, Voter, make_wallet};

/// Coins that genesis pays to wallet `genesis` of node 1.
const GENESIS_COINS: &str = "1000";

/// Makes everything but the processes, `network.json` last: from then on it is a network.
///
/// # Errors
/// When the directory is not empty or cannot be written.
pub(super) fn create(
    directory: &Path,
    nodes: u16,
    engine: EngineName,
    ports: &PortBlock,
) -> Result<NetworkFile, Fault> {
    let refuse = |action: &str, error: io::Error| {
        Fault::refused(format!("cannot {action} {}: {error}", directory.display()))
    };
    let directory = fs::canonicalize(directory).map_err(|error| refuse("find", error))?;
    let mut entries = fs::read_dir(&directory).map_err(|error| refuse("read", error))?;
    if entries.next().is_some() {
        let text = format!("{} is neither empty nor a network", directory.display());
        return Err(
            Fault::usage(text).with_hint("name another directory with --dir, or delete this one")
        );
    }
    let made = fill(&directory, nodes, engine, ports);
    if made.is_err() {
        clear(&directory).map_err(|error| refuse("clear", error))?;
    }
    made
}

/// Takes away what was made in a directory that was empty before.
fn clear(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            fs::remove_dir_all(path)?;
        } else {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn fill(
    directory: &Path,
    nodes: u16,
    engine: EngineName,
    ports: &PortBlock,
) -> Result<NetworkFile, Fault> {
    let mut entries = Vec::new();
    for index in 0..nodes {
        entries.push(node(directory, index, ports)?);
    }
    let first = directory.join("node1");
    let address = make_wallet(&first, GENESIS_WALLET)?;
    let amount = GENESIS_COINS.parse().map_err(|error| Fault::refused(format!("{error}")))?;
    let order = match engine {
        EngineName::Pow => Order::EasyWork,
        EngineName::Pbft => Order::Validators(validators(&entries)?),
        EngineName::Hybrid => Order::EasyHybrid(voters(&entries)?),
    };
    let beginning = Beginning { name: "devnet", address, amount, order };
    let spec = beginning.chain_spec()?;
    let chain_spec = directory.join("chain.toml");
    NewFile::create(&chain_spec)?.write(&spec.to_toml())?;
    let network =
        NetworkFile { chain_spec, genesis_address: Some(beginning.address_text()), nodes: entries };
    network.write(directory)?;
    Ok(network)
}

/// Every node validates, as far as a spec has room for it: a key and a wallet for its fees each.
fn validators(nodes: &[NodeEntry]) -> Result<Vec<Validator>, Fault> {
    let validators = voters(nodes)?.into_iter().zip(nodes).map(|((name, key), node)| {
        let payout = make_wallet(&node.data_dir, VALIDATOR_WALLET)?;
        Ok(Validator { name, key, payout })
    });
    validators.collect()
}

/// The same where blocks are mined: their fees are the miners'.
fn voters(nodes: &[NodeEntry]) -> Result<Vec<Voter>, Fault> {
    let voters = nodes.iter().take(VALIDATORS_MAX).map(|node| {
        let key = make_validator_key(&validator_key_file(&node.data_dir))?.public_key();
        Ok((node.name.clone(), key))
    });
    voters.collect()
}

fn node(directory: &Path, index: u16, ports: &PortBlock) -> Result<NodeEntry, Fault> {
    let name = format!("node{}", index.saturating_add(1));
    let addresses =
        ports.node(index).ok_or_else(|| Fault::usage("the ports of the network end at 65535"))?;
    let data_dir = directory.join(&name);
    create_directory(&data_dir)?;
    passphrase_file(&data_dir)?;
    Ok(NodeEntry {
        name,
        grpc: addresses.grpc,
        p2p: addresses.p2p,
        metrics: addresses.metrics,
        cookie: data_dir.join("cookie"),
        authority: None,
        log: Some(data_dir.join("node.log")),
        data_dir,
        pid: None,
    })
}
