//! A peer that somebody else could have written: in Python, from docs/wire-protocol.md alone.

use pentad_tests::{Devnet, Script, Solo, buf_curl, wait_for, wait_until};
use serde_json::{Value, json};

use crate::coins::send;

fn call(devnet: &Devnet, method: &str) -> Value {
    let reply = buf_curl(&devnet.node(1), method, &json!({}));
    assert_eq!(reply.code, 0, "{}", reply.text);
    reply.json
}

/// Whether a transaction waits in the node's mempool.
fn waits(devnet: &Devnet, txid: &Value) -> bool {
    let mempool = call(devnet, "pentad.chain.v1.ChainService/GetMempool");
    mempool["txids"].as_array().is_some_and(|txids| txids.contains(txid))
}

/// Starts the peer on node 1.
fn peer(devnet: &Devnet, mode: &str, flag: [&str; 2]) -> Script {
    let info = call(devnet, "pentad.chain.v1.ChainService/GetInfo");
    let genesis = info["genesisHash"].as_str().expect("a hash");
    let network = info["network"].as_str().expect("a name");
    let address = devnet.node(1).p2p();
    let arguments = [mode, &address, "--network", network, "--genesis", genesis];
    Script::start("wire_peer.py", &[&arguments[..], &flag].concat())
}

#[test]
fn a_peer_from_the_document_syncs_and_its_payment_is_mined() {
    let devnet = Devnet::up(1);
    let alice = devnet.genesis_address();
    devnet.generate(1, 30);
    let (early, _) = send(&devnet, 1, &alice, &alice, "1");
    let info = call(&devnet, "pentad.chain.v1.ChainService/GetInfo");
    let mut peer = peer(&devnet, "pay", ["--secret", &"11".repeat(32)]);

    // It has the same chain, by its own reckoning.
    assert_eq!(peer.told("synced"), 30);
    assert_eq!(peer.told("tip"), info["tip"]);
    let work = info["chainWork"].as_str().expect("hex");
    let work = u64::from_str_radix(work, 16).expect("a development network has little work");
    assert_eq!(peer.told("work"), work);
    assert_eq!(peer.told("total"), 31, "one transaction a block, genesis included");
    assert_eq!(peer.told("inventory"), json!([early]));
    assert_eq!(peer.told("transactions"), json!([early]));

    // It is paid: the payment is pushed to it, then the block; and pays back.
    let address = peer.told("address");
    let (paid, _) = send(&devnet, 1, &alice, address.as_str().expect("an address"), "100");
    wait_until("the payment is pushed to the peer", || {
        peer.lines().iter().any(|line| line["transactions"] == json!([paid]))
    });
    devnet.generate(1, 1);
    let payment = peer.told("submitted");
    wait_until("the node has the payment of the peer", || waits(&devnet, &payment));
    // Nothing that it did was an offence.
    let peers = call(&devnet, "pentad.peer.v1.PeerService/ListPeers");
    assert_eq!(peers["peers"][0]["staticKey"], peer.told("key"), "{peers}");
    assert!(peers["peers"][0]["misbehavior"].is_null(), "{peers}");
    devnet.generate(1, 1);
    assert_eq!(peer.told("confirmed"), payment);
    assert!(peer.wait().success(), "{:?}", peer.lines());
}

/// Two of three peers are liars: one never sends a block, one sends blocks with other transactions
/// under the right headers. Both serve the right headers first.
#[test]
fn a_new_node_syncs_past_a_peer_that_stalls_and_one_that_sends_garbage() {
    let devnet = Devnet::up(1);
    let alice = devnet.genesis_address();
    for _ in 0..4 {
        for _ in 0..5 {
            send(&devnet, 1, &alice, &alice, "1");
        }
        devnet.generate(1, 100);
    }
    let tip = devnet.tip(1);
    let liars = ["stall", "garbage"].map(|it| peer(&devnet, "serve", ["--behave", it]));
    let at = liars.each_ref().map(|it| format!("127.0.0.1:{}", it.told("listening")));
    let node = Solo::start(&devnet.chain_spec(), &[&at[0], &at[1]], &[]);
    for liar in &liars {
        assert!(liar.told("asked").as_u64() > Some(0), "{:?}", liar.lines());
    }
    let honest = devnet.node(1).p2p();
    node.run(&["peer", "add-peer", "--address", &honest]).success();
    wait_for("the node has the whole chain", || {
        let info = node.run(&["chain", "get-info"]).success();
        if info["tip"] == tip { Ok(()) } else { Err(info.to_string()) }
    });
    // Who sends garbage is banned, who stalls is not; and nobody bans the new node.
    let bans = node.run(&["peer", "list-bans"]).success();
    assert_eq!(bans["bans"].as_array().map(Vec::len), Some(1), "{bans}");
    assert_eq!(bans["bans"][0]["staticKey"], liars[1].told("key"), "{bans}");
    assert_eq!(call(&devnet, "pentad.peer.v1.PeerService/ListBans"), json!({}));
}
