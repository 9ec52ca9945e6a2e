//! A hundred clients pay from one wallet, with retries, while its service is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use pentad_tests::{Devnet, Running, binary, buf_curl, free_port, start, wait_for, wait_until};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::coins::{COIN, create_wallet, units};

/// Seconds that a campaign goes on; unset: a few requests of each client.
const CAMPAIGN: &str = "TEST_CAMPAIGN_SECONDS";
const CLIENTS: u32 = 100;
/// Requests in all, where no campaign was asked for.
const REQUESTS: u32 = 200;
/// Kills of the wallet service.
const KILLS: u32 = 2;
/// Coins that the wallet begins with, fewer than there are clients: they pay with change as well.
const FUNDS: usize = 80;
/// The least payment, units; each request pays one unit more than the one before.
const BASE: u32 = 100_000;

/// A wallet service of its own, which can be killed while the chain lives.
struct Wallet {
    data: TempDir,
    grpc: String,
    arguments: Vec<String>,
    running: Option<Running>,
    starts: u32,
}

impl Wallet {
    fn of(devnet: &Devnet) -> Self {
        let data = TempDir::new().expect("a temporary folder");
        let path = |name: &str| data.path().join(name).display().to_string();
        let [grpc, metrics] = [(); 2].map(|()| format!("127.0.0.1:{}", free_port()));
        let passphrase = data.path().join("passphrase");
        std::fs::write(&passphrase, "open sesame\n").expect("writable");
        std::fs::set_permissions(&passphrase, Permissions::from_mode(0o600)).expect("ours");
        let chain = devnet.node(1);
        let settings = [
            format!("chain.address=http://{}", chain.grpc()),
            format!("chain.cookie_file={}", chain.cookie_path().display()),
            format!("wallet.passphrase_file={}", passphrase.display()),
        ];
        let own = [
            ["--data", &path("wallet")],
            ["--grpc", &grpc],
            ["--metrics", &metrics],
            ["--cookie", &path("cookie")],
        ];
        let mut arguments: Vec<String> =
            own.as_flattened().iter().map(ToString::to_string).collect();
        arguments.extend(settings.into_iter().flat_map(|setting| ["--set".to_owned(), setting]));
        let mut wallet = Self { data, grpc, arguments, running: None, starts: 0 };
        wallet.start();
        wallet
    }

    fn start(&mut self) {
        self.starts += 1;
        let log = self.data.path().join(format!("wallet-{}.log", self.starts));
        self.running = Some(start("pentad-wallet", &self.arguments, &log));
    }

    /// Kill -9, and up again.
    fn kill(&mut self) {
        self.running = None;
        self.start();
    }

    fn run(&self, arguments: &[&str]) -> Output {
        run(&self.grpc, &self.data, arguments)
    }

    fn json(&self, arguments: &[&str]) -> Value {
        wait_for("the wallet service answers", || {
            let output = self.run(arguments);
            let parsed = serde_json::from_slice(&output.stdout).map_err(|error| error.to_string());
            if output.status.success() {
                parsed
            } else {
                Err(String::from_utf8_lossy(&output.stderr).into_owned())
            }
        })
    }
}

fn run(grpc: &str, data: &TempDir, arguments: &[&str]) -> Output {
    Command::new(binary("pentad"))
        .args(["--output", "json", "--grpc", grpc, "--cookie"])
        .arg(data.path().join("cookie"))
        .args(arguments)
        .output()
        .expect("pentad runs")
}

/// A request that was answered.
struct Paid {
    txid: String,
    /// Units.
    fee: i64,
}

/// What the clients share.
struct Clients<'a> {
    grpc: &'a str,
    data: &'a TempDir,
    payee: &'a str,
    requests: AtomicU32,
    /// By the units that were paid, which no other request pays.
    paid: Mutex<BTreeMap<u32, Paid>>,
    /// Why requests had to be made again.
    refusals: Mutex<BTreeSet<String>>,
    is_over: AtomicBool,
}

impl Clients<'_> {
    /// Pays until it is over; a request is made again until it is answered.
    fn pay(&self, more: &(dyn Fn(u32) -> bool + Sync)) {
        loop {
            let number = self.requests.fetch_add(1, Ordering::Relaxed);
            if !more(number) {
                self.is_over.store(true, Ordering::Relaxed);
                return;
            }
            let amount = BASE + number;
            let coins = format!("0.{amount:08}");
            let key = format!("request-{number}");
            let request = ["send", "--from", "payer", "--to", self.payee, "--amount", &coins];
            let request = [&request[..], &["--idempotency-key", &key]].concat();
            let paid = wait_for("a request is answered", || {
                let output = run(self.grpc, self.data, &request);
                if output.status.success() {
                    return Ok(serde_json::from_slice::<Value>(&output.stdout).expect("JSON"));
                }
                let problem = String::from_utf8_lossy(&output.stderr).into_owned();
                lock(&self.refusals).insert(problem.clone());
                Err(problem)
            });
            let txid = paid["txid"].as_str().expect("a txid").to_owned();
            let fee = units(paid["fee"].as_str().expect("a fee"));
            lock(&self.paid).insert(amount, Paid { txid, fee });
        }
    }
}

fn reason(refusal: &str) -> String {
    let error: Value = serde_json::from_str(refusal).unwrap_or_default();
    error["error"]["reason"].as_str().unwrap_or(refusal).to_owned()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives an address so many outputs of 10 coins each.
fn fund(devnet: &Devnet, address: &str) {
    let payments = vec![json!({"address": address, "amount": (10 * COIN).to_string()}); FUNDS];
    let request = json!({"wallet": "genesis", "payments": payments});
    let reply = buf_curl(&devnet.node(1), "pentad.wallet.v1.WalletService/Send", &request);
    assert_eq!(reply.code, 0, "{}", reply.text);
    devnet.generate(1, 1);
}

/// Payments to an address on the chain: transaction and units.
fn payments(devnet: &Devnet, address: &str) -> Vec<(u32, String)> {
    let mut found = Vec::new();
    let mut token = String::new();
    loop {
        let request = json!({"addresses": [address], "pageSize": 10_000, "pageToken": token});
        let reply = buf_curl(&devnet.node(1), "pentad.chain.v1.ChainService/GetUtxos", &request);
        assert_eq!(reply.code, 0, "{}", reply.text);
        for utxo in reply.json["utxos"].as_array().into_iter().flatten() {
            let amount = utxo["output"]["amount"].as_str().expect("an amount");
            let txid = utxo["outpoint"]["txid"].as_str().expect("a txid").to_owned();
            found.push((amount.parse().expect("units"), txid));
        }
        match reply.json["nextPageToken"].as_str().filter(|token| !token.is_empty()) {
            Some(next) => token = next.to_owned(),
            None => return found,
        }
    }
}

/// Every request is paid exactly once, and nothing else happened to the wallet.
fn check(devnet: &Devnet, wallet: &Wallet, clients: &Clients<'_>) {
    let (paid, refusals) = (lock(&clients.paid), lock(&clients.refusals));
    let reasons: BTreeSet<String> = refusals.iter().map(|refusal| reason(refusal)).collect();
    println!("{} requests; made again for {reasons:?}", paid.len());
    for word in ["spends the same", "MISSING_INPUT", "CONFLICT", "missing"] {
        assert!(refusals.iter().all(|refusal| !refusal.contains(word)), "a coin was used twice");
    }
    // Each request is on the chain once, in the transaction that it was answered with.
    let found = payments(devnet, clients.payee);
    assert_eq!(found.len(), paid.len(), "payments on the chain");
    let found: BTreeMap<u32, String> = found.into_iter().collect();
    assert_eq!(found.len(), paid.len(), "distinct payments on the chain");
    for (amount, paid) in paid.iter() {
        assert_eq!(found.get(amount), Some(&paid.txid), "the payment of {amount} units");
    }
    // What is left is what there was, less what was paid and the fees, to the unit.
    let spent: i64 = paid.iter().map(|(amount, paid)| i64::from(*amount) + paid.fee).sum();
    let left = 10 * COIN * i64::try_from(FUNDS).expect("few") - spent;
    let balance = wallet.json(&["wallet", "get-balance", "--wallet", "payer"]);
    assert_eq!(balance["confirmed"], left.to_string(), "{balance}");
    assert!(balance["pending"].as_str().is_none_or(|pending| pending == "0"), "{balance}");
    let log = wallet.run(&["audit", "verify-log"]);
    assert!(log.status.success(), "{}", String::from_utf8_lossy(&log.stderr));
}

#[test]
fn wallet_killed_twice_pays_every_request_of_a_hundred_clients_once() {
    let seconds = std::env::var(CAMPAIGN).ok().map(|it| it.parse::<u64>().expect("seconds"));
    let devnet = Devnet::up(1);
    let mut wallet = Wallet::of(&devnet);
    let payer = wallet.json(&["createwallet", "payer"])["address"].clone();
    fund(&devnet, payer.as_str().expect("an address"));
    let payee = create_wallet(&devnet, 1, "payee");

    let begin = Instant::now();
    let length = seconds.map(Duration::from_secs);
    let more = move |number| match length {
        Some(length) => begin.elapsed() < length,
        None => number < REQUESTS,
    };
    let grpc = wallet.grpc.clone();
    let data = TempDir::new().expect("a temporary folder");
    wait_until("the cookie is there", || {
        std::fs::copy(wallet.data.path().join("cookie"), data.path().join("cookie")).is_ok()
    });
    let clients = Clients {
        grpc: &grpc,
        data: &data,
        payee: &payee,
        requests: AtomicU32::new(0),
        paid: Mutex::default(),
        refusals: Mutex::default(),
        is_over: AtomicBool::new(false),
    };
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| clients.pay(&more));
        }
        scope.spawn(|| {
            while !clients.is_over.load(Ordering::Relaxed) {
                devnet.generate(1, 1);
                thread::sleep(Duration::from_millis(500));
            }
        });
        for kill in 1..=KILLS {
            wait_until("a part of the requests is paid", || match length {
                Some(length) => begin.elapsed() >= length * kill / (KILLS + 1),
                None => lock(&clients.paid).len() >= (REQUESTS * kill / (KILLS + 1)) as usize,
            });
            wallet.kill();
        }
    });
    devnet.generate(1, 1);

    check(&devnet, &wallet, &clients);
    println!("all of it in {:.1?}", begin.elapsed());
}
