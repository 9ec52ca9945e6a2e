//! Miners and validators on one network of real processes: work makes the blocks, a quorum makes
//! them final.

use pentad_tests::{Devnet, Running, buf_curl, free_port, pentad, start, wait_for, wait_until};
use serde_json::{Value, json};
use tempfile::TempDir;

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

/// A node beside the network, without a validator key.
struct Follower {
    spec: String,
    data: TempDir,
    running: Option<Running>,
}

impl Follower {
    fn new(devnet: &Devnet) -> Self {
        let spec = devnet.chain_spec().display().to_string();
        Self { spec, data: TempDir::new().expect("a temporary folder"), running: None }
    }

    /// Starts it, alone unless it is told of somebody.
    fn start(&mut self, bootstrap: Option<&str>) {
        let data = self.data.path().display().to_string();
        let [grpc, p2p, metrics] = [(); 3].map(|()| format!("127.0.0.1:{}", free_port()));
        let place = ["start", "--chain", &self.spec, "--data", &data];
        let addresses = ["--grpc", &grpc, "--p2p", &p2p, "--metrics", &metrics];
        let bootstrap = bootstrap.map(|it| ["--bootstrap", it]);
        let arguments: Vec<&str> = place.into_iter().chain(addresses).collect();
        let arguments: Vec<&str> =
            arguments.into_iter().chain(bootstrap.into_iter().flatten()).collect();
        self.running = Some(start("pentad", &arguments, &self.data.path().join("follower.log")));
        wait_for("the follower answers", || self.ask(&["chain", "get-info"]).map(drop));
    }

    fn stop(&mut self) {
        let mut running = self.running.take().expect("it runs");
        assert!(running.terminate().success(), "{}", running.output());
    }

    fn ask(&self, arguments: &[&str]) -> Result<Value, String> {
        let data = self.data.path().display().to_string();
        let output = self.running.as_ref().map(Running::output).unwrap_or_default();
        pentad(None, &[&["--dir", &data], arguments].concat()).answer().map_err(|it| it + &output)
    }

    /// Its tip and the height of its last final block.
    fn stand(&self) -> Result<(String, u64), String> {
        let info = self.ask(&["chain", "get-info"])?;
        let tip = info["tip"].as_str().ok_or("no tip")?.to_owned();
        Ok((tip, info["finalHeight"].as_u64().ok_or("nothing is final")?))
    }

    fn wait_for(&self, tip: &str, final_height: u64) {
        wait_for("the follower has that tip and knows what is final", || {
            let stand = self.stand()?;
            let is_there = stand.0 == tip && stand.1 == final_height;
            if is_there { Ok(()) } else { Err(format!("{stand:?}")) }
        });
    }
}

fn wait_for_final(devnet: &Devnet, nodes: &[usize], height: u64) {
    for number in nodes {
        wait_until("the block is final", || {
            devnet.status(*number)["final_height"].as_u64() == Some(height)
        });
    }
}

/// Certificates come with the blocks in sync, and by themselves later.
#[test]
fn a_follower_learns_what_is_final() {
    let devnet = Devnet::up_hybrid(NODES.len());
    let mined = devnet.generate(1, 9);
    devnet.converge(&NODES);
    wait_for_final(&devnet, &NODES, 3);
    let mut follower = Follower::new(&devnet);
    follower.start(Some(&devnet.node(1).p2p()));
    follower.wait_for(&mined[8], 3);
    let next = devnet.generate(2, 1).remove(0);
    follower.wait_for(&next, 4);
    // It was away while more became final.
    follower.stop();
    let tip = devnet.generate(3, 5).pop().expect("five");
    wait_for_final(&devnet, &NODES, 9);
    follower.start(Some(&devnet.node(2).p2p()));
    follower.wait_for(&tip, 9);
    follower.stop();
}

/// Attack 49: whoever has more work by himself has it for nothing.
#[test]
fn a_branch_of_more_work_loses_against_what_is_final() {
    let devnet = Devnet::up_hybrid(NODES.len());
    let mut rich = Follower::new(&devnet);
    rich.start(None);
    let own = rich.ask(&["generate", "30"]).expect("a development network");
    let own = own["hashes"][29].as_str().expect("a hash").to_owned();
    assert_eq!(rich.stand(), Ok((own, 0)));
    rich.stop();
    let tip = devnet.generate(1, 8).pop().expect("eight");
    devnet.converge(&NODES);
    wait_for_final(&devnet, &NODES, 2);
    rich.start(Some(&devnet.node(1).p2p()));
    rich.wait_for(&tip, 2);
    let next = devnet.generate(4, 1).remove(0);
    rich.wait_for(&next, 3);
    assert_eq!(devnet.converge(&NODES), next);
    rich.stop();
}

/// One of four may be away at any time, and nothing becomes final without a second.
#[test]
fn finality_bears_one_silent_validator_and_waits_for_a_quorum() {
    let devnet = Devnet::up_hybrid(NODES.len());
    devnet.generate(2, 7);
    devnet.converge(&NODES);
    wait_for_final(&devnet, &NODES, 1);
    devnet.kill(1);
    devnet.generate(2, 1);
    wait_for_final(&devnet, &[2, 3, 4], 2);
    devnet.kill(3);
    let tip = devnet.generate(2, 4).pop().expect("four");
    assert_eq!(devnet.converge(&[2, 4]), tip);
    let explained = devnet.on(4, &["consensus", "explain-stall"]).success();
    assert_eq!(devnet.status(4)["final_height"], json!(2), "{explained}");
    devnet.restart();
    assert_eq!(devnet.converge(&NODES), tip);
    wait_for_final(&devnet, &NODES, 6);
}
