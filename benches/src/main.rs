//! Prints the figures of docs/performance.md in one table. They mean something in a release build
//! only, and beside the yardstick of the same run: verification by libsecp256k1 alone. Where others
//! use the cores too, CPU time is what can be compared; the multiples of the yardstick are of it.

mod reads;
mod server;
mod signatures;

use std::fs;
use std::path::Path;
use std::time::Duration;

use pentad_bench::chain::{LocalChain, bytes};
use pentad_bench::meter::{Cost, Meter, median};
use pentad_bench::payments::{Coin, START, key, pay, script, spec, split};
use pentad_crypto::Address;
use pentad_ledger::ChainSpec;
use pentad_primitives::{Encode as _, Script, Transaction};
use tempfile::TempDir;

use crate::reads::Reads;
use crate::server::Server;

/// As in the services that hold a chain.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Payments of a block, as in the reference: 1 MB.
const PAYMENTS: usize = 4_429;
/// Blocks of payments: a chain of 100,000 transactions.
const ROUNDS: usize = 23;

/// Starts of a process, of which the median counts.
const STARTS: usize = 5;

/// What the rounds on the two chains took.
#[derive(Default)]
struct Rounds {
    /// All payments of a block enter a mempool.
    admission: Vec<Cost>,
    /// Their block is built and solved.
    template: Vec<Cost>,
    /// It connects where the mempool holds them.
    warm: Vec<Cost>,
    /// It connects where nobody has seen them.
    cold: Vec<Cost>,
    /// The block that splits the coins, then one of payments for each round.
    blocks: Vec<Vec<u8>>,
    /// The payments of each round.
    payments: Vec<Vec<Vec<u8>>>,
}

#[tokio::main]
async fn main() {
    if cfg!(debug_assertions) {
        eprintln!("a debug build: the figures below say nothing");
    }
    let spec = spec(PAYMENTS);
    let (splits, coins) = split(&spec, PAYMENTS);
    let payee = script(&key(0));
    let (first, _) = payments(&coins, &payee);
    let yardstick = signatures::raw(&first, &coins);
    heading();
    each("libsecp256k1 alone, one thread: the yardstick", yardstick);
    each("an input: scripts, key, hash160, sighash, signature", signatures::inputs(&first, &coins));
    each("admission by the ledger, one thread", signatures::admission(&spec, &first, &coins));

    let directories = [(); 2].map(|()| TempDir::new().expect("a temporary directory"));
    let [ahead, behind] = directories
        .each_ref()
        .map(|directory| LocalChain::open(&spec, directory.path(), START, false));
    let mut rounds = run(&ahead, &splits, coins, &payee).await;
    let now = ahead.now();
    ahead.stop().await;
    follow(&behind, &mut rounds).await;
    behind.stop().await;
    each("admission by the chain service, 16 callers", median(rounds.admission));
    whole("template of 4,429 transactions", median(rounds.template), yardstick);
    whole("block of 4,429 transactions from the mempool", median(rounds.warm), yardstick);
    whole("block of 4,429 transactions, cold", median(rounds.cold), yardstick);

    let mut sets = Vec::new();
    for (name, reindex) in [
        ("start on the chain of 100,000 transactions", false),
        ("reindex of it, all signatures verified again", true),
    ] {
        let meter = Meter::start();
        let node = LocalChain::open(&spec, directories[0].path(), now, reindex);
        whole(name, meter.stop(), yardstick);
        sets.push(node.utxo_set().await);
        node.stop().await;
    }
    assert_eq!(sets[0], sets[1], "a reindex leaves the UTXO set as it was");
    println!("{:<52} {:>12} {}", "UTXO set before and after", sets[0].0, sets[0].1);
    let chain_spec = directories[1].path().join("chain.toml");
    fs::write(&chain_spec, spec.to_toml()).expect("a writable directory");
    let full = directories[0].path();
    processes(&spec, &chain_spec, full, &rounds.blocks, &rounds.payments, yardstick).await;
}

/// The same chain through `pentad-chain` processes.
async fn processes(
    spec: &ChainSpec,
    chain_spec: &Path,
    full: &Path,
    blocks: &[Vec<u8>],
    payments: &[Vec<Vec<u8>>],
    yardstick: Cost,
) {
    let empty = || TempDir::new().expect("a temporary directory");
    let directory = empty();
    let (server, _) = Server::start(chain_spec, directory.path()).await;
    let mut admission = Vec::new();
    for (number, block) in blocks.iter().enumerate() {
        // The first block holds the splits alone.
        if let Some(payments) = number.checked_sub(1).and_then(|round| payments.get(round)) {
            admission.push(server.submit(payments).await);
        }
        server.connect(server.connection(), block).await;
    }
    each("admission over streaming gRPC, 16 connections", median(admission));
    memory("memory of that process", server.resident_bytes());
    server.stop();

    let directory = empty();
    let (server, _) = Server::start(chain_spec, directory.path()).await;
    memory("memory of an empty process", server.resident_bytes());
    let key = key(1).public_key().key_hash();
    let reads =
        Reads::start(server.connection(), Address::P2pkh(key).encode(spec.address_versions()));
    for block in blocks {
        server.connect(server.connection(), block).await;
    }
    let took = reads.stop().await;
    time("point reads meanwhile, p50", took[took.len() / 2]);
    time("point reads meanwhile, p99", took[took.len() * 99 / 100]);
    memory("memory after connecting the chain cold", server.resident_bytes());
    server.stop();

    let (server, _) = Server::start(chain_spec, full).await;
    whole("verify of that chain, signatures too", server.verify().await, yardstick);
    server.stop();

    for (name, full) in
        [("ready for calls, empty", None), ("ready for calls, that chain", Some(full))]
    {
        let mut ready = Vec::new();
        for _ in 0..STARTS {
            let directory = empty();
            let (server, took) = Server::start(chain_spec, full.unwrap_or(directory.path())).await;
            server.stop();
            ready.push(took);
        }
        ready.sort_unstable();
        time(name, ready[STARTS / 2]);
    }
}

/// Builds a chain from its mempool.
async fn run(
    ahead: &LocalChain,
    splits: &[Transaction],
    mut coins: Vec<Coin>,
    payee: &Script,
) -> Rounds {
    ahead.submit(splits.iter().map(Transaction::to_bytes).collect()).await;
    let block = bytes(&ahead.mine(payee.clone()).await);
    ahead.connect(block.clone()).await;
    let mut rounds = Rounds { blocks: vec![block], ..Rounds::default() };
    for _ in 0..ROUNDS {
        let (transactions, kept) = payments(&coins, payee);
        coins = kept;
        let transactions: Vec<_> = transactions.iter().map(Transaction::to_bytes).collect();
        rounds.payments.push(transactions.clone());
        let meter = Meter::start();
        ahead.submit(transactions).await;
        rounds.admission.push(meter.stop());
        let meter = Meter::start();
        let block = ahead.mine(payee.clone()).await;
        rounds.template.push(meter.stop());
        assert_eq!(block.transactions.len(), PAYMENTS + 1, "a block of all payments");
        let block = bytes(&block);
        let meter = Meter::start();
        ahead.connect(block.clone()).await;
        rounds.warm.push(meter.stop());
        rounds.blocks.push(block);
    }
    rounds
}

/// Hands the blocks of a chain to one that has seen nothing, with no other chain at work beside it.
async fn follow(behind: &LocalChain, rounds: &mut Rounds) {
    for (number, block) in rounds.blocks.iter().enumerate() {
        let meter = Meter::start();
        behind.connect(block.clone()).await;
        // The first block holds the splits alone.
        if number > 0 {
            rounds.cold.push(meter.stop());
        }
    }
}

/// A payment of every coin, and what the payers keep.
fn payments(coins: &[Coin], to: &Script) -> (Vec<Transaction>, Vec<Coin>) {
    coins.iter().map(|coin| pay(coin, to)).unzip()
}

fn heading() {
    println!("{:<52} {:>12} {:>12} {:>12}", "", "per s, × CPU", "wall", "CPU");
}

/// Prints the cost of one of [`PAYMENTS`].
fn each(name: &str, cost: Cost) {
    let count = u32::try_from(PAYMENTS).expect("small");
    let per_second = f64::from(count) / cost.wall.as_secs_f64();
    let [wall, cpu] = [cost.wall, cost.cpu].map(|time| time.as_secs_f64() * 1e6 / f64::from(count));
    println!("{name:<52} {per_second:>12.0} {wall:>9.1} µs {cpu:>9.1} µs");
}

/// Prints what memory something takes.
fn memory(name: &str, bytes: u64) {
    println!("{name:<52} {:>12} {:>9} MB", "", bytes / 1_000_000);
}

/// Prints how long something took.
fn time(name: &str, took: Duration) {
    println!("{name:<52} {:>12} {:>9.1} ms", "", took.as_secs_f64() * 1e3);
}

/// Prints the cost of something as a whole, and how often the yardstick's CPU time goes into it.
fn whole(name: &str, cost: Cost, yardstick: Cost) {
    let [wall, cpu] = [cost.wall, cost.cpu].map(|time| time.as_secs_f64() * 1e3);
    let ratio = cost.cpu.as_secs_f64() / yardstick.cpu.as_secs_f64();
    println!("{name:<52} {ratio:>10.2} × {wall:>9.1} ms {cpu:>9.1} ms");
}
