//! Waiting until a network is up.

use std::cell::RefCell;
use std::time::Duration;

use futures_util::future::join_all;
use pentad_network_file::{NetworkFile, NodeEntry};
use tokio::time::{sleep, timeout};

use super::probe::{Links, Probe};
use super::process;
use super::spawn::{Started, next_end};
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
/// When a node that was started ends, or it takes too long.
pub(super) async fn wait(
    network: &NetworkFile,
    wanted: &[usize],
    started: &mut Vec<Started>,
) -> Result<(), Fault> {
    let lacking = RefCell::new(String::new());
    tokio::select! {
        outcome = timeout(WAIT_MAX, all_up(network, wanted, &lacking)) => outcome.map_err(|_| {
            let text = format!("not within {} s: {}", WAIT_MAX.as_secs(), lacking.borrow());
            Fault::unreachable(text).with_hint(log_hint(network, wanted))
        }),
        (node, status) = next_end(started) => {
            let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
            let text = format!("{} ended at its start: {}", node.name, node.last_words(&how));
            Err(Fault::refused(text).with_hint(format!("its log is {}", node.log().display())))
        }
    }
}

fn log_hint(network: &NetworkFile, wanted: &[usize]) -> String {
    let logs = wanted.iter().filter_map(|&index| network.nodes.get(index)?.log.as_deref());
    let logs: Vec<String> = logs.map(|log| log.display().to_string()).collect();
    format!("see {}", logs.join(", "))
}

/// Keeps in `lacking` what it is waiting for.
async fn all_up(network: &NetworkFile, wanted: &[usize], lacking: &RefCell<String>) {
    let members = network.nodes.iter().enumerate();
    let members = members.filter_map(|(index, node)| {
        let is_wanted = wanted.contains(&index);
        (is_wanted || process::is_running(node)).then_some(Member { node, is_wanted })
    });
    let members: Vec<Member<'_>> = members.collect();
    let probes = join_all(members.iter().map(|member| member.up(lacking))).await;
    loop {
        let links = join_all(probes.iter().map(|probe| async {
            match probe {
                Some(probe) => probe.links().await,
                None => None,
            }
        }));
        match unconnected(&members, &links.await) {
            None => return,
            Some(text) => *lacking.borrow_mut() = text,
        }
        sleep(POLL).await;
    }
}

/// A node of the network that runs, or is to.
struct Member<'a> {
    node: &'a NodeEntry,
    is_wanted: bool,
}

impl Member<'_> {
    /// Waits until the node is healthy; a node that is not wanted only has one chance.
    async fn up(&self, lacking: &RefCell<String>) -> Option<Probe> {
        loop {
            // A new probe each time: the cookie is made while the node starts, after its port is
            // open, so that the probe that waited for an answer may be one without it.
            if let Some(probe) = Probe::new(self.node)
                && probe.is_healthy().await
            {
                return Probe::new(self.node);
            }
            if !self.is_wanted {
                return None;
            }
            *lacking.borrow_mut() = format!("{} is not healthy", self.node.name);
            sleep(POLL).await;
        }
    }
}

/// The first wanted node that lacks links.
fn unconnected(members: &[Member<'_>], links: &[Option<Links>]) -> Option<String> {
    let keys: Vec<&str> = links.iter().flatten().map(|links| links.own.as_str()).collect();
    members.iter().zip(links).filter(|(member, _)| member.is_wanted).find_map(|(member, links)| {
        let name = &member.node.name;
        let Some(links) = links else {
            return Some(format!("{name} does not tell its peers"));
        };
        let others = keys.len().saturating_sub(1).min(LINKS_MIN);
        let connected = count_links(links, &keys);
        (connected < others)
            .then(|| format!("{name} is connected to {connected} of {others} nodes"))
    })
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
        let links = Links { own: "a".to_owned(), peers };
        assert_eq!(count_links(&links, &["a", "b", "c"]), 1);
    }
}
