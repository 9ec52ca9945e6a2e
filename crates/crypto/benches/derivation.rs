//! What it costs to derive the addresses of an account, one by one and many at once, on one core.
//! `cargo bench -p pentad-crypto`

use std::hint::black_box;
use std::time::Instant;

use pentad_crypto::hd::{AccountKey, Purpose};

const ADDRESSES: u32 = 5_000;
const ROUNDS: usize = 5;

fn main() {
    let account = AccountKey::from_seed(&[7; 64], Purpose::Single, 1, 0).expect("small numbers");
    let account = account.public();
    let one_by_one = || {
        for index in 0..ADDRESSES {
            black_box(account.public_key(0, index).expect("a small number").key_hash());
        }
    };
    let many_at_once = || {
        for first in (0..ADDRESSES).step_by(256) {
            black_box(account.key_hashes(0, first..first + 256).expect("small numbers"));
        }
    };
    for round in 1..=ROUNDS {
        let [one, many] = [time(one_by_one), time(many_at_once)];
        println!("round {round}: one by one {one:>6.1} us, many at once {many:>6.1} us each");
    }
}

fn time(run: impl Fn()) -> f64 {
    let begun = Instant::now();
    run();
    begun.elapsed().as_secs_f64() * 1e6 / f64::from(ADDRESSES)
}
