//! Discovery with the PyPI package `kademlia` on the other side.

use std::collections::BTreeSet;

use pentad_tests::{Devnet, Node, Script, Solo, buf_curl, python, wait_for, wait_until};
use serde_json::json;

fn contacts(node: &Node) -> Vec<String> {
    let method = "pentad.peer.v1.PeerService/GetRoutingTable";
    let reply = buf_curl(node, method, &json!({}));
    assert_eq!(reply.code, 0, "{}", reply.text);
    let contacts = reply.json["contacts"].as_array().cloned().unwrap_or_default();
    contacts.iter().map(|contact| contact["address"].as_str().unwrap_or("").to_owned()).collect()
}

#[test]
fn a_python_server_bootstraps_from_one_node_and_finds_the_other() {
    let devnet = Devnet::up(2);
    wait_until("the nodes know each other", || {
        contacts(&devnet.node(1)).contains(&devnet.node(2).p2p())
    });
    let found = wait_for("Python finds node 2 through node 1", || {
        let output = python("kademlia_peer.py")
            .args(["bootstrap", &devnet.node(1).p2p()])
            .output()
            .map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let found = text.contains(devnet.node(2).p2p().rsplit(':').next().unwrap_or("?"));
        if found { Ok(text) } else { Err(text + &String::from_utf8_lossy(&output.stderr)) }
    });
    assert!(found.contains(devnet.node(1).p2p().rsplit(':').next().expect("a port")), "{found}");
}

#[test]
fn nodes_and_python_servers_find_each_other_after_the_bootstrap_server_has_left() {
    let bootstrap = Script::start("kademlia_peer.py", &["serve", "0"]);
    let entry = format!("127.0.0.1:{}", bootstrap.told("port"));
    // Three of each kind, which know nothing but the one server.
    let devnet = Devnet::up(1);
    let spec = devnet.chain_spec();
    let nodes = [(); 3].map(|()| Solo::start(&spec, &[&entry], &[]));
    let serve = ["serve", "0", "--bootstrap", &entry];
    let servers = [(); 3].map(|()| Script::start("kademlia_peer.py", &serve));
    let joined: Vec<String> =
        servers.iter().map(|it| format!("127.0.0.1:{}", it.told("joined"))).collect();
    for node in &nodes {
        wait_until("the node has joined", || contacts(node.node()).contains(&entry));
    }
    drop(bootstrap);

    let everybody: BTreeSet<String> =
        joined.iter().cloned().chain(nodes.iter().map(|node| node.node().p2p())).collect();
    let others = |own: &str| {
        let mut others = everybody.clone();
        others.remove(own);
        others
    };
    for node in &nodes {
        wait_for("the node knows all others and no longer the server that left", || {
            let known: BTreeSet<String> = contacts(node.node()).into_iter().collect();
            if known == others(&node.node().p2p()) { Ok(()) } else { Err(format!("{known:?}")) }
        });
    }
    for (server, own) in servers.iter().zip(&joined) {
        wait_for("the Python server knows all others", || {
            let lines = server.lines();
            let last = lines.iter().rev().find_map(|line| line["neighbors"].as_array().cloned());
            let known: BTreeSet<String> = last
                .into_iter()
                .flatten()
                .filter_map(|address| address.as_str().map(str::to_owned))
                .collect();
            if known.is_superset(&others(own)) { Ok(()) } else { Err(format!("{known:?}")) }
        });
    }
    // Discovery is shared with strangers; links are with nodes of the network alone.
    for node in &nodes {
        wait_for("the node is linked with the other nodes", || {
            let peers = node.run(&["peer", "list-peers"]).success();
            let count = peers["peers"].as_array().map_or(0, Vec::len);
            if count == nodes.len() - 1 { Ok(()) } else { Err(peers.to_string()) }
        });
    }
}
