//! One node as a real process on this machine, with a wallet of 100,000 coins on a chain of 100,000
//! transactions: how long a payment takes, how many a second there are, and how long it takes to
//! look for all of them again. The figures mean something in a release build only; clients and
//! node share the machine's cores and disk, so CPU time is printed beside time on the wall.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pentad_api::Connection;
use pentad_api::wallet::v1::send_request::From;
use pentad_api::wallet::v1::wallet_service_client::WalletServiceClient;
use pentad_api::wallet::v1::{GetBalanceRequest, Payment, RescanRequest, SendRequest};
use pentad_bench::chain::{LocalChain, bytes};
use pentad_bench::node::Node;
use pentad_bench::payments::{
    Coin, START, allocations, key, pay, script, small_allocations, split_to,
};
use pentad_bench::process::{text, write_secret};
use pentad_crypto::{Address, AddressVersions};
use pentad_keystore::{KdfCost, Passphrase, Unlock};
use pentad_ledger::ChainSpec;
use pentad_ledger::spec::Allocation;
use pentad_primitives::{Encode as _, Transaction};
use tempfile::TempDir;
use tokio::task::JoinSet;

/// Coins of the wallet.
const COINS: usize = 100_000;
/// Payments of others in a block: 1 MB.
const PAYMENTS: usize = 4_429;
/// Blocks of payments: a chain of 100,000 transactions.
const ROUNDS: usize = 23;
/// Payments one after the other.
const ALONE: usize = 300;
/// Clients that pay at once, and for how long.
const CLIENTS: usize = 16;
const RUSH: Duration = Duration::from_secs(5);
/// What each payment pays, units.
const AMOUNT: u64 = 12_345;

#[tokio::main]
async fn main() {
    if cfg!(debug_assertions) {
        eprintln!("a debug build: the figures below say nothing");
    }
    let directory = TempDir::new().expect("a temporary directory");
    let data = directory.path().join("data");
    let (address, passphrase) = make_wallet(directory.path(), &data);
    let spec = make_chain(directory.path(), &data, address).await;
    let flags = ["--passphrase-file", text(&passphrase)];
    let node = Node::spawn(&spec, &data, &flags);
    let connection = up(&node).await;

    println!("{:<58} {:>12} {:>16}", "", "wall", "CPU of the node");
    rescan(&node, &connection).await;
    let to = Address::P2pkh(key(0).public_key().key_hash()).encode(&AddressVersions::default());
    alone(&node, &connection, &to, "from the wallet", From::Wallet("bench".to_owned())).await;
    let address = address.encode(&AddressVersions::default());
    alone(&node, &connection, &to, "from its address", From::Address(address)).await;
    for keyed in [false, true] {
        rush(&node, &to, keyed).await;
    }
    println!("{:<58} {:>9} MB", "memory of the node", node.resident_bytes() / 1_000_000);
}

fn make_wallet(directory: &Path, data: &Path) -> (Address, PathBuf) {
    let file = directory.join("passphrase");
    write_secret(&file, "open sesame\n");
    let passphrase = Passphrase::from_file(&file).expect("readable");
    let name = "bench".parse().expect("a name");
    fs::create_dir_all(data).expect("writable");
    let address =
        pentad_keystore::create(data, &name, &passphrase, Unlock::Service, KdfCost::default());
    (address.expect("a new wallet"), file)
}

/// Blocks with the wallet's coins, then blocks of others' payments.
async fn make_chain(directory: &Path, data: &Path, wallet: Address) -> PathBuf {
    let all: Vec<Allocation> = [allocations(PAYMENTS), small_allocations(COINS)].concat();
    let spec = ChainSpec::development("bench", START, all).expect("a valid spec");
    let file = directory.join("chain.toml");
    fs::write(&file, spec.to_toml()).expect("writable");
    let chain = data.join("chain");
    fs::create_dir_all(&chain).expect("writable");
    let node = LocalChain::open(&spec, &chain, START, false);
    let (splits, mut coins) = split_to(&spec, COINS, &wallet.script_pubkey(), PAYMENTS);
    // Four MB a block.
    for splits in splits.chunks(20) {
        mine(&node, splits).await;
    }
    let payee = script(&key(0));
    for _ in 0..ROUNDS {
        let paid = coins.iter().map(|coin| pay(coin, &payee));
        let (payments, kept): (Vec<Transaction>, Vec<Coin>) = paid.unzip();
        mine(&node, &payments).await;
        coins = kept;
    }
    node.stop().await;
    file
}

async fn mine(node: &LocalChain, transactions: &[Transaction]) {
    node.submit(transactions.iter().map(Transaction::to_bytes).collect()).await;
    let block = node.mine(script(&key(0))).await;
    assert_eq!(block.transactions.len(), transactions.len() + 1, "a block of all");
    node.connect(bytes(&block)).await;
}

/// Waits until the wallet knows its coins.
async fn up(node: &Node) -> Connection {
    let begun = Instant::now();
    loop {
        if let Some(connection) = node.connection() {
            let request = GetBalanceRequest { wallet: "bench".to_owned() };
            let answer = WalletServiceClient::new(connection.clone()).get_balance(request).await;
            if answer.is_ok_and(|answer| answer.get_ref().confirmed > 0) {
                return connection;
            }
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "the node does not start");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn rescan(node: &Node, connection: &Connection) {
    let (cpu, begun) = (node.cpu(), Instant::now());
    let request = RescanRequest { wallet: "bench".to_owned() };
    let mut client = WalletServiceClient::new(connection.clone());
    let mut progress = client.rescan(request).await.expect("a stream").into_inner();
    let mut last = None;
    while let Some(message) = progress.message().await.expect("no error") {
        last = Some(message);
    }
    assert!(last.is_some_and(|last| last.done), "the end is told");
    let name = "rescan of a chain of 100,000 transactions";
    println!("{name:<58} {:>12.1?} {:>16.1?}", begun.elapsed(), node.cpu() - cpu);
}

fn request(from: From, to: &str, idempotency_key: String) -> SendRequest {
    let payments = vec![Payment { address: to.to_owned(), amount: AMOUNT }];
    SendRequest { from: Some(from), payments, idempotency_key, ..SendRequest::default() }
}

/// Payments one after the other.
async fn alone(node: &Node, connection: &Connection, to: &str, what: &str, from: From) {
    let mut client = WalletServiceClient::new(connection.clone());
    let (cpu, mut times) = (node.cpu(), Vec::new());
    for number in 0..ALONE {
        let begun = Instant::now();
        let key = format!("{what} {number}");
        client.send(request(from.clone(), to, key)).await.expect("paid");
        times.push(begun.elapsed());
    }
    let cpu = (node.cpu() - cpu) / u32::try_from(ALONE).expect("few");
    times.sort_unstable();
    for (name, at) in [("p50", ALONE / 2), ("p99", ALONE * 99 / 100)] {
        let name = format!("a payment {what} of 100,000 coins, {name}");
        println!("{name:<58} {:>12.1?} {cpu:>16.1?}", times[at]);
    }
}

/// Payments of many clients at once.
async fn rush(node: &Node, to: &str, keyed: bool) {
    let (cpu, begun) = (node.cpu(), Instant::now());
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let connection = node.connection().expect("a live node");
        let to = to.to_owned();
        clients.spawn(async move {
            let mut client = WalletServiceClient::new(connection);
            let mut count = 0_u32;
            while begun.elapsed() < RUSH {
                let key = if keyed { format!("rush {number} {count}") } else { String::new() };
                let request = request(From::Wallet("bench".to_owned()), &to, key);
                client.send(request).await.expect("paid");
                count += 1;
            }
            count
        });
    }
    let count: u32 = clients.join_all().await.into_iter().sum();
    let rate = f64::from(count) / begun.elapsed().as_secs_f64();
    let cpu = (node.cpu() - cpu) / count.max(1);
    let name = if keyed { "with" } else { "without" };
    let name = format!("payments a second, 16 clients, {name} idempotency keys");
    println!("{name:<58} {rate:>10.0}/s {cpu:>16.1?}");
}
