//! Miners in processes of their own, which take work from a node.

use std::path::Path;

use pentad_tests::{Devnet, Running, free_port, start, wait_for};
use serde_json::Value;

/// `pentad-miner --work-from` the first node of a network.
fn worker(devnet: &Devnet, name: &str) -> Running {
    let local = || format!("127.0.0.1:{}", free_port());
    let path = |what: &str| devnet.dir().join(format!("{name}{what}")).display().to_string();
    let node = devnet.node(1);
    let arguments = [
        ["--work-from", &node.grpc()],
        ["--work-cookie", &node.cookie_path().display().to_string()],
        ["--worker-name", name],
        ["--data", &path("")],
        ["--grpc", &local()],
        ["--metrics", &local()],
        ["--set", "worker.threads=1"],
    ]
    .map(|pair| pair.map(str::to_owned));
    start("pentad-miner", arguments.as_flattened(), Path::new(&path(".log")))
}

fn workers(devnet: &Devnet) -> Vec<Value> {
    let listed = devnet.on(1, &["work", "list-workers"]).success();
    listed["workers"].as_array().cloned().unwrap_or_default()
}

fn wait_for_workers(devnet: &Devnet, count: usize) {
    wait_for("the workers are as they should be", || match workers(devnet) {
        workers if workers.len() == count => Ok(()),
        workers => Err(format!("{workers:?}")),
    });
}

fn height(devnet: &Devnet) -> u64 {
    devnet.status(1)["height"].as_u64().expect("a height")
}

fn wait_for_blocks(devnet: &Devnet, more: u64) {
    let target = height(devnet) + more;
    wait_for("more blocks", || match height(devnet) {
        height if height >= target => Ok(()),
        height => Err(format!("height {height} of {target}: {:?}", workers(devnet))),
    });
}

#[test]
fn workers_mine_for_a_node_and_come_and_go() {
    let devnet = Devnet::up(1);
    devnet.on(1, &["miner", "start-mining", "--workers-only"]).success();
    let mut first = worker(&devnet, "first");
    let second = worker(&devnet, "second");
    wait_for_workers(&devnet, 2);
    wait_for_blocks(&devnet, 2);
    // No thread of the node itself searches.
    let status = devnet.on(1, &["miner", "get-status"]).success();
    assert!(status.get("hashes").is_none(), "{status}");
    assert_eq!(status["workers"], 2);
    // SIGKILL.
    drop(second);
    wait_for_workers(&devnet, 1);
    wait_for_blocks(&devnet, 2);
    // The node goes and comes back: the worker waits for it.
    devnet.kill(1);
    devnet.restart();
    devnet.on(1, &["miner", "start-mining", "--workers-only"]).success();
    wait_for_workers(&devnet, 1);
    wait_for_blocks(&devnet, 1);
    let status = first.terminate();
    assert!(status.success(), "{status}: {}", first.output());
}
