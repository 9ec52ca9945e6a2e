//! Random networks from seeds (`make sim` runs many more).

use std::time::{SystemTime, UNIX_EPOCH};

use pentad_sim::campaign::{self, Outcome};
use pentad_sim::hybrid;

/// Seeds of a test run; the first of them is another one each time.
const SEEDS: u64 = 500;
/// Where work makes the blocks: a run is ten times as long.
const HYBRID_SEEDS: u64 = 100;

/// What plays a seed.
type Run = fn(u64, bool) -> Outcome;

/// Whether seed after seed keeps every promise; says which does not.
fn expect_kept(engine: &str, run: Run, seeds: impl Iterator<Item = u64>) {
    let failed: Vec<String> = seeds
        .map(|seed| run(seed, false))
        .filter(|outcome| !outcome.violations.is_empty())
        .map(|outcome| outcome.to_string())
        .collect();
    assert!(failed.is_empty(), "replay with make sim ONLY={engine} SEED=…\n{}", failed.join("\n"));
}

fn unseen(count: u64) -> std::ops::Range<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    let first = now.as_secs() % 1_000_000_000;
    println!("seeds {first} to {}", first + count - 1);
    first..first + count
}

#[test]
fn random_networks_keep_every_promise() {
    expect_kept("pbft", campaign::run, unseen(SEEDS));
}

#[test]
fn random_networks_of_miners_who_validate_keep_every_promise() {
    expect_kept("hybrid", hybrid::campaign::run, unseen(HYBRID_SEEDS));
}

#[test]
fn a_seed_always_gives_the_same_run() {
    let summary = |run: Run, seed| {
        let outcome = run(seed, false);
        (outcome.to_string(), outcome.totals.messages)
    };
    for run in [campaign::run, hybrid::campaign::run] {
        for seed in [4, 12, 20] {
            assert_eq!(summary(run, seed), summary(run, seed));
        }
    }
}
