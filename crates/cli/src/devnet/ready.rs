//! Waiting until a network is up.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use pentad_network_file::{NetworkFile, NodeEntry};

use super::probe::{Links, Probe};
use super::process;
use super::spawn::Started;
use crate::fault::Fault;

/// A node replays its chain when it was killed; a busy machine is slow.
const WAIT_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(25);
/// Links within the network that every node must have; in a small one that is all others. Nodes
/// keep eight outbound links, so more cannot be waited for.
const LINKS_MIN: usize = 7;

/// Waits until the nodes `wanted` are healthy and connected with all that run.
///
/// # Errors
/// When a node ends, or it takes too long.
pub(super) async fn wait(
    network: &NetworkFile,
    wanted: &[usize],
    started: &mut [Started],
) -> Result<(), Fault> {
    let start = Instant::now();
    loop {
        for node in started.iter_mut() {
            if let Ok(Some(status)) = node.child.try_wait() {
                return Err(ended(node, &status.to_string()));
            }
        }
        let missing = match missing(network, wanted).await {
            None => return Ok(()),
            Some(missing) => missing,
        };
        if start.elapsed() > WAIT_MAX {
            let text = format!("not within {} s: {missing}", WAIT_MAX.as_secs());
            return Err(Fault::unreachable(text).with_hint(log_hint(network, wanted)));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// A node that ended before it was up, with its own last words.
fn ended(node: &Started, status: &str) -> Fault {
    let said = node.log_tail();
    let text = format!("{} ended at its start ({status})", node.name);
    let text = if said.is_empty() {
        text
    } else {
        format!("{text}:\n{said}")
    };
    Fault::refused(text).with_hint(format!("its log is {}", node.log().display()))
}

fn log_hint(network: &NetworkFile, wanted: &[usize]) -> String {
    let logs = wanted
        .iter()
        .filter_map(|&index| network.nodes.get(index)?.log.as_deref());
    let logs: Vec<String> = logs.map(|log| log.display().to_string()).collect();
    format!("see {}", logs.join(", "))
}

/// What is not there yet.
async fn missing(network: &NetworkFile, wanted: &[usize]) -> Option<String> {
    let running: Vec<(usize, &NodeEntry)> = network
        .nodes
        .iter()
        .enumerate()
        .filter(|(index, node)| wanted.contains(index) || process::is_running(node))
        .collect();
    let states = join_all(running.iter().map(|(_, node)| state(node))).await;
    let keys: Vec<&str> = states
        .iter()
        .flatten()
        .map(|links| links.own.as_str())
        .collect();
    let others = running.len().saturating_sub(1).min(LINKS_MIN);
    running
        .iter()
        .zip(&states)
        .filter(|((index, _), _)| wanted.contains(index))
        .find_map(|((_, node), links)| match links {
            None => Some(format!("{} is not healthy", node.name)),
            Some(links) => {
                let connected = count_links(links, &keys);
                let lacks = others.saturating_sub(connected);
                (lacks > 0).then(|| {
                    format!(
                        "{} is connected to {connected} of {others} nodes",
                        node.name
                    )
                })
            }
        })
}

/// The links of a healthy node.
async fn state(node: &NodeEntry) -> Option<Links> {
    let probe = Probe::new(node)?;
    if !probe.is_healthy().await {
        return None;
    }
    probe.links().await
}

/// How many of the nodes with these keys it is connected to; several links to one count once.
fn count_links(links: &Links, keys: &[&str]) -> usize {
    let is_peer = |key: &&&str| **key != links.own && links.peers.iter().any(|peer| peer == **key);
    keys.iter().filter(is_peer).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_count_nodes_of_the_network_once() {
        let peers = ["b", "b", "stranger", "a"].map(str::to_owned).to_vec();
        let links = Links {
            own: "a".to_owned(),
            peers,
        };
        assert_eq!(count_links(&links, &["a", "b", "c"]), 1);
    }
}
