//! Validators as real processes: payments are final at once, on every node.

use pentad_tests::{Devnet, buf_curl, free_port, start, wait_for, wait_until};
use serde_json::{Value, json};

use crate::coins::{COIN, balance, create_wallet};

/// Sends and waits; height and hash of the final block that holds the payment.
pub fn pay(devnet: &Devnet, node: usize, from: &str, to: &str, amount: &str) -> (u64, String) {
    let arguments = ["send", "--from", from, "--to", to, "--amount", amount, "--wait"];
    let reply = devnet.on(node, &arguments).success();
    let hash = reply["block_hash"].as_str().expect("a final block").to_owned();
    (reply["height"].as_u64().expect("a height"), hash)
}

/// Hashes of the main chain of a node, from genesis on.
pub fn chain(devnet: &Devnet, node: usize) -> Vec<String> {
    let reply = devnet.on(node, &["chain", "stream-headers", "--from-height", "0"]);
    assert_eq!(reply.code, 0, "{}", reply.stderr);
    let messages = serde_json::Deserializer::from_str(&reply.stdout).into_iter::<Value>();
    let headers = messages.flat_map(|message| {
        let message = message.expect("a message in JSON");
        message["headers"].as_array().cloned().unwrap_or_default()
    });
    headers.map(|header| header["hash"].as_str().expect("a hash").to_owned()).collect()
}

#[test]
fn a_payment_is_final_on_all_four_nodes() {
    let devnet = Devnet::up_pbft(4);
    let alice = devnet.genesis_address();
    let bob = create_wallet(&devnet, 2, "bob");
    let (height, hash) = pay(&devnet, 1, &alice, &bob, "100");
    assert_eq!(height, 1);
    assert_eq!(devnet.converge(&[1, 2, 3, 4]), hash);
    for node in 1..=4 {
        assert_eq!(balance(&devnet, node, &bob), [100 * COIN, 0, 0]);
        let status = devnet.status(node);
        assert_eq!(status["final_height"], 1, "{status}");
        assert_eq!((&status["view"], &status["primary"]), (&json!(0), &json!("node1")));
        let info = buf_curl(&devnet.node(node), "pentad.chain.v1.ChainService/GetInfo", &json!({}));
        assert_eq!(info.json["engine"], "pbft", "{}", info.text);
    }
    // What was paid can be spent at once, from another node.
    let (second, _) = pay(&devnet, 2, &bob, &alice, "50");
    assert_eq!(second, 2);
    let fees = balance(&devnet, 2, &alice)[0] + balance(&devnet, 2, &bob)[0];
    assert!(fees < 1000 * COIN && fees > 999 * COIN, "{fees}");
}

#[test]
fn nobody_mines_where_validators_order_the_blocks() {
    let devnet = Devnet::up_pbft(1);
    let refused = devnet.on(1, &["generate", "1"]).failure(1);
    assert!(refused.contains("pbft"), "{refused}");
    let request = json!({"blocks": 1});
    let reply = buf_curl(&devnet.node(1), "pentad.miner.v1.MinerService/Generate", &request);
    assert_eq!(reply.code, 9, "FAILED_PRECONDITION: {}", reply.text);
    let refused = devnet.run(&["devnet", "up", "--engine", "pow", "--detach"]).failure(2);
    assert!(refused.contains("its engine is pbft"), "{refused}");
    let refused = devnet.run(&["devnet", "up", "--mine", "--detach"]).failure(2);
    assert!(refused.contains("--mine"), "{refused}");
}

#[test]
fn case_27_all_four_killed_at_once_come_back_with_the_same_final_blocks() {
    let devnet = Devnet::up_pbft(4);
    let alice = devnet.genesis_address();
    let bob = create_wallet(&devnet, 2, "bob");
    for _ in 0..3 {
        pay(&devnet, 1, &alice, &bob, "10");
    }
    devnet.converge(&[1, 2, 3, 4]);
    let before = chain(&devnet, 1);
    for node in 1..=4 {
        devnet.kill(node);
    }
    devnet.restart();
    for node in 1..=4 {
        let after = chain(&devnet, node);
        assert_eq!(after[..before.len()], before, "node {node}");
    }
    let (height, _) = pay(&devnet, 1, &alice, &bob, "10");
    assert_eq!(height, 4);
    devnet.converge(&[1, 2, 3, 4]);
    assert_eq!(balance(&devnet, 4, &bob), [40 * COIN, 0, 0]);
}

#[test]
fn a_fifth_node_that_is_no_validator_follows() {
    let devnet = Devnet::up_pbft(4);
    let alice = devnet.genesis_address();
    let bob = create_wallet(&devnet, 2, "bob");
    pay(&devnet, 1, &alice, &bob, "1");

    let data = tempfile::TempDir::new().expect("a temporary folder");
    let dir = data.path().to_str().expect("a UTF-8 path");
    let network = devnet.network();
    let chain = network["chain_spec"].as_str().expect("a chain spec");
    let address = || format!("127.0.0.1:{}", free_port());
    let (grpc, p2p, metrics) = (address(), address(), address());
    let bootstrap = devnet.node(2).p2p();
    let flags = ["--bootstrap", &bootstrap, "--grpc", &grpc, "--p2p", &p2p, "--metrics", &metrics];
    let arguments = [&["start", "--chain", chain, "--data", dir], &flags[..]].concat();
    let log = data.path().join("start.log");
    let mut fifth = start("pentad", &arguments, &log);
    let ask = |arguments: &[&str]| {
        let command = std::process::Command::new(pentad_tests::binary("pentad"))
            .args(["--dir", dir, "--output", "json"])
            .args(arguments)
            .output()
            .expect("pentad runs");
        serde_json::from_slice::<Value>(&command.stdout).unwrap_or(Value::Null)
    };
    wait_until("the fifth has what was final before it came", || {
        ask(&["balance", &bob])["confirmed"] == "1.00000000"
    });
    pay(&devnet, 1, &alice, &bob, "1");
    let status = wait_for("the fifth has what became final since", || {
        let status = ask(&["consensus", "get-status"]);
        if status["lastFinal"] == "2" { Ok(status) } else { Err(status.to_string()) }
    });
    assert_eq!(status["role"], "ROLE_FOLLOWER", "{status}");
    assert_eq!((&status["primary"], &status["validators"]), (&json!("node1"), &json!(4)));
    assert!(fifth.terminate().success(), "{}", fifth.output());
}
