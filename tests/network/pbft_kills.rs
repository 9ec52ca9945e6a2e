//! Kill -9 of the primary and of a backup in turn, under load.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pentad_tests::{Devnet, wait_until};

use crate::coins::create_wallet;
use crate::pbft::{chain, pay};

/// Seconds that a campaign goes on, which then is held to its times; unset: a few kills, and only
/// what must hold on any machine.
const CAMPAIGN: &str = "TEST_CAMPAIGN_SECONDS";
/// Kills where no campaign was asked for: a primary, a backup, a primary.
const KILLS: usize = 3;
/// View timer of a development network, and a second.
const PROGRESS_MAX: Duration = Duration::from_secs(3);

/// Says that it is over when dropped, also by a failed assertion: the clients must end.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Height of the last final block on a node; none while it is down.
fn final_height(devnet: &Devnet, node: usize) -> Option<u64> {
    devnet.status(node)["final_height"].as_u64()
}

/// Pays from a wallet of its own node for as long as the test goes on; what it was told to be
/// final, it writes down.
fn load(devnet: &Devnet, node: usize, over: &AtomicBool, final_blocks: &Mutex<Vec<(u64, String)>>) {
    let name = format!("payer{node}");
    let to = devnet.genesis_address();
    while !over.load(Ordering::Relaxed) {
        let pay = ["send", "--from", &name, "--to", &to, "--amount", "0.001", "--wait"];
        let reply = devnet.on(node, &pay);
        // A node that is down refuses, and one that dies says nothing.
        if reply.code == 0 {
            let height = reply.json["height"].as_u64().expect("a height");
            let hash = reply.json["block_hash"].as_str().expect("a hash").to_owned();
            final_blocks.lock().expect("no client panics").push((height, hash));
        } else {
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The primary as the nodes that are up see it, and a node that is not.
fn primary_and_backup(devnet: &Devnet, round: usize) -> (usize, usize) {
    let status = devnet.run(&["devnet", "status"]).success();
    let name = status["nodes"][0]["primary"].as_str().expect("a primary").to_owned();
    let primary = name.strip_prefix("node").expect("a node").parse::<usize>().expect("a number");
    let others: Vec<usize> = (1..=4).filter(|node| *node != primary).collect();
    (primary, others[round % others.len()])
}

/// One kill: the others go on, and the killed one catches up.
fn round(devnet: &Devnet, round: usize, is_campaign: bool) {
    let (primary, other) = primary_and_backup(devnet, round);
    let victim = if round.is_multiple_of(2) { primary } else { other };
    let witness = (1..=4).find(|node| *node != victim).expect("three others");
    let before = final_height(devnet, witness).expect("it is up");
    devnet.kill(victim);
    let killed = Instant::now();
    // One block may have been under way; the next one needs those that are left.
    wait_until("blocks become final without the victim", || {
        final_height(devnet, witness).is_some_and(|height| height >= before + 2)
    });
    let took = killed.elapsed();
    println!("round {round}: node{victim} of primary node{primary} killed, progress in {took:.1?}");
    assert!(!is_campaign || took <= PROGRESS_MAX, "no progress for {took:?}");
    devnet.restart();
    let target = final_height(devnet, witness).expect("it is up");
    wait_until("the victim catches up", || {
        final_height(devnet, victim).is_some_and(|height| height >= target)
    });
}

#[test]
fn case_28_primary_and_backup_killed_in_turn_under_load() {
    let seconds = std::env::var(CAMPAIGN).ok().map(|text| text.parse().expect("seconds"));
    let devnet = Devnet::up_pbft(4);
    for node in 1..=4 {
        let name = format!("payer{node}");
        let address = create_wallet(&devnet, node, &name);
        for _ in 0..2 {
            pay(&devnet, 1, "genesis", &address, "10");
        }
    }
    let over = AtomicBool::new(false);
    let final_blocks = Mutex::default();
    thread::scope(|scope| {
        for node in 1..=4 {
            let (devnet, over, final_blocks) = (&devnet, &over, &final_blocks);
            scope.spawn(move || load(devnet, node, over, final_blocks));
        }
        let _over = Over(&over);
        let started = Instant::now();
        for number in 0.. {
            match seconds {
                Some(seconds) if started.elapsed() >= Duration::from_secs(seconds) => break,
                None if number == KILLS => break,
                _ => round(&devnet, number, seconds.is_some()),
            }
        }
    });
    // No fork, and nothing that was final is lost.
    devnet.converge(&[1, 2, 3, 4]);
    let first = chain(&devnet, 1);
    for node in 2..=4 {
        assert_eq!(chain(&devnet, node), first, "node {node}");
    }
    let final_blocks = final_blocks.into_inner().expect("no client panicked");
    println!("{} payments were final in {} blocks", final_blocks.len(), first.len() - 1);
    assert!(!final_blocks.is_empty(), "nobody's payment was final");
    for (height, hash) in final_blocks {
        let at = usize::try_from(height).expect("small");
        assert_eq!(first.get(at), Some(&hash), "height {height}");
    }
}
