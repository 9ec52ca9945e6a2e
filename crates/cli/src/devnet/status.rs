use futures_util::future::join_all;
use pentad_network_file::{NetworkFile, NodeEntry};
use serde::Serialize;

use super::probe::Probe;
use crate::args::Globals;
use crate::console::{Answer, Console};
use crate::context::Place;
use crate::fault::Fault;
use crate::table::grid;

/// Hex digits of a hash that people tell apart.
const HASH_DIGITS: usize = 16;

#[derive(Debug, Default, Serialize)]
pub(super) struct NetworkStatus {
    nodes: Vec<NodeStatus>,
}

/// One node; what it does not tell is null.
#[derive(Clone, Debug, Default, Serialize)]
struct NodeStatus {
    name: String,
    healthy: bool,
    height: Option<u32>,
    tip: Option<String>,
    final_height: Option<u32>,
    peers: Option<usize>,
    /// View of the consensus; none under proof of work.
    view: Option<u64>,
    /// Name of the view's primary; none under proof of work.
    primary: Option<String>,
}

impl NetworkStatus {
    /// Asks all nodes at once.
    pub(super) async fn of(network: &NetworkFile) -> Self {
        Self { nodes: join_all(network.nodes.iter().map(node_status)).await }
    }
}

async fn node_status(node: &NodeEntry) -> NodeStatus {
    let unknown = NodeStatus { name: node.name.clone(), ..NodeStatus::default() };
    let Some(probe) = Probe::new(node) else {
        return unknown;
    };
    let (healthy, info, links, consensus) =
        tokio::join!(probe.is_healthy(), probe.info(), probe.links(), probe.consensus());
    // Under proof of work there are neither views nor primaries.
    let consensus = consensus.filter(|consensus| consensus.validators > 0);
    NodeStatus {
        healthy,
        height: info.as_ref().map(|info| info.height),
        final_height: info.as_ref().and_then(|info| info.final_height),
        tip: info.map(|info| info.tip),
        peers: links.map(|links| links.peers.len()),
        view: consensus.as_ref().map(|consensus| consensus.view),
        primary: consensus.map(|consensus| consensus.primary),
        ..unknown
    }
}

impl Answer for NetworkStatus {
    fn to_table(&self) -> String {
        if self.nodes.is_empty() {
            return "no nodes".to_owned();
        }
        let shown = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        let row = |node: &NodeStatus| {
            [
                node.name.clone(),
                if node.healthy { "healthy" } else { "down" }.to_owned(),
                shown(node.height.map(|height| height.to_string())),
                shown(node.tip.as_ref().map(|tip| shortened(tip))),
                shown(node.peers.map(|peers| peers.to_string())),
            ]
        };
        let rows = self.nodes.iter().map(row);
        let is_mined = |node: &NodeStatus| node.view.is_none() && node.final_height.is_none();
        if self.nodes.iter().all(is_mined) {
            return grid(["NODE", "STATE", "HEIGHT", "TIP", "PEERS"], &[2, 4], rows.collect());
        }
        let rows = rows.zip(&self.nodes).map(|([name, state, height, tip, peers], node)| {
            let final_height = shown(node.final_height.map(|height| height.to_string()));
            let view = shown(node.view.map(|view| view.to_string()));
            let primary = shown(node.primary.clone());
            [name, state, height, final_height, tip, peers, view, primary]
        });
        let heading = ["NODE", "STATE", "HEIGHT", "FINAL", "TIP", "PEERS", "VIEW", "PRIMARY"];
        grid(heading, &[2, 3, 5, 6], rows.collect())
    }
}

/// The end of a hash: its beginning is all zeros under proof of work.
fn shortened(hash: &str) -> String {
    match hash.len().checked_sub(HASH_DIGITS).and_then(|start| hash.get(start..)) {
        Some(end) if end.len() < hash.len() => format!("…{end}"),
        _ => hash.to_owned(),
    }
}

/// `devnet status`: always succeeds, dead nodes are listed as such.
///
/// # Errors
/// When the answer cannot be printed.
pub async fn status(console: Console, globals: &Globals) -> Result<(), Fault> {
    let status = match read(globals) {
        Ok(network) => NetworkStatus::of(&network).await,
        Err(error) => {
            console.warn(&error);
            NetworkStatus { nodes: Vec::new() }
        }
    };
    console.answer(&status)
}

fn read(globals: &Globals) -> Result<NetworkFile, Fault> {
    Ok(NetworkFile::read(&Place::devnet(globals)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_nodes_have_nulls() {
        let dead = NodeStatus { name: "node2".to_owned(), ..NodeStatus::default() };
        let alive = NodeStatus {
            name: "node1".to_owned(),
            healthy: true,
            height: Some(7),
            tip: Some("0123456789abcdef".repeat(4)),
            peers: Some(0),
            ..NodeStatus::default()
        };
        let status = NetworkStatus { nodes: vec![alive, dead] };
        let expected = concat!(
            r#"{"nodes":[{"name":"node1","healthy":true,"height":7,"tip":"#,
            r#""0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","#,
            r#""final_height":null,"peers":0,"view":null,"primary":null},"#,
            r#"{"name":"node2","healthy":false,"height":null,"tip":null,"final_height":null,"#,
            r#""peers":null,"view":null,"primary":null}]}"#,
        );
        assert_eq!(serde_json::to_string(&status).expect("JSON"), expected);
        assert_eq!(
            status.to_table(),
            "NODE   STATE    HEIGHT  TIP                PEERS\n\
             node1  healthy       7  …0123456789abcdef      0\n\
             node2  down          -  -                      -"
        );
    }

    #[test]
    fn mined_blocks_that_validators_make_final_have_two_heights() {
        let node = NodeStatus {
            name: "node1".to_owned(),
            healthy: true,
            height: Some(7),
            tip: Some("0123456789abcdef".repeat(4)),
            final_height: Some(1),
            peers: Some(3),
            view: Some(0),
            primary: Some("node2".to_owned()),
        };
        let silent = NodeStatus { view: None, primary: None, ..node.clone() };
        let table = |node| NetworkStatus { nodes: vec![node] }.to_table();
        assert_eq!(
            table(node),
            "NODE   STATE    HEIGHT  FINAL  TIP                PEERS  VIEW  PRIMARY\n\
             node1  healthy       7      1  …0123456789abcdef      3     0  node2"
        );
        assert_eq!(
            table(silent),
            "NODE   STATE    HEIGHT  FINAL  TIP                PEERS  VIEW  PRIMARY\n\
             node1  healthy       7      1  …0123456789abcdef      3     -  -"
        );
    }
}
