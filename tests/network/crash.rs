//! Kill -9 in the middle of mining and sending.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use pentad_tests::{Devnet, buf_curl, wait_until};
use serde_json::json;

use crate::coins::{COIN, balance, create_wallet};

const KILLS: u32 = 20;

/// Says that it is over when dropped, also by a failed assertion: the clients must end.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The chain from the tip down to genesis holds together, and all coins are there.
fn assert_consistent(devnet: &Devnet, addresses: &[&str]) -> u32 {
    let status = devnet.status(1);
    let height = u32::try_from(status["height"].as_u64().expect("a height")).expect("small");
    let mut hash = status["tip"].clone();
    for height in (0..=height).rev() {
        let block = devnet.on(1, &["print", &height.to_string()]).success();
        assert_eq!(block["hash"], hash, "block {height} is not its child's parent");
        hash = block["prev_block_hash"].clone();
    }
    assert_eq!(hash, "0".repeat(64), "genesis has a parent");
    let request = json!({"addresses": addresses, "pageSize": 10_000});
    let reply = buf_curl(&devnet.node(1), "pentad.chain.v1.ChainService/GetUtxos", &request);
    assert_eq!(reply.code, 0, "{}", reply.text);
    let utxos = reply.json["utxos"].as_array().expect("unspent outputs").clone();
    let supply: i64 = utxos
        .iter()
        .map(|utxo| utxo["output"]["amount"].as_str().expect("an amount"))
        .map(|amount| amount.parse::<i64>().expect("units"))
        .sum();
    assert_eq!(supply, (i64::from(height) + 1) * 1000 * COIN, "supply at height {height}");
    height
}

#[test]
fn a_node_killed_while_mining_and_sending_comes_back_consistent() {
    let devnet = Devnet::up(1);
    let alice = devnet.genesis_address();
    let bob = create_wallet(&devnet, 1, "bob");
    devnet.generate(1, 1);
    let miner = crate::coins::miner_address(&devnet, 1);
    let everybody = [alice.as_str(), &bob, &miner];

    let over = AtomicBool::new(false);
    let sent = AtomicU32::new(0);
    let mined = AtomicU32::new(0);
    thread::scope(|scope| {
        // Clients that go on whatever happens; what they count was acknowledged.
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let pay = ["send", "--from", &alice, "--to", &bob, "--amount", "0.01"];
                if devnet.on(1, &pay).code == 0 {
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                if devnet.on(1, &["generate", "1"]).code == 0 {
                    mined.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let _over = Over(&over);
        let mut height = 1;
        for kill in 0..KILLS {
            let (sent_before, mined_before) =
                (sent.load(Ordering::Relaxed), mined.load(Ordering::Relaxed));
            wait_until("the clients get through", || {
                sent.load(Ordering::Relaxed) > sent_before
                    && mined.load(Ordering::Relaxed) > mined_before
            });
            devnet.kill(1);
            let acknowledged = mined.load(Ordering::Relaxed);
            devnet.restart();
            let status = devnet.status(1);
            let now = u32::try_from(status["height"].as_u64().expect("a height")).expect("small");
            assert!(now > height, "kill {kill}: height {now} after {height}");
            assert!(now > acknowledged, "kill {kill}: an acknowledged block is gone");
            height = now;
        }
    });

    devnet.generate(1, 1);
    assert_consistent(&devnet, &everybody);
    let received = balance(&devnet, 1, &bob)[0];
    assert!(received > 0 && received % (COIN / 100) == 0);
}
