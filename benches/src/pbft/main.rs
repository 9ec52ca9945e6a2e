//! Four validators as real processes on this machine: how long a payment takes to be final on all
//! of them, how many a second they sustain, and what that costs. The figures mean something in a
//! release build only; all four share the machine's cores and disk.

mod load;
mod soak;
mod tracing;
mod usage;
mod watch;

use std::time::{Duration, Instant};

use clap::Parser;
use pentad_api::Connection;
use pentad_api::chain::v1::SubmitTransactionRequest;
use pentad_api::chain::v1::submit_service_client::SubmitServiceClient;
use pentad_api::consensus::v1::GetStatusRequest;
use pentad_api::consensus::v1::consensus_service_client::ConsensusServiceClient;
use pentad_bench::node::Node;
use pentad_bench::payments::{Coin, START, allocations, key, script, split};
use pentad_bench::validators::{self, NODES};
use pentad_primitives::{Encode as _, Script, Transaction};
use tempfile::TempDir;

use crate::load::{Load, Payment, sign};
use crate::usage::Usage;
use crate::watch::Watch;

/// Payments made one at a time.
const SINGLE: usize = 400;

/// Measures four validators on this machine.
#[derive(Parser)]
struct Args {
    /// Payments a second that are offered
    #[arg(long, default_value_t = 2_000)]
    rate: usize,
    /// For how long
    #[arg(long, default_value_t = 20)]
    seconds: usize,
    /// Only a steady load for so many minutes, and what it did after each of them
    #[arg(long)]
    minutes: Option<usize>,
    /// Only what tracing costs: so many pairs of rounds, with and without
    #[arg(long)]
    tracing_pairs: Option<usize>,
}

#[tokio::main]
async fn main() {
    if cfg!(debug_assertions) {
        eprintln!("a debug build: the figures below say nothing");
    }
    let args = Args::parse();
    match (args.tracing_pairs, args.minutes) {
        (Some(pairs), _) => tracing::run(args.rate, args.seconds, pairs).await,
        (None, Some(minutes)) => soak::run(args.rate, minutes).await,
        (None, None) => measure(args.rate, args.seconds).await,
    }
}

/// A network that has coins to spend.
struct Bench {
    nodes: Vec<Node>,
    connections: Vec<Connection>,
    watch: Watch,
    coins: Vec<Coin>,
    payee: Script,
    _directory: TempDir,
}

impl Bench {
    async fn start(coins: usize) -> Self {
        Self::start_with(coins, &[]).await
    }

    /// With these flags of the nodes.
    async fn start_with(coins: usize, flags: &[&str]) -> Self {
        let spec = validators::spec(START, allocations(coins));
        let (splits, coins) = split(&spec, coins);
        let directory = TempDir::new().expect("a temporary directory");
        let nodes = validators::start(&spec, directory.path(), flags).await;
        let watch = Watch::start(&nodes).await;
        let connections: Vec<Connection> =
            nodes.iter().map(|node| node.connection().expect("a live node")).collect();
        watch.expect(splits.iter().map(Transaction::txid));
        for transaction in &splits {
            submit(&connections[0], transaction.to_bytes().into()).await;
        }
        watch.all_are_final().await;
        watch.take_latencies();
        Self { nodes, connections, watch, coins, payee: script(&key(0)), _directory: directory }
    }
}

async fn submit(connection: &Connection, transaction: bytes::Bytes) {
    let mut client = SubmitServiceClient::new(connection.clone());
    let request = SubmitTransactionRequest { transaction, ..Default::default() };
    client.submit_transaction(request).await.expect("a valid payment");
}

async fn measure(rate: usize, seconds: usize) {
    let count = SINGLE + rate * seconds + 1;
    let mut bench = Bench::start(count).await;
    let payments = sign(&mut bench.coins, count, &bench.payee);
    let (single, rest) = payments.split_at(SINGLE);
    let (many, last) = rest.split_at(rate * seconds);
    let before = Usage::of(&bench.nodes);
    one_at_a_time(&bench, single).await;
    Usage::of(&bench.nodes).print_cpu_since(&before, single.len());
    let before = Usage::of(&bench.nodes);
    sustained(&bench, many, rate).await;
    Usage::of(&bench.nodes).print_since(&before, many.len());
    view_change(&mut bench, &last[0]).await;
}

async fn one_at_a_time(bench: &Bench, payments: &[Payment]) {
    for ((txid, payment), connection) in payments.iter().zip(bench.connections.iter().cycle()) {
        bench.watch.expect([*txid]);
        submit(connection, payment.clone()).await;
        bench.watch.all_are_final().await;
    }
    let latencies = bench.watch.take_latencies();
    print_latency("one payment at a time, submit to final on all four", latencies);
}

async fn sustained(bench: &Bench, payments: &[Payment], rate: usize) {
    let load = Load::open(&bench.connections);
    let blocks = bench.watch.blocks();
    let begun = Instant::now();
    load.offer(payments, rate, &bench.watch).await;
    let seconds = (bench.watch.all_are_final().await - begun).as_secs_f64();
    let name = format!("sustained, {} payments, {rate} /s offered", payments.len());
    println!("{name:<60} {:>8.0} /s", payments.len() as f64 / seconds);
    let blocks = (bench.watch.blocks() - blocks) as f64 / seconds;
    println!("{:<60} {blocks:>8.0} /s", "  blocks");
    print_latency("  submit to final on all four", bench.watch.take_latencies());
    load.close().await;
}

/// Kills the primary; a payment that a backup takes at that moment needs a new one.
async fn view_change(bench: &mut Bench, (txid, payment): &Payment) {
    let view = view(&bench.connections[0]).await;
    println!("{:<60} {view:>8}", "  views left until here");
    let primary = usize::try_from(view).expect("small") % NODES;
    let others = bench.nodes.iter().enumerate().filter(|(number, _)| *number != primary);
    let watch = Watch::start(others.map(|(_, node)| node)).await;
    bench.nodes[primary].kill();
    watch.expect([*txid]);
    let begun = Instant::now();
    submit(&bench.connections[(primary + 1) % NODES], payment.clone()).await;
    let took = watch.all_are_final().await - begun;
    let name = "primary killed, submit to final on the other three";
    println!("{name:<60} {:>5.0} ms", took.as_secs_f64() * 1e3);
}

/// How many views a node has left.
async fn view(connection: &Connection) -> u64 {
    let mut client = ConsensusServiceClient::new(connection.clone());
    client.get_status(GetStatusRequest {}).await.expect("a status").into_inner().view
}

fn print_latency(name: &str, latencies: Vec<Duration>) {
    let [p50, p99] = percentiles(latencies);
    println!("{name:<60} p50 {p50:>6.1} ms  p99 {p99:>6.1} ms");
}

/// Milliseconds of the median and of the slowest hundredth.
fn percentiles(mut latencies: Vec<Duration>) -> [f64; 2] {
    latencies.sort_unstable();
    let at = |percent: usize| latencies.get(latencies.len().saturating_sub(1) * percent / 100);
    [50, 99].map(|percent| at(percent).copied().unwrap_or_default().as_secs_f64() * 1e3)
}
