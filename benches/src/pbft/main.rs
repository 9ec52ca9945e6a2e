//! Four validators as real processes on this machine: how long a payment takes to be final on all
//! of them, how many a second they sustain, and what that costs. The figures mean something in a
//! release build only; all four share the machine's cores and disk.

mod network;
#[path = "../payments.rs"]
#[allow(dead_code, reason = "the other program of this package uses the rest")]
mod payments;
#[path = "../process.rs"]
#[allow(dead_code, reason = "the other program of this package uses the rest")]
mod process;
mod watch;

use std::time::{Duration, Instant};

use pentad_api::Connection;
use pentad_api::chain::v1::submit_service_client::SubmitServiceClient;
use pentad_api::chain::v1::{SubmitTransactionRequest, SubmitTransactionsRequest};
use pentad_api::consensus::v1::GetStatusRequest;
use pentad_api::consensus::v1::consensus_service_client::ConsensusServiceClient;
use pentad_primitives::{Encode as _, Transaction, Txid};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::network::NODES;
use crate::payments::{START, allocations, key, pay, script, split};
use crate::process::Node;
use crate::watch::Watch;

/// Payments made one at a time.
const SINGLE: usize = 400;
/// Payments a second that are offered, and for how long.
const RATE: usize = 2_000;
const SECONDS: usize = 20;
/// Payments are handed in in such intervals.
const INTERVAL: Duration = Duration::from_millis(10);
/// Messages between the generator and a stream.
const STREAM_BUFFER: usize = 64;

#[tokio::main]
async fn main() {
    if cfg!(debug_assertions) {
        eprintln!("a debug build: the figures below say nothing");
    }
    let count = SINGLE + RATE * SECONDS + 1;
    let spec = network::spec(START, allocations(count));
    let (splits, coins) = split(&spec, count);
    let payee = script(&key(0));
    let payments: Vec<Transaction> = coins.iter().map(|coin| pay(coin, &payee).0).collect();
    let directory = TempDir::new().expect("a temporary directory");
    let mut nodes = network::start(&spec, directory.path()).await;
    let watch = Watch::start(&nodes).await;
    let connections: Vec<Connection> =
        nodes.iter().map(|node| node.connection().expect("a live node")).collect();
    for transaction in &splits {
        submit(&connections[0], transaction).await;
    }
    for transaction in &splits {
        watch.is_final(transaction.txid(), NODES).await;
    }

    let (single, rest) = payments.split_at(SINGLE);
    let (many, last) = rest.split_at(RATE * SECONDS);
    one_at_a_time(&connections, &watch, single).await;
    let before = Use::of(&nodes);
    sustained(&connections, &watch, many).await;
    let after = Use::of(&nodes);
    after.print_since(&before);
    view_change(&mut nodes, &connections, &watch, &last[0]).await;
}

async fn submit(connection: &Connection, transaction: &Transaction) {
    let mut client = SubmitServiceClient::new(connection.clone());
    let transaction = transaction.to_bytes().into();
    let request = SubmitTransactionRequest { transaction, ..Default::default() };
    client.submit_transaction(request).await.expect("a valid payment");
}

async fn one_at_a_time(connections: &[Connection], watch: &Watch, payments: &[Transaction]) {
    let mut latencies = Vec::new();
    for (payment, connection) in payments.iter().zip(connections.iter().cycle()) {
        let begun = Instant::now();
        submit(connection, payment).await;
        latencies.push(watch.is_final(payment.txid(), NODES).await - begun);
    }
    print_latency("one payment at a time, submit to final on all four", latencies);
}

async fn sustained(connections: &[Connection], watch: &Watch, payments: &[Transaction]) {
    let mut streams = Vec::new();
    for connection in connections {
        let (requests, receiver) = mpsc::channel(STREAM_BUFFER);
        let mut client = SubmitServiceClient::new(connection.clone());
        streams.push(requests);
        tokio::spawn(async move {
            let answers = client.submit_transactions(ReceiverStream::new(receiver)).await;
            let mut answers = answers.expect("a stream").into_inner();
            while let Some(answer) = answers.message().await.expect("no error") {
                for outcome in answer.outcomes {
                    assert!(outcome.reason.is_empty(), "{outcome:?}");
                }
            }
        });
    }
    let batch = RATE / 100;
    let blocks = watch.blocks();
    let begun = Instant::now();
    let mut ticks = tokio::time::interval(INTERVAL);
    let mut submitted: Vec<(Txid, Instant)> = Vec::with_capacity(payments.len());
    for (number, some) in payments.chunks(batch).enumerate() {
        ticks.tick().await;
        let now = Instant::now();
        submitted.extend(some.iter().map(|payment| (payment.txid(), now)));
        let transactions = some.iter().map(|payment| payment.to_bytes().into()).collect();
        let request = SubmitTransactionsRequest { transactions };
        streams[number % streams.len()].send(request).await.expect("a live stream");
    }
    let mut latencies = Vec::with_capacity(submitted.len());
    let mut end = begun;
    for (txid, at) in submitted {
        let final_at = watch.is_final(txid, NODES).await;
        latencies.push(final_at - at);
        end = end.max(final_at);
    }
    let seconds = (end - begun).as_secs_f64();
    let rate = f64::from(u32::try_from(payments.len()).expect("small")) / seconds;
    let blocks = (watch.blocks() - blocks) / NODES;
    println!("{:<60} {rate:>8.0} /s", format!("sustained, offered {RATE} /s for {SECONDS} s"));
    println!(
        "{:<60} {:>8.0} /s",
        "  blocks",
        f64::from(u32::try_from(blocks).expect("small")) / seconds
    );
    print_latency("  submit to final on all four", latencies);
}

/// What the nodes have used so far.
struct Use {
    fsyncs: f64,
    blocks: f64,
    suspicions: f64,
    resident: u64,
}

impl Use {
    fn of(nodes: &[Node]) -> Self {
        let sum = |name: &str| nodes.iter().map(|node| node.metric(name)).sum();
        Self {
            fsyncs: sum("pentad_consensus_log_fsyncs_total"),
            blocks: sum("pentad_consensus_blocks_final_total"),
            suspicions: sum("pentad_consensus_suspicions_total"),
            resident: nodes.iter().map(Node::resident_bytes).max().unwrap_or_default(),
        }
    }

    fn print_since(&self, before: &Self) {
        let fsyncs = (self.fsyncs - before.fsyncs) / (self.blocks - before.blocks);
        println!("{:<60} {fsyncs:>8.2}", "  fsyncs of the safety log for each block and replica");
        println!("{:<60} {:>8.2}", "  with that of the block log", fsyncs + 1.0);
        let suspicions = self.suspicions - before.suspicions;
        println!("{:<60} {suspicions:>8}", "  primaries held to censor, by all nodes together");
        let [first, last] = [before.resident, self.resident].map(|bytes| bytes / (1024 * 1024));
        println!("{:<60} {:>5} MB", "  largest resident memory before", first);
        println!("{:<60} {:>5} MB", "  largest resident memory after", last);
    }
}

/// Kills the primary; a payment that a backup takes at that moment needs a new one.
async fn view_change(
    nodes: &mut [Node],
    connections: &[Connection],
    watch: &Watch,
    payment: &Transaction,
) {
    let mut client = ConsensusServiceClient::new(connections[0].clone());
    let status = client.get_status(GetStatusRequest {}).await.expect("a status").into_inner();
    println!("{:<60} {:>8}", "  views left until here", status.view);
    let primary = usize::try_from(status.view).expect("small") % NODES;
    nodes[primary].kill();
    let begun = Instant::now();
    submit(&connections[(primary + 1) % NODES], payment).await;
    let took = watch.is_final(payment.txid(), NODES - 1).await - begun;
    let name = "primary killed, submit to final on the other three";
    println!("{name:<60} {:>5.0} ms", took.as_secs_f64() * 1e3);
}

fn print_latency(name: &str, mut latencies: Vec<Duration>) {
    latencies.sort_unstable();
    let at = |percent: usize| latencies[(latencies.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    println!("{name:<60} p50 {:>6.1} ms  p99 {:>6.1} ms", at(50), at(99));
}
