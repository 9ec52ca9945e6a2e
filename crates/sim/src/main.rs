//! `make sim`: runs many seeds of each engine, or replays one with its trace. `make model`: the
//! exhaustive check.

use std::process::ExitCode;
use std::time::Instant;

use pentad_sim::campaign::{self, Outcome};
use pentad_sim::hybrid;
use pentad_sim::model::{check, scopes};

/// Seeds between two lines of progress.
const PROGRESS_EVERY: u64 = 500;

const USAGE: &str =
    "usage: pentad-sim [--engine pbft|hybrid] [--seeds N] [--from FIRST] | --seed SEED | --model N";

/// Who makes the blocks of a run; both in turn unless one is named.
type Engine = (&'static str, fn(u64, bool) -> Outcome);
const ENGINES: [Engine; 2] = [("pbft", campaign::run), ("hybrid", hybrid::campaign::run)];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (mut first, mut count, mut traced) = (1, 500, false);
    let mut engines = ENGINES.to_vec();
    while let Some(argument) = arguments.next() {
        let value = arguments.next().unwrap_or_default();
        if argument == "--engine" {
            engines.retain(|(name, _)| *name == value);
            continue;
        }
        let Ok(value) = value.parse() else {
            eprintln!("{argument} needs a number\n{USAGE}");
            return ExitCode::from(2);
        };
        match argument.as_str() {
            "--seeds" => count = value,
            "--from" => first = value,
            "--seed" => (first, count, traced) = (value, 1, true),
            "--model" => return model(value),
            _ => engines.clear(),
        }
    }
    if engines.is_empty() {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    }
    let is_kept = engines.into_iter().map(|engine| run(engine, first, count, traced));
    if is_kept.fold(true, |all, one| all & one) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Checks every scope up to so many states.
fn model(states_max: u64) -> ExitCode {
    let mut is_kept = true;
    for scope in scopes::ALL {
        let start = Instant::now();
        let report = check(scope, usize::try_from(states_max).unwrap_or(usize::MAX));
        println!("{report}, {} s", start.elapsed().as_secs());
        is_kept &= report.failures.is_empty();
    }
    if is_kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run((engine, run): Engine, first: u64, count: u64, traced: bool) -> bool {
    let start = Instant::now();
    let mut sum = Summary::default();
    for seed in first..first + count {
        let outcome = run(seed, traced);
        if traced || !outcome.violations.is_empty() {
            println!("{outcome}");
        }
        sum.add(&outcome);
        if sum.seeds % PROGRESS_EVERY == 0 {
            println!("{engine}: {sum}, {} s", start.elapsed().as_secs());
        }
    }
    println!("done: {engine}: {sum}, {} s", start.elapsed().as_secs());
    if !sum.failed.is_empty() {
        println!("replay one with: make sim ONLY={engine} SEED={}", sum.failed[0]);
    }
    sum.failed.is_empty()
}

#[derive(Default)]
struct Summary {
    seeds: u64,
    steps: u64,
    messages: u64,
    virtual_ms: u64,
    view_changes: u64,
    crashes: u64,
    blocks: u64,
    failed: Vec<u64>,
}

impl Summary {
    fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        self.steps += outcome.totals.steps;
        self.messages += outcome.totals.messages;
        self.virtual_ms += outcome.virtual_ms;
        self.view_changes += outcome.totals.view_changes;
        self.crashes += outcome.totals.crashes;
        self.blocks += outcome.height;
        if !outcome.violations.is_empty() {
            self.failed.push(outcome.seed);
        }
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} seeds, {} steps, {} messages, {} virtual h, {} blocks, {} view changes, \
             {} crashes, {} seeds with violations",
            self.seeds,
            self.steps,
            self.messages,
            self.virtual_ms / 3_600_000,
            self.blocks,
            self.view_changes,
            self.crashes,
            self.failed.len()
        )
    }
}
