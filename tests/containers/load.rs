//! Payments from all organisations for as long as a test goes on.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::network::{Network, ORGANISATIONS, text};

/// Between two payments of an organisation: load, not all that the machine can do.
const PAUSE: Duration = Duration::from_millis(200);
/// Coins of each payer, so that as many payments can wait for a block.
const COINS: usize = 4;

/// What was seen while payments were made.
#[derive(Debug, Default)]
pub struct Seen {
    /// Ids of the payments that a wallet acknowledged.
    pub paid: Mutex<Vec<String>>,
    /// Height and hash of tips of the organisations.
    pub tips: Mutex<Vec<(u64, String)>>,
}

/// Says that it is over when dropped, also by a failed assertion: the clients must end.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `faults` while every organisation pays, waits until all have one chain, and holds it
/// against what was seen.
pub fn under_load(network: &Network, faults: impl FnOnce()) {
    for organisation in 1..=ORGANISATIONS {
        let address = network.create_wallet(organisation, "payer");
        for _ in 0..COINS {
            let pay = ["send", "--from", "genesis", "--to", &address, "--amount", "10", "--wait"];
            network.on(1, &pay).success();
        }
    }
    let (over, seen, started) = (AtomicBool::new(false), Seen::default(), Instant::now());
    thread::scope(|scope| {
        for organisation in 1..=ORGANISATIONS {
            let (over, seen) = (&over, &seen);
            scope.spawn(move || pay(network, organisation, over, seen));
        }
        let _over = Over(&over);
        faults();
    });
    println!("payments were made for {:.0?}", started.elapsed());
    check(network, seen);
}

fn pay(network: &Network, organisation: usize, over: &AtomicBool, seen: &Seen) {
    let to = network.create_wallet(organisation, "payee");
    while !over.load(Ordering::Relaxed) {
        let pay = ["send", "--from", "payer", "--to", &to, "--amount", "0.001"];
        let reply = network.on(organisation, &pay);
        // A node that is cut off refuses once too many of its payments wait.
        if reply.code == 0 {
            seen.paid.lock().expect("no client panics").push(text(&reply.json, "txid"));
        }
        let info = network.on(organisation, &["chain", "get-info"]).json;
        if let (Some(height), Some(tip)) = (info["height"].as_u64(), info["tip"].as_str()) {
            seen.tips.lock().expect("no client panics").push((height, tip.to_owned()));
        }
        thread::sleep(PAUSE);
    }
}

/// No fork, and every payment that was acknowledged is in the chain of all.
fn check(network: &Network, seen: Seen) {
    let paid = seen.paid.into_inner().expect("no client panicked");
    let tips = seen.tips.into_inner().expect("no client panicked");
    assert!(paid.len() >= ORGANISATIONS, "only {} payments were acknowledged", paid.len());
    for txid in &paid {
        pentad_tests::wait_for("an acknowledged payment is final", || {
            let reply = network.on(1, &["chain", "get-transaction", "--txid", txid]);
            match reply.json["blockHash"].as_str() {
                Some(hash) if !hash.is_empty() => Ok(()),
                _ => Err(format!("{txid}: {}{}", reply.stdout, reply.stderr)),
            }
        });
    }
    let chain = network.converge();
    println!("{} payments acknowledged, final in {} blocks", paid.len(), chain.len() - 1);
    for (height, tip) in tips {
        let at = usize::try_from(height).expect("small");
        assert_eq!(chain.get(at), Some(&tip), "height {height}");
    }
}
