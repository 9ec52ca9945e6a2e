//! Discovery with the PyPI package `kademlia` on the other side.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use pentad_tests::{Devnet, buf_curl, free_port, python, start, wait_for, wait_until};
use serde_json::{Value, json};

/// A Python server that ends with its handle.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().expect("a child can be killed");
        self.0.wait().expect("a killed child can be reaped");
    }
}

fn contacts(devnet: &Devnet, node: usize) -> Vec<String> {
    let method = "pentad.peer.v1.PeerService/GetRoutingTable";
    let reply = buf_curl(&devnet.node(node), method, &json!({}));
    assert_eq!(reply.code, 0, "{}", reply.text);
    let contacts = reply.json["contacts"].as_array().cloned().unwrap_or_default();
    contacts.iter().map(|contact| contact["address"].as_str().unwrap_or("").to_owned()).collect()
}

#[test]
fn a_python_server_bootstraps_from_one_node_and_finds_the_other() {
    let devnet = Devnet::up(2);
    wait_until("the nodes know each other", || {
        contacts(&devnet, 1).contains(&devnet.node(2).p2p())
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
fn nodes_bootstrap_from_a_python_server_and_find_each_other_through_it() {
    let port = free_port();
    let mut child = python("kademlia_peer.py")
        .args(["serve", &port.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("python starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("a piped stdout"))
        .read_line(&mut line)
        .expect("a line when it listens");
    let server = Server(child);
    let bootstrap = format!("127.0.0.1:{port}");

    // Two nodes of one network that know nothing but the Python server.
    let devnet = Devnet::up(1);
    let chain = devnet.network()["chain_spec"].as_str().expect("a chain spec").to_owned();
    let nodes = [0, 1].map(|_| {
        let data = tempfile::TempDir::new().expect("a temporary folder");
        let dir = data.path().to_str().expect("a UTF-8 path").to_owned();
        let [grpc, p2p, metrics] = [0; 3].map(|_| format!("127.0.0.1:{}", free_port()));
        let process = start(
            "pentad",
            &[
                "start",
                "--chain",
                &chain,
                "--data",
                &dir,
                "--bootstrap",
                &bootstrap,
                "--grpc",
                &grpc,
                "--p2p",
                &p2p,
                "--metrics",
                &metrics,
            ],
            &data.path().join("start.log"),
        );
        (data, process)
    });
    for (data, process) in &nodes {
        wait_for("the node has the other as its peer", || {
            let dir = data.path().to_str().expect("a UTF-8 path");
            let output = std::process::Command::new(pentad_tests::binary("pentad"))
                .args(["--dir", dir, "--output", "json", "devnet", "status"])
                .output()
                .map_err(|error| error.to_string())?;
            let status: Value =
                serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
            let connected = status["nodes"][0]["peers"].as_u64() == Some(1);
            if connected { Ok(()) } else { Err(format!("{status}\n{}", process.output())) }
        });
    }
    drop(server);
}
