use std::path::Path;
use std::time::{Duration, Instant};

use pentad_network_file::{NetworkFile, NodeEntry};
use rustix::process::Signal;
use serde::Serialize;

use super::lock::Lock;
use super::process;
use crate::args::Globals;
use crate::console::{Answer, Console};
use crate::context::Place;
use crate::fault::Fault;
use crate::progress::patiently;
use crate::target::choose;

/// A node drains calls and then background tasks, ten seconds each at most.
pub(super) const STOP_TIME_MAX: Duration = Duration::from_secs(25);
/// The system takes a killed process away at once, or not at all.
const KILL_TIME_MAX: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);

#[derive(Debug, Serialize)]
struct Stopped {
    stopped: Vec<String>,
}

impl Answer for Stopped {
    fn to_table(&self) -> String {
        match self.stopped.as_slice() {
            [] => "no node was running".to_owned(),
            names => format!("stopped {}; their data stays", names.join(", ")),
        }
    }
}

/// `devnet down`: stops the nodes of the network, or the one that `--node` names.
///
/// # Errors
/// When there is no network, or a process cannot be ended.
pub async fn down(console: Console, globals: &Globals) -> Result<(), Fault> {
    let directory = Place::devnet(globals)?;
    NetworkFile::read(&directory)?;
    let _lock = Lock::take(console, &directory).await?;
    let network = NetworkFile::read(&directory)?;
    let nodes: Vec<&NodeEntry> = match globals.node {
        Some(number) => vec![choose(&directory, &network, number)?],
        None => network.nodes.iter().collect(),
    };
    let nodes: Vec<&NodeEntry> =
        nodes.into_iter().filter(|node| process::is_running(node)).collect();
    patiently("stopping", end(console, &nodes)).await?;
    forget_the_dead(&directory)?;
    console.answer(&Stopped { stopped: nodes.iter().map(|node| node.name.clone()).collect() })
}

/// Asks nodes to stop, waits, and kills what does not.
///
/// # Errors
/// When the system refuses to end one.
async fn end(console: Console, nodes: &[&NodeEntry]) -> Result<(), Fault> {
    send(nodes, Signal::TERM)?;
    if gone(nodes, STOP_TIME_MAX).await {
        return Ok(());
    }
    let running: Vec<&NodeEntry> =
        nodes.iter().copied().filter(|node| process::is_running(node)).collect();
    for node in &running {
        console.warn(&late(&node.name));
    }
    send(&running, Signal::KILL)?;
    if gone(&running, KILL_TIME_MAX).await {
        return Ok(());
    }
    let names: Vec<&str> = running.iter().map(|node| node.name.as_str()).collect();
    Err(Fault::refused(format!("{} cannot be ended", names.join(", "))))
}

/// What is said of a node before it is killed.
pub(super) fn late(name: &str) -> Fault {
    let seconds = STOP_TIME_MAX.as_secs();
    Fault::refused(format!("{name} did not stop within {seconds} s; killing it"))
}

fn send(nodes: &[&NodeEntry], signal: Signal) -> Result<(), Fault> {
    for node in nodes {
        process::signal(node, signal)
            .map_err(|error| Fault::refused(format!("cannot stop {}: {error}", node.name)))?;
    }
    Ok(())
}

async fn gone(nodes: &[&NodeEntry], patience: Duration) -> bool {
    let start = Instant::now();
    while nodes.iter().any(|node| process::is_running(node)) {
        if start.elapsed() > patience {
            return false;
        }
        tokio::time::sleep(POLL).await;
    }
    true
}

/// Takes the processes that ended out of the network file.
///
/// # Errors
/// When it cannot be read or written.
pub(super) fn forget_the_dead(directory: &Path) -> Result<(), Fault> {
    let mut network = NetworkFile::read(directory)?;
    let before = network.clone();
    for node in &mut network.nodes {
        if !process::is_running(node) {
            node.pid = None;
        }
    }
    if network != before {
        network.write(directory)?;
    }
    Ok(())
}
