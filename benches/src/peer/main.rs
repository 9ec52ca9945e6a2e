//! Two nodes as real processes on this machine: how fast one catches up with the other, and how
//! long something new takes from one to the other. Then one node with a hundred idle links. The
//! figures mean something in a release build only; all processes share the machine's cores and
//! disk, so CPU time is printed beside time on the wall.

mod hop;
mod idle;
mod ledger;
mod liars;
mod work;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pentad_api::chain::v1::GetInfoRequest;
use pentad_api::chain::v1::chain_service_client::ChainServiceClient;
use pentad_bench::node::Node;
use pentad_bench::process::{text, write_secret};
use tempfile::TempDir;

use crate::ledger::Ledger;
use crate::liars::Liar;

/// Time between two looks at a node that catches up.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// When a sync that does not end has failed.
const SYNC_TIMEOUT: Duration = Duration::from_secs(300);

#[tokio::main]
async fn main() {
    if cfg!(debug_assertions) {
        eprintln!("a debug build: the figures below say nothing");
    }
    let only: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |name: &str| only.is_empty() || only.iter().any(|it| it == name);
    if wanted("empty") {
        let directory = TempDir::new().expect("a temporary directory");
        let ledger = Ledger::empty_blocks(directory.path()).await;
        sync("sync of 20,000 empty blocks", &ledger, directory.path()).await;
    }
    if wanted("payments") {
        let directory = TempDir::new().expect("a temporary directory");
        let ledger = Ledger::payments(directory.path()).await;
        let name = "sync of a chain of 100,000 transactions, every signature";
        let [from, to] = sync(name, &ledger, directory.path()).await;
        if wanted("liars") {
            sync_past_liars(&ledger, directory.path(), &from).await;
        }
        hop::measure(&from, &to, &ledger.coins).await;
    }
    if wanted("idle") {
        idle::measure().await;
    }
}

/// A new node catches up with one that holds the whole chain: from the start of its process on.
async fn sync(name: &str, ledger: &Ledger, directory: &Path) -> [Node; 2] {
    let from = Node::spawn(&ledger.spec, &ledger.full, &[]);
    reached(&from, ledger.height).await;
    let data: PathBuf = directory.join("new");
    let before = from.cpu();
    // The miner of the last figure has a wallet for its rewards.
    let file = directory.join("passphrase");
    write_secret(&file, "bench");
    let flags = ["--bootstrap", &from.p2p, "--passphrase-file", text(&file)];
    let begun = Instant::now();
    let to = Node::spawn(&ledger.spec, &data, &flags);
    reached(&to, ledger.height).await;
    let took = begun.elapsed();
    let (to_cpu, from_cpu) = (to.cpu(), from.cpu() - before);
    println!("{name:<60} {:>8.2} s", took.as_secs_f64());
    println!("{:<60} {:>8.2} s", "  CPU time of the node that catches up", to_cpu.as_secs_f64());
    println!("{:<60} {:>8.2} s", "  CPU time of the other", from_cpu.as_secs_f64());
    println!("{:<60} {:>5} MB", "  memory after it", to.resident_bytes() / 1_000_000);
    [from, to]
}

/// The same from three peers, of which one sends no blocks and one sends wrong ones.
async fn sync_past_liars(ledger: &Ledger, directory: &Path, honest: &Node) {
    let name = "the same from three peers: one stalls, one sends garbage";
    let Some(python) = liars::python() else {
        println!("{name:<60} skipped: run `make tools`");
        return;
    };
    let connection = honest.connection().expect("a live node");
    let info = ChainServiceClient::new(connection).get_info(GetInfoRequest {}).await;
    let genesis = info.expect("a live node").into_inner().genesis_hash;
    let liars = ["stall", "garbage"].map(|it| Liar::start(&python, honest, &genesis, it));
    let [stalls, garbage] = liars.each_ref().map(|liar| liar.address.as_str());
    let begun = Instant::now();
    let flags = ["--bootstrap", stalls, "--bootstrap", garbage, "--bootstrap", &honest.p2p];
    let node = Node::spawn(&ledger.spec, &directory.join("beset"), &flags);
    reached(&node, ledger.height).await;
    println!("{name:<60} {:>8.2} s", begun.elapsed().as_secs_f64());
}

/// Waits until a node's tip is at that height.
async fn reached(node: &Node, height: u32) {
    let begun = Instant::now();
    while self::height(node).await != Some(height) {
        assert!(begun.elapsed() < SYNC_TIMEOUT, "not at height {height}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

async fn height(node: &Node) -> Option<u32> {
    let mut client = ChainServiceClient::new(node.connection()?);
    Some(client.get_info(GetInfoRequest {}).await.ok()?.into_inner().height)
}

fn print_latency(name: &str, mut latencies: Vec<Duration>) {
    latencies.sort_unstable();
    let at = |percent: usize| latencies[(latencies.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    println!("{name:<60} p50 {:>6.2} ms  p99 {:>6.2} ms", at(50), at(99));
}
