//! Two sides mine apart and meet again.

use std::collections::BTreeSet;

use pentad_tests::{Devnet, buf_curl, wait_until};
use serde_json::{Value, json};

use crate::coins::{COIN, balance, create_wallet, miner_address, send};

/// All outputs of these addresses, as the node answers.
fn utxos(devnet: &Devnet, node: usize, addresses: &[&str]) -> Value {
    let request = json!({"addresses": addresses});
    let reply = buf_curl(&devnet.node(node), "pentad.chain.v1.ChainService/GetUtxos", &request);
    assert_eq!(reply.code, 0, "{}", reply.text);
    reply.json["utxos"].clone()
}

fn mempool(devnet: &Devnet, node: usize) -> BTreeSet<String> {
    let reply = buf_curl(&devnet.node(node), "pentad.chain.v1.ChainService/GetMempool", &json!({}));
    assert_eq!(reply.code, 0, "{}", reply.text);
    let txids = reply.json["txids"].as_array().cloned().unwrap_or_default();
    txids.iter().map(|txid| txid.as_str().expect("a txid").to_owned()).collect()
}

#[test]
fn after_a_split_the_chain_with_more_work_wins_and_no_payment_is_lost() {
    let devnet = Devnet::up(2);
    let alice = devnet.genesis_address();
    let bob = create_wallet(&devnet, 1, "bob");
    let carol = create_wallet(&devnet, 2, "carol");
    send(&devnet, 1, &alice, &carol, "100");
    let crossing = devnet.generate(1, 2).pop().expect("two hashes");
    assert_eq!(devnet.converge(&[1, 2]), crossing);

    // Side A, alone: two blocks, with a payment that B never hears of.
    devnet.stop(2);
    let (on_a, _) = send(&devnet, 1, &alice, &bob, "7");
    devnet.generate(1, 2);
    devnet.stop(1);

    // Side B, alone: four blocks, with a payment that A never hears of.
    start_one(&devnet, 2);
    let (on_b, _) = send(&devnet, 2, &carol, &bob, "9");
    let tip = devnet.generate(2, 4).pop().expect("four hashes");

    // A comes back: its branch has less work.
    devnet.restart();
    assert_eq!(devnet.converge(&[1, 2]), tip);
    wait_until("the payment of the losing branch is pending again on both nodes", || {
        [1, 2].iter().all(|node| mempool(&devnet, *node).contains(&on_a))
    });
    assert!(!mempool(&devnet, 1).contains(&on_b), "that one is confirmed");

    devnet.generate(1, 1);
    devnet.converge(&[1, 2]);
    let miners = [miner_address(&devnet, 1), miner_address(&devnet, 2)];
    let everybody = [&alice, &bob, &carol, &miners[0], &miners[1]].map(String::as_str);
    assert_eq!(utxos(&devnet, 1, &everybody), utxos(&devnet, 2, &everybody));
    assert_eq!(balance(&devnet, 2, &bob), [16 * COIN, 0, 0]);
    // Genesis and seven blocks: nothing appeared, nothing went.
    let supply: i64 =
        everybody.iter().map(|address| balance(&devnet, 1, address).iter().sum::<i64>()).sum();
    assert_eq!(supply, 8 * 1000 * COIN);
}

/// Starts node `number` and leaves the others as they are.
fn start_one(devnet: &Devnet, number: usize) {
    let name = number.to_string();
    devnet.run(&["--node", &name, "devnet", "up", "--detach"]).success();
    wait_until("the node is healthy", || devnet.status(number)["healthy"] == true);
}
