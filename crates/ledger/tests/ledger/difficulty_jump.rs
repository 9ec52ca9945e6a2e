//! What difficulty makes of a hash rate that jumps: a simulation, and the picture of it in
//! `docs/mining.md`. `UPDATE_DOCS=1 cargo test -p pentad-ledger difficulty_jump` draws it anew.

use std::fmt::Write as _;

use pentad_ledger::difficulty::next_bits;
use pentad_ledger::spec::{ChainSpec, DEFAULT_SPACING, Engine, Parameters};
use pentad_primitives::BlockHeight;
use pentad_primitives::pow::{CompactTarget, Target, Work};

use crate::chain::GENESIS_TIME;

const PICTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/images/difficulty.svg");
const LIMIT: CompactTarget = CompactTarget(0x1f00_ffff);
/// Hashes a second before the jump: enough that the target is far below the limit.
const HASH_RATE: f64 = 1e6;
/// Blocks at first, to settle; then blocks of each phase, and how often its hash rate is the first.
const SETTLING: usize = 4_000;
const PHASES: [(usize, f64); 3] = [(1_000, 1.0), (3_000, 10.0), (2_000, 1.0)];
/// Intervals of so many blocks are averaged.
const WINDOW: usize = 60;

/// Random numbers between 0 and 1, the same ones each time (Knuth's MMIX).
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn hashes(bits: CompactTarget) -> f64 {
    let work = Work::from_target(&Target::from_compact(bits).unwrap());
    work.to_be_bytes().iter().fold(0.0, |sum, byte| sum * 256.0 + f64::from(*byte))
}

/// Seconds that each block took, and the hash rate that it was found with.
fn simulate(seed: u64) -> Vec<(f64, f64)> {
    let mut parameters = Parameters::new("test", GENESIS_TIME, vec![]).unwrap();
    let Engine::Pow(pow) = &mut parameters.engine else { unreachable!() };
    pow.limit = LIMIT;
    let spec = ChainSpec::new(parameters).unwrap();
    let phases = [(SETTLING, 1.0)].into_iter().chain(PHASES);
    let factors = phases.flat_map(|(blocks, factor)| vec![factor; blocks]);
    let mut random = Random(seed);
    let (mut time, mut blocks) = (f64::from(GENESIS_TIME), Vec::new());
    for (height, factor) in (0..).zip(factors) {
        let bits = next_bits(&spec, BlockHeight::new(height), time as u32);
        // The search has no memory: intervals are exponentially distributed.
        let took = -(1.0 - random.next()).ln() * hashes(bits) / (HASH_RATE * factor);
        time += took;
        blocks.push((took, factor));
    }
    blocks.split_off(SETTLING)
}

fn mean(intervals: &[(f64, f64)]) -> f64 {
    intervals.iter().map(|(took, _)| took).sum::<f64>() / intervals.len() as f64
}

#[test]
fn the_interval_returns_after_the_hash_rate_jumps_tenfold_and_back() {
    let spacing = f64::from(DEFAULT_SPACING);
    for seed in 1..=5 {
        let blocks = simulate(seed);
        let mut begin = 0;
        for (length, factor) in PHASES {
            let phase = &blocks[begin..begin + length];
            let last = mean(&phase[length - 500..]);
            let near = spacing * 0.85..spacing * 1.15;
            assert!(near.contains(&last), "seed {seed}, hash rate x {factor}: {last} s");
            begin += length;
        }
        // At first it is as much off as the hash rate.
        let jump = mean(&blocks[PHASES[0].0..][..100]);
        assert!(jump < spacing / 5.0, "seed {seed}: {jump} s");
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(PICTURE, picture(&simulate(1))).unwrap();
    }
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 300.0;
const MARGIN: f64 = 50.0;

/// The interval, averaged, over the height, on a logarithmic scale of 0.5 to 200 s; the hash rate
/// in grey.
fn picture(blocks: &[(f64, f64)]) -> String {
    let x = |at: usize| MARGIN + (WIDTH - 2.0 * MARGIN) * at as f64 / blocks.len() as f64;
    let y = |seconds: f64| {
        let share = (seconds / 0.5).log10() / (200.0_f64 / 0.5).log10();
        HEIGHT - MARGIN - (HEIGHT - 2.0 * MARGIN) * share.clamp(0.0, 1.0)
    };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n"
    );
    for seconds in [1.0, 10.0, 100.0] {
        let (right, at) = (WIDTH - MARGIN, y(seconds));
        let dash = if seconds == 10.0 { "#2a7" } else { "#ddd" };
        writeln!(
            svg,
            "<path d=\"M{MARGIN} {at:.1}H{right}\" stroke=\"{dash}\"/>\
             <text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{seconds} s</text>",
            MARGIN - 6.0,
            at + 4.0
        )
        .unwrap();
    }
    for height in (0..=blocks.len()).step_by(1_000) {
        let (at, below) = (x(height), HEIGHT - MARGIN + 18.0);
        writeln!(svg, "<text x=\"{at:.1}\" y=\"{below}\" text-anchor=\"middle\">{height}</text>")
            .unwrap();
    }
    let line = |points: String, colour: &str, width: f64| {
        format!(
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" \
             stroke-width=\"{width}\"/>\n"
        )
    };
    let rate = |(at, (_, factor)): (usize, &(f64, f64))| {
        format!("{:.1},{:.1}", x(at), y(factor.mul_add(6.0, 40.0)))
    };
    let rates: Vec<_> = blocks.iter().enumerate().step_by(10).map(rate).collect();
    svg += &line(rates.join(" "), "#bbb", 2.0);
    let average = |(at, window): (usize, &[(f64, f64)])| {
        format!("{:.1},{:.1}", x(at + WINDOW / 2), y(mean(window)))
    };
    let averages: Vec<_> = blocks.windows(WINDOW).enumerate().step_by(10).map(average).collect();
    svg += &line(averages.join(" "), "#246", 1.5);
    let (centre, top) = (WIDTH / 2.0, 24.0);
    writeln!(
        svg,
        "<text x=\"{centre}\" y=\"{top}\" text-anchor=\"middle\">Seconds between blocks (mean of \
         {WINDOW}), by height; grey: the hash rate, tenfold from block 1000 to 4000</text>\n</svg>"
    )
    .unwrap();
    svg
}
