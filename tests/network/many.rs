//! Twenty nodes on one machine, in a row: each is told of the one before it and of nobody else.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use pentad_tests::{DEADLINE, Devnet, Node, Solo, buf_curl, metric, wait_for};
use serde_json::{Value, json};

use crate::coins::send;

const NODES: usize = 20;
/// How often a node's counters are looked at.
const POLL: Duration = Duration::from_millis(50);

fn list(node: &Node, method: &str, field: &str) -> Vec<Value> {
    let reply = buf_curl(node, &format!("pentad.peer.v1.PeerService/{method}"), &json!({}));
    assert_eq!(reply.code, 0, "{}", reply.text);
    reply.json[field].as_array().cloned().unwrap_or_default()
}

/// Waits until a counter has that value on every node; how long the last took, from `start`.
fn spread(what: &str, nodes: &[Node], name: &'static str, value: f64, start: Instant) {
    let watchers: Vec<_> = nodes
        .iter()
        .map(Node::metrics)
        .map(|address| {
            thread::spawn(move || {
                while metric(&address, name) != Some(value) {
                    assert!(start.elapsed() < DEADLINE, "{name} is not {value} at {address}");
                    thread::sleep(POLL);
                }
                start.elapsed()
            })
        })
        .collect();
    let mut took: Vec<Duration> =
        watchers.into_iter().map(|it| it.join().expect("it is everywhere")).collect();
    took.sort_unstable();
    println!(
        "{what} on {} of {NODES} nodes after {:?}, on all after {:?} (looked at every {POLL:?})",
        NODES / 2,
        took[NODES / 2 - 1],
        took[NODES - 1]
    );
}

/// The nodes that are reached from the first one over links.
fn reached(links: &BTreeMap<String, BTreeSet<String>>) -> usize {
    let mut reached = BTreeSet::new();
    let mut ahead: Vec<&String> = links.keys().take(1).collect();
    while let Some(node) = ahead.pop() {
        if reached.insert(node) {
            ahead.extend(&links[node]);
        }
    }
    reached.len()
}

#[test]
fn twenty_nodes_that_are_told_of_one_each_find_all_others_and_pass_everything_on() {
    let devnet = Devnet::up(1);
    let spec = devnet.chain_spec();
    let started = Instant::now();
    let mut row: Vec<Solo> = Vec::new();
    for _ in 1..NODES {
        let before = row.last().map_or(devnet.node(1).p2p(), |node| node.node().p2p());
        row.push(Solo::start(&spec, &[&before], &[]));
    }
    let mut nodes = vec![devnet.node(1)];
    nodes.extend(row.iter().map(|solo| solo.node().clone()));

    for node in &nodes {
        wait_for("the node knows all others", || {
            match list(node, "GetRoutingTable", "contacts").len() {
                known if known == NODES - 1 => Ok(()),
                known => Err(format!("{known}\n{}", node.log())),
            }
        });
    }
    println!("all know all others {:?} after the first was started", started.elapsed());
    // Eight links are what a node opens by itself.
    let links = wait_for("the nodes are linked, eight links each at least", || {
        let mut links = BTreeMap::new();
        for node in &nodes {
            let own = buf_curl(node, "pentad.peer.v1.PeerService/GetSelf", &json!({})).json;
            let peers = list(node, "ListPeers", "peers");
            let keys = peers.iter().map(|peer| peer["staticKey"].to_string());
            links.insert(own["staticKey"].to_string(), keys.collect::<BTreeSet<String>>());
        }
        let fewest = links.values().map(BTreeSet::len).min().unwrap_or(0);
        if fewest >= 8 { Ok(links) } else { Err(format!("{fewest} links")) }
    });
    let count: usize = links.values().map(BTreeSet::len).sum();
    println!("{} links, {:?} after the first was started", count / 2, started.elapsed());
    assert_eq!(reached(&links), NODES, "one network: {links:?}");

    let alice = devnet.genesis_address();
    let start = Instant::now();
    send(&devnet, 1, &alice, &alice, "1");
    spread("a payment", &nodes, "pentad_chain_mempool_transactions", 1.0, start);
    let start = Instant::now();
    devnet.generate(1, 1);
    spread("a block", &nodes, "pentad_chain_height_blocks", 1.0, start);
}
