//! Random networks from seeds (`make sim` runs many more).

use std::time::{SystemTime, UNIX_EPOCH};

use pentad_sim::campaign;

/// Seeds of a test run; the first of them is another one each time.
const SEEDS: u64 = 500;

/// Whether seed after seed keeps every promise; says which does not.
fn expect_kept(seeds: impl Iterator<Item = u64>) {
    let failed: Vec<String> = seeds
        .map(|seed| campaign::run(seed, false))
        .filter(|outcome| !outcome.violations.is_empty())
        .map(|outcome| outcome.to_string())
        .collect();
    assert!(failed.is_empty(), "replay with make sim SEED=…\n{}", failed.join("\n"));
}

#[test]
fn random_networks_keep_every_promise() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    let first = now.as_secs() % 1_000_000_000;
    println!("seeds {first} to {}", first + SEEDS - 1);
    expect_kept(first..first + SEEDS);
}

#[test]
fn seeds_that_once_failed_keep_every_promise() {
    expect_kept([1, 17].into_iter());
}

#[test]
fn a_seed_always_gives_the_same_run() {
    let summary = |seed| {
        let outcome = campaign::run(seed, false);
        (outcome.to_string(), outcome.totals.messages)
    };
    for seed in [4, 12, 20] {
        assert_eq!(summary(seed), summary(seed));
    }
}
