//! The worked example: from a new wallet to a confirmed payment on another node.

use pentad_tests::{Devnet, free_port, start, wait_until};
use serde_json::json;

use crate::coins::{COIN, balance, create_wallet, miner_address, send};

#[test]
fn two_payments_in_a_row_are_confirmed_on_both_nodes() {
    let devnet = Devnet::up(2);
    let alice = devnet.genesis_address();
    for node in [1, 2] {
        assert_eq!(balance(&devnet, node, &alice), [1000 * COIN, 0, 0]);
    }
    let bob = create_wallet(&devnet, 2, "bob");

    let (first, first_fee) = send(&devnet, 1, &alice, &bob, "100");
    let (second, second_fee) = send(&devnet, 1, &alice, &bob, "100");
    assert_ne!(first, second);
    let fees = first_fee + second_fee;
    wait_until("the payments reach node 2", || {
        balance(&devnet, 2, &bob) == [0, 200 * COIN, 0]
            && balance(&devnet, 2, &alice) == [1000 * COIN, -200 * COIN - fees, 0]
    });

    let hash = devnet.generate(1, 1).remove(0);
    assert_eq!(devnet.converge(&[1, 2]), hash);
    let miner = miner_address(&devnet, 1);
    for node in [1, 2] {
        assert_eq!(balance(&devnet, node, &bob), [200 * COIN, 0, 0]);
        assert_eq!(balance(&devnet, node, &alice), [800 * COIN - fees, 0, 0]);
        assert_eq!(balance(&devnet, node, &miner).iter().sum::<i64>(), 1000 * COIN + fees);
        let block = devnet.on(node, &["print", "1"]).success();
        assert_eq!(block["hash"], hash);
        assert_eq!(block["height"], 1);
        let txids = block["txids"].as_array().expect("txids");
        assert_eq!(txids.len(), 3, "coinbase and two payments: {block}");
        assert!(txids.contains(&json!(first)) && txids.contains(&json!(second)));
        assert_eq!(block["bits"].as_str().expect("bits").len(), 8);
    }

    // Bob, on the second node, can spend what he was paid.
    let (_, fee) = send(&devnet, 2, &bob, &alice, "50.5");
    devnet.generate(2, 1);
    devnet.converge(&[1, 2]);
    assert_eq!(balance(&devnet, 1, &bob), [150 * COIN - COIN / 2 - fee, 0, 0]);
}

#[test]
fn a_whole_wallet_pays_with_its_change_chain() {
    let devnet = Devnet::up(1);
    let alice = devnet.genesis_address();
    let carol = create_wallet(&devnet, 1, "carol");
    let (_, first) = send(&devnet, 1, "genesis", &carol, "300");
    let (_, second) = send(&devnet, 1, "genesis", &carol, "600");
    devnet.generate(1, 1);
    assert_eq!(balance(&devnet, 1, &carol), [900 * COIN, 0, 0]);
    assert_eq!(balance(&devnet, 1, &alice), [0, 0, 0], "change went to the change chain");
    let wallets = devnet.on(1, &["printwallet"]).success();
    let wallets = wallets["wallets"].as_array().expect("wallets").clone();
    let genesis = wallets.iter().find(|wallet| wallet["wallet"] == "genesis").expect("genesis");
    let rest: i64 = genesis["addresses"]
        .as_array()
        .expect("addresses")
        .iter()
        .map(|address| balance(&devnet, 1, address.as_str().expect("an address"))[0])
        .sum();
    assert_eq!(rest, 100 * COIN - first - second);
}

#[test]
fn a_retry_with_the_same_idempotency_key_pays_once() {
    let devnet = Devnet::up(1);
    let alice = devnet.genesis_address();
    let bob = create_wallet(&devnet, 1, "bob");
    let pay = ["send", "--from", &alice, "--to", &bob, "--amount", "10", "--idempotency-key", "k"];
    let first = devnet.on(1, &pay).success();
    assert_eq!(devnet.on(1, &pay).success()["txid"], first["txid"]);
    devnet.kill(1);
    devnet.restart();
    assert_eq!(devnet.on(1, &pay).success()["txid"], first["txid"]);
    devnet.generate(1, 1);
    assert_eq!(devnet.on(1, &pay).success()["txid"], first["txid"]);
    assert_eq!(balance(&devnet, 1, &bob), [10 * COIN, 0, 0]);
}

/// The mempools of two nodes take the replacement, and one of the versions is in the block.
#[test]
fn a_raised_fee_replaces_a_payment_on_both_nodes() {
    let devnet = Devnet::up(2);
    let bob = create_wallet(&devnet, 2, "bob");
    let pay = ["send", "--from", "genesis", "--to", &bob, "--amount", "10", "--replaceable"];
    let sent = devnet.on(1, &[&pay[..], &["--label", "rent"]].concat()).success();
    let txid = sent["txid"].as_str().expect("a txid").to_owned();
    let waits = |txid: &str| devnet.on(2, &["explain-tx", txid]).json["state"] == "mempool";
    wait_until("the payment reaches node 2", || waits(&txid));
    let bump = ["bump", &txid, "--from", "genesis", "--idempotency-key", "k"];
    let bumped = devnet.on(1, &bump).success();
    let new = bumped["txid"].as_str().expect("a txid").to_owned();
    assert_eq!(bumped["replaced"], json!(txid));
    assert_ne!(new, txid);
    wait_until("the replacement reaches node 2", || waits(&new) && !waits(&txid));
    assert_eq!(devnet.on(1, &bump).success()["txid"], json!(new), "once");
    devnet.kill(1);
    devnet.restart();
    devnet.generate(1, 1);
    assert_eq!(balance(&devnet, 1, &bob), [10 * COIN, 0, 0]);
    let history = devnet.on(1, &["history", "genesis"]).success();
    let [payment, allocation] = history["transactions"].as_array().expect("a list").as_slice()
    else {
        panic!("one payment, not two: {history}")
    };
    assert_eq!((&payment["txid"], &payment["fee"]), (&json!(new), &bumped["fee"]));
    assert_eq!((&payment["label"], &payment["direction"]), (&json!("rent"), &json!("sent")));
    assert_eq!(payment["replaced"], json!([txid]));
    assert_eq!(allocation["amount"], "1000.00000000");
    let refusal = devnet.on(1, &["bump", &new, "--from", "genesis"]).failure(1);
    assert!(refusal.contains("PAYMENT_CONFIRMED"), "{refusal}");
}

#[test]
fn a_third_node_joins_by_hand_and_converges() {
    let devnet = Devnet::up(2);
    let alice = devnet.genesis_address();
    let bob = create_wallet(&devnet, 2, "bob");
    send(&devnet, 1, &alice, &bob, "1.00000001");
    devnet.generate(1, 3);
    let tip = devnet.generate(2, 2).pop().expect("two hashes");

    let network = devnet.network();
    let data = tempfile::TempDir::new().expect("a temporary folder");
    let dir = data.path().to_str().expect("a UTF-8 path");
    let [grpc, p2p, metrics] = [free_port(), free_port(), free_port()].map(local);
    let log = data.path().join("start.log");
    let bootstrap = devnet.node(1).p2p();
    let chain = network["chain_spec"].as_str().expect("a chain spec");
    let mut third = start(
        "pentad",
        &[
            "start",
            "--chain",
            chain,
            "--data",
            dir,
            "--bootstrap",
            &bootstrap,
            "--grpc",
            &grpc,
            "--p2p",
            &p2p,
            "--metrics",
            &metrics,
        ],
        &log,
    );
    let third_balance = || {
        let output = std::process::Command::new(pentad_tests::binary("pentad"))
            .args(["--dir", dir, "--output", "json", "balance", &bob])
            .output()
            .expect("pentad runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    wait_until("the third node has the payment", || third_balance().contains("\"1.00000001\""));
    wait_until("the third node has peers on both others", || {
        [1, 2].iter().all(|node| devnet.status(*node)["peers"] == 2)
    });
    let after = devnet.generate(2, 1).remove(0);
    assert_ne!(after, tip);
    wait_until("a new block reaches the third node", || {
        let output = std::process::Command::new(pentad_tests::binary("pentad"))
            .args(["--dir", dir, "--output", "json", "print", "6"])
            .output()
            .expect("pentad runs");
        String::from_utf8_lossy(&output.stdout).contains(&after)
    });
    assert!(third.terminate().success(), "{}", third.output());
}

fn local(port: u16) -> String {
    format!("127.0.0.1:{port}")
}
