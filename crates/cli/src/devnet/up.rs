use std::path::Path;

use pentad_ledger::spec::ChainSpec;
use pentad_network_file::{NetworkFile, NetworkFileError};
use serde::Serialize;

use super::create::Engine;
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
    #[serde(skip)]
    engine: Engine,
    #[serde(skip)]
    foreground: bool,
}

impl Answer for Up {
    fn to_table(&self) -> String {
        let command = &self.command;
        let genesis = self.network.genesis_address.as_deref().unwrap_or("ADDRESS");
        let send = format!("{command} send --from genesis --to ADDRESS --amount 100");
        let (send, confirm) = match self.engine {
            Engine::Pow => (send, format!("{command} generate 1")),
            Engine::Pbft => (format!("{send} --wait"), format!("{command} consensus get-status")),
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
             {confirm}\n  \
             {command} balance ADDRESS{other}\n  \
             {command} devnet status\n\n{stop}",
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
    let wished = arguments.engine.map(known_engine).transpose()?;
    let binary = node_binary::find()?;
    let directory = Place::devnet(globals)?;
    let mut signals = StopSignals::listen()?;
    let lock = Lock::take(console, &directory).await?;
    let Opened { mut network, engine, ports } = open(&directory, globals.node, wished, arguments)?;
    if arguments.mine && engine == Engine::Pbft {
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
    console.answer(&Up { network, status, command, engine, foreground })?;
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

/// The engine, if this version has it.
fn known_engine(name: EngineName) -> Result<Engine, Fault> {
    match name {
        EngineName::Pow => Ok(Engine::Pow),
        EngineName::Pbft => Ok(Engine::Pbft),
        EngineName::Hybrid => Err(Fault::usage("--engine hybrid is not available yet")
            .with_hint("this version has --engine pow and --engine pbft")),
    }
}

/// The network of the directory, or a new one.
struct Opened {
    network: NetworkFile,
    engine: Engine,
    /// Those of a new one, kept until its nodes listen.
    ports: Option<PortBlock>,
}

fn open(
    directory: &Path,
    node: Option<u16>,
    wished: Option<Engine>,
    arguments: &UpArgs,
) -> Result<Opened, Fault> {
    match NetworkFile::read(directory) {
        Ok(network) => {
            let engine = check_flags(directory, &network, wished, arguments)?;
            Ok(Opened { network, engine, ports: None })
        }
        Err(NetworkFileError::Missing { .. }) => {
            let engine = wished.unwrap_or(Engine::Pow);
            let nodes = arguments.nodes.unwrap_or(match engine {
                Engine::Pow => NODES_DEFAULT,
                Engine::Pbft => VALIDATORS_DEFAULT,
            });
            if let Some(node) = node.filter(|&node| node > nodes) {
                return Err(Fault::usage(format!("--node {node} of a network with {nodes}")));
            }
            let ports = PortBlock::reserve(arguments.base_port.unwrap_or(BASE_DEFAULT), nodes)?;
            let network = create::create(directory, nodes, engine, &ports)?;
            Ok(Opened { network, engine, ports: Some(ports) })
        }
        Err(error) => Err(error.into()),
    }
}

/// Flags may repeat what the network is; they cannot change it. Its engine.
fn check_flags(
    directory: &Path,
    network: &NetworkFile,
    wished: Option<Engine>,
    arguments: &UpArgs,
) -> Result<Engine, Fault> {
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
    let text = std::fs::read_to_string(&network.chain_spec).map_err(|error| {
        Fault::refused(format!("cannot read {}: {error}", network.chain_spec.display()))
    })?;
    let spec = ChainSpec::from_toml(&text)
        .map_err(|error| Fault::refused(format!("{}: {error}", network.chain_spec.display())))?;
    let engine = if spec.pbft().is_some() { Engine::Pbft } else { Engine::Pow };
    if wished.is_some_and(|wished| wished != engine) {
        let flag = if engine == Engine::Pow { "--engine pbft" } else { "--engine pow" };
        let name = spec.engine().name();
        return contradiction(flag.to_owned(), format!("its engine is {name}"));
    }
    Ok(engine)
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
