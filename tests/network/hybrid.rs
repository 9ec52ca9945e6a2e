//! Miners and validators on one network of real processes: work makes the blocks, a quorum makes
//! them final.

use pentad_tests::{Devnet, buf_curl, wait_until};
use serde_json::json;

use crate::coins::create_wallet;
use crate::pbft::{chain, pay};

const NODES: [usize; 4] = [1, 2, 3, 4];

#[test]
fn a_network_of_miners_who_validate_comes_up_and_keeps_its_engine() {
    let devnet = Devnet::up_hybrid(NODES.len());
    let genesis = devnet.converge(&NODES);
    for number in NODES {
        let node = devnet.node(number);
        let key = node.data_dir().join("validator.key");
        assert!(key.exists(), "node {number} has no key to vote with");
        let info = buf_curl(&node, "pentad.chain.v1.ChainService/GetInfo", &json!({}));
        assert_eq!(info.json["engine"], "hybrid", "{}", info.text);
        let status = devnet.status(number);
        assert_eq!((&status["healthy"], &status["final_height"]), (&json!(true), &json!(0)));
    }
    for engine in ["pow", "pbft"] {
        let refused = devnet.run(&["devnet", "up", "--engine", engine, "--detach"]).failure(2);
        let contradiction = refused.contains(&format!("--engine {engine} contradicts"));
        assert!(contradiction && refused.contains("its engine is hybrid"), "{refused}");
    }
    let before = devnet.network();
    for number in NODES {
        devnet.kill(number);
    }
    devnet.run(&["devnet", "up", "--engine", "hybrid", "--detach"]).success();
    assert_eq!(devnet.converge(&NODES), genesis);
    assert_eq!(devnet.network()["chain_spec"], before["chain_spec"]);
}

#[test]
fn every_node_mines_and_all_have_one_chain() {
    let devnet = Devnet::up_hybrid(NODES.len());
    let mut mined = Vec::new();
    for number in NODES {
        mined.extend(devnet.generate(number, 2));
        assert_eq!(devnet.converge(&NODES), mined[mined.len() - 1]);
    }
    for number in NODES {
        assert_eq!(chain(&devnet, number)[1..], mined, "node {number}");
        assert_eq!(devnet.status(number)["height"], json!(mined.len()));
    }
    for number in NODES {
        devnet.kill(number);
    }
    devnet.restart();
    assert_eq!(devnet.converge(&NODES), mined[mined.len() - 1]);
}

#[test]
fn a_payment_can_be_waited_for_while_blocks_are_mined() {
    let devnet = Devnet::up_hybrid(NODES.len());
    let bob = create_wallet(&devnet, 2, "bob");
    devnet.on(1, &["miner", "start-mining"]).success();
    let (height, hash) = pay(&devnet, 1, &devnet.genesis_address(), &bob, "100");
    devnet.on(1, &["miner", "stop-mining"]).success();
    for number in NODES {
        wait_until("every node has it final", || {
            devnet.status(number)["final_height"].as_u64() >= Some(height)
        });
        let found = devnet.on(number, &["print", &height.to_string()]).success();
        assert_eq!(found["hash"], json!(hash), "node {number}");
    }
}

#[test]
fn a_node_told_to_mine_makes_blocks_final_too() {
    let devnet = Devnet::up_hybrid(1);
    devnet.stop(1);
    devnet.run(&["devnet", "up", "--mine", "--detach"]).success();
    wait_until("a block is mined and final", || {
        devnet.status(1)["final_height"].as_u64() > Some(0)
    });
}
