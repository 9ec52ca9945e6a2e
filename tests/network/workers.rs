//! Miners in processes of their own, which take work from a node.

use std::path::Path;

use pentad_tests::{Devnet, Running, free_port, metric, metrics_page, start, wait_for};
use serde_json::{Value, json};

/// Exit code of a call that the service refused.
const REFUSED: i32 = 1;

/// `pentad-miner --work-from` the first node of a network.
fn worker(devnet: &Devnet, name: &str) -> Running {
    measured_worker(devnet, name).0
}

/// Such a worker, and where its metrics are.
fn measured_worker(devnet: &Devnet, name: &str) -> (Running, String) {
    let local = || format!("127.0.0.1:{}", free_port());
    let metrics = local();
    let path = |what: &str| devnet.dir().join(format!("{name}{what}")).display().to_string();
    let node = devnet.node(1);
    let arguments = [
        ["--work-from", &node.grpc()],
        ["--work-cookie", &node.cookie_path().display().to_string()],
        ["--worker-name", name],
        ["--data", &path("")],
        ["--grpc", &local()],
        ["--metrics", &metrics],
        ["--set", "worker.threads=1"],
    ]
    .map(|pair| pair.map(str::to_owned));
    let worker = start("pentad-miner", arguments.as_flattened(), Path::new(&path(".log")));
    (worker, metrics)
}

/// Another process, whose solutions are none.
fn lie(devnet: &Devnet) -> String {
    let hello = json!({ "hello": { "name": "liar", "slots": 1 } });
    let lies = (0..40).map(|nonce| json!({ "solution": { "nonce": nonce } }));
    let said: String = [hello].into_iter().chain(lies).map(|it| format!("{it}\n")).collect();
    let file = devnet.dir().join("lies.json");
    std::fs::write(&file, said).expect("written");
    let arguments = ["work", "take-work", "--json", &file.display().to_string()];
    devnet.on(1, &arguments).failure(REFUSED)
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

#[test]
fn of_three_workers_one_is_killed_and_one_lies_and_the_others_rates_add_up() {
    let devnet = Devnet::up(1);
    devnet.on(1, &["miner", "start-mining", "--workers-only"]).success();
    let (_first, first_rate) = measured_worker(&devnet, "first");
    let (second, second_rate) = measured_worker(&devnet, "second");
    wait_for_workers(&devnet, 2);
    let why = lie(&devnet);
    assert!(why.contains("too many solutions that are none"), "{why}");
    wait_for_workers(&devnet, 2);
    wait_for_blocks(&devnet, 2);
    let rate = |address: &str| metric(address, "pentad_worker_hash_rate");
    // What a worker's shares prove comes close to what it counts itself, once there are enough.
    wait_for("the rates of both add up", || {
        let listed = workers(&devnet);
        let proved: Vec<f64> = listed.iter().filter_map(|it| it["hashRate"].as_f64()).collect();
        let status = devnet.on(1, &["miner", "get-status"]).success();
        let total = status["totalHashRate"].as_f64().unwrap_or_default();
        let counted = rate(&first_rate).zip(rate(&second_rate)).map_or(0.0, |(a, b)| a + b);
        let of = |part: f64, whole: f64| whole > 0.0 && (0.5..2.0).contains(&(part / whole));
        let sum: f64 = proved.iter().sum();
        let add_up = proved.len() == 2 && proved.iter().all(|rate| *rate > 0.0);
        match add_up && of(sum, total) && of(sum, counted) {
            true => Ok(()),
            false => Err(format!("{listed:?}, in all {total}, counted by themselves {counted}")),
        }
    });
    assert_eq!(metric(&first_rate, "pentad_worker_connected"), Some(1.0));
    let page = metrics_page(&first_rate).expect("it runs");
    assert!(page.contains("pentad_worker_solutions_total{outcome="), "{page}");
    // SIGKILL.
    drop(second);
    wait_for_workers(&devnet, 1);
    wait_for_blocks(&devnet, 2);
    assert_eq!(workers(&devnet)[0]["name"], "first");
}
