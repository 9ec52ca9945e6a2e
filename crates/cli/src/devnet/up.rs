use std::path::Path;

use pentad_ledger::spec::ChainSpec;
use pentad_network_file::{NetworkFile, NetworkFileError};
use serde::Serialize;

use super::lock::Lock;
use super::ports::{BASE_DEFAULT, PortBlock};
use super::spawn::{Started, spawn};
use super::status::NetworkStatus;
use super::supervise::{StopSignals, stop, supervise};
use super::{create, process, ready};
use crate::args::{EngineName, Globals, UpArgs};
use crate::console::{Answer, Console};
use crate::context::{Place, What, Why, remember_devnet};
use crate::fault::Fault;
use crate::node_binary;
use crate::progress::patiently;
use crate::target::choose;

/// Nodes of a new network that mines.
const NODES_DEFAULT: u16 = 2;
/// Nodes of a new network of validators: the fewest of which one may fail.
const VALIDATORS_DEFAULT: u16 = 4;

/// The network that is up: scripts get `network.json` itself.
#[derive(Debug, Serialize)]
struct Up {
    #[serde(flatten)]
    network: NetworkFile,
    #[serde(skip)]
    status: NetworkStatus,
    /// How this program is called for it.
    #[serde(skip)]
    command: String,
    /// As [`ChainSpec::finality_depth`].
    #[serde(skip)]
    finality_depth: Option<u32>,
    #[serde(skip)]
    foreground: bool,
}

impl Answer for Up {
    fn to_table(&self) -> String {
        let command = &self.command;
        let genesis = self.network.genesis_address.as_deref().unwrap_or("ADDRESS");
        let send = format!("{command} send --from genesis --to ADDRESS --amount 100");
        let progress = format!("{command} consensus get-status");
        let send = match self.finality_depth {
            None => format!("{send}\n  {command} generate 1"),
            Some(0) => format!("{send} --wait\n  {progress}"),
            Some(depth) => {
                let blocks = depth.saturating_add(1);
                format!("{send}\n  {command} generate {blocks}\n  {progress}")
            }
        };
        let finality = match self.finality_depth {
            None | Some(0) => String::new(),
            Some(depth) => {
                format!("\n\nA payment is final once {depth} blocks stand on its block.")
            }
        };
        let other = if self.network.nodes.len() > 1 { " --node 2" } else { "" };
        let stop = match self.foreground {
            true => "Ctrl-C stops the network; its data stays.".to_owned(),
            false => format!("{command} devnet down    stops the network; its data stays."),
        };
        format!(
            "{}\n\nGenesis paid 1000 coins to wallet genesis of node 1: {genesis}\n\n\
             Try next:\n  \
             {command} createwallet alice{other}\n  \
             {send}\n  \
             {command} balance ADDRESS{other}\n  \
             {command} devnet status{finality}\n\n{stop}",
            self.status.to_table()
        )
    }
}

/// How this program was called, with the directory unless it is found without.
///
/// # Errors
/// When it cannot be told what is found.
fn command(directory: &Path) -> Result<String, Fault> {
    let program = std::env::args().next().unwrap_or_else(|| "pentad".to_owned());
    let found = Place::of(&Globals::default())?;
    let is_found = match &found.what {
        // The next `devnet up` elsewhere would change that.
        _ if found.why == Why::LastDevnet => false,
        What::Network(found) => found.canonicalize().ok() == directory.canonicalize().ok(),
        What::Node(_) => false,
    };
    Ok(match is_found {
        true => program,
        false => format!("{program} --dir {}", directory.display()),
    })
}

/// `devnet up`.
///
/// # Errors
/// When the flags make no sense for this network, or a node does not come up: then those that
/// were started are stopped again.
pub async fn up(console: Console, globals: &Globals, arguments: &UpArgs) -> Result<(), Fault> {
    let binary = node_binary::find()?;
    let directory = Place::devnet(globals)?;
    let mut signals = StopSignals::listen()?;
    let lock = Lock::take(console, &directory).await?;
    let Opened { mut network, spec, ports } = open(&directory, globals.node, arguments)?;
    if arguments.mine && spec.pow().is_none() {
        return Err(Fault::usage("--mine: validators order the blocks, nobody mines")
            .with_hint("send transactions to fill blocks"));
    }
    let wanted = wanted(&directory, &network, globals.node)?;
    let mut started = Vec::new();
    let outcome = tokio::select! {
        outcome = bring_up(
            console, &binary, &directory, &mut network, &wanted, arguments.mine, &mut started,
        ) => outcome,
        () = signals.recv() => Err(Fault::refused("interrupted")),
    };
    drop((ports, lock));
    if let Err(fault) = outcome {
        stop(console, &directory, &mut started).await?;
        return Err(fault);
    }
    if let Err(fault) = remember_devnet(&directory) {
        console.warn(&fault);
    }
    let status = NetworkStatus::of(&network).await;
    let foreground = !arguments.detach && !started.is_empty();
    let command = command(&directory)?;
    let finality_depth = spec.finality_depth();
    console.answer(&Up { network, status, command, finality_depth, foreground })?;
    if arguments.detach || started.is_empty() {
        return Ok(());
    }
    supervise(console, &directory, &mut started, &mut signals).await
}

/// Starts the nodes `wanted` that do not run, and waits until all of them are up.
async fn bring_up(
    console: Console,
    binary: &Path,
    directory: &Path,
    network: &mut NetworkFile,
    wanted: &[usize],
    mine: bool,
    started: &mut Vec<Started>,
) -> Result<(), Fault> {
    for &index in wanted {
        if network.nodes.get(index).is_some_and(process::is_running) {
            continue;
        }
        let node = spawn(binary, network, index, mine)?;
        if let Some(entry) = network.nodes.get_mut(index) {
            entry.pid = node.child.id();
        }
        started.push(node);
        network.write(directory)?;
    }
    if started.is_empty() {
        console.note("all nodes are running already");
    }
    patiently("waiting for the nodes", ready::wait(network, wanted, started)).await
}

/// The network of the directory, or a new one.
struct Opened {
    network: NetworkFile,
    spec: ChainSpec,
    /// Those of a new one, kept until its nodes listen.
    ports: Option<PortBlock>,
}

fn open(directory: &Path, node: Option<u16>, arguments: &UpArgs) -> Result<Opened, Fault> {
    match NetworkFile::read(directory) {
        Ok(network) => {
            let spec = read_spec(&network)?;
            check_flags(directory, &network, &spec, arguments)?;
            Ok(Opened { network, spec, ports: None })
        }
        Err(NetworkFileError::Missing { .. }) => {
            let engine = arguments.engine.unwrap_or(EngineName::Pow);
            let nodes = arguments.nodes.unwrap_or(match engine {
                EngineName::Pow => NODES_DEFAULT,
                EngineName::Pbft | EngineName::Hybrid => VALIDATORS_DEFAULT,
            });
            if let Some(node) = node.filter(|&node| node > nodes) {
                return Err(Fault::usage(format!("--node {node} of a network with {nodes}")));
            }
            let ports = PortBlock::reserve(arguments.base_port.unwrap_or(BASE_DEFAULT), nodes)?;
            let network = create::create(directory, nodes, engine, &ports)?;
            Ok(Opened { spec: read_spec(&network)?, network, ports: Some(ports) })
        }
        Err(error) => Err(error.into()),
    }
}

fn read_spec(network: &NetworkFile) -> Result<ChainSpec, Fault> {
    let file = network.chain_spec.display();
    let text = std::fs::read_to_string(&network.chain_spec)
        .map_err(|error| Fault::refused(format!("cannot read {file}: {error}")))?;
    ChainSpec::from_toml(&text).map_err(|error| Fault::refused(format!("{file}: {error}")))
}

/// Flags may repeat what the network is; they cannot change it.
fn check_flags(
    directory: &Path,
    network: &NetworkFile,
    spec: &ChainSpec,
    arguments: &UpArgs,
) -> Result<(), Fault> {
    let contradiction = |flag: String, fact: String| {
        let text = format!("{flag} contradicts the network in {}: {fact}", directory.display());
        Err(Fault::usage(text).with_hint("leave the flag out, or name another directory"))
    };
    let count = network.nodes.len();
    if let Some(nodes) = arguments.nodes.filter(|&nodes| usize::from(nodes) != count) {
        return contradiction(format!("--nodes {nodes}"), format!("it has {count}"));
    }
    let base = network.nodes.first().map_or(0, |node| node.p2p.port());
    if let Some(port) = arguments.base_port.filter(|&port| port != 0 && port != base) {
        return contradiction(format!("--base-port {port}"), format!("its ports begin at {base}"));
    }
    let engine = spec.engine().name();
    if let Some(wished) = arguments.engine.map(EngineName::name).filter(|&wished| wished != engine)
    {
        return contradiction(format!("--engine {wished}"), format!("its engine is {engine}"));
    }
    Ok(())
}

/// The nodes to bring up: the one that `--node` names, or all.
fn wanted(directory: &Path, network: &NetworkFile, node: Option<u16>) -> Result<Vec<usize>, Fault> {
    match node {
        Some(number) => {
            choose(directory, network, number)?;
            Ok(vec![usize::from(number).saturating_sub(1)])
        }
        None => Ok((0..network.nodes.len()).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hints(finality_depth: Option<u32>) -> String {
        let network = NetworkFile {
            chain_spec: "chain.toml".into(),
            genesis_address: Some("1abc".to_owned()),
            nodes: Vec::new(),
        };
        let status = NetworkStatus::default();
        let command = "pentad".to_owned();
        let up = Up { network, status, command, finality_depth, foreground: true };
        up.to_table()
    }

    #[test]
    fn hints_fit_the_engine() {
        let [mined, ordered, both] = [None, Some(0), Some(6)].map(hints);
        assert!(mined.contains("pentad generate 1\n") && !mined.contains("consensus"), "{mined}");
        assert!(ordered.contains("--wait\n  pentad consensus get-status\n"), "{ordered}");
        assert!(!ordered.contains("generate"), "{ordered}");
        // The block of a payment and those on it.
        assert!(both.contains("pentad generate 7\n  pentad consensus get-status\n"), "{both}");
        let said = "A payment is final once 6 blocks stand on its block.";
        assert!(both.contains(said) && !mined.contains("final") && !ordered.contains("final once"));
    }
}
