//! ASERT against the published vectors and by its properties.

use std::path::Path;

use pentad_ledger::difficulty::{asert, next_bits};
use pentad_ledger::spec::{ChainSpec, Engine, Parameters, Pow};
use pentad_primitives::BlockHeight;
use pentad_primitives::pow::{CompactTarget, Target};

use crate::chain::GENESIS_TIME;

/// Where the vectors are: beside the project.
const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors/asert");

/// Bitcoin Cash: ten minutes, two days.
fn bitcoin_cash() -> Pow {
    let limit = CompactTarget(0x1d00_ffff);
    Pow { spacing: 600, half_life: 172_800, limit, fixed_target: false }
}

fn bits(text: &str) -> CompactTarget {
    CompactTarget(u32::from_str_radix(text.trim_start_matches("0x"), 16).unwrap())
}

#[test]
fn published_vectors() {
    if !Path::new(VECTORS).exists() {
        println!("skipped: no vectors at ../shared/vectors/asert");
        return;
    }
    let mut checked = 0;
    for run in 1..=12 {
        let text = std::fs::read_to_string(format!("{VECTORS}/run{run:02}")).unwrap();
        checked += run_vector(&text);
    }
    assert_eq!(checked, 14_000, "iterations in all twelve runs");
}

/// Checks one file and tells how many lines it had.
fn run_vector(text: &str) -> usize {
    let field = |name: &str| {
        let line = text.lines().find(|line| line.starts_with("##") && line.contains(name));
        line.and_then(|line| line.rsplit(": ").next()).map(str::trim)
    };
    let anchor_height: u64 = field("anchor height").unwrap().parse().unwrap();
    let anchor_time = field("anchor ancestor time").or(field("anchor parent time"));
    let anchor_time: i64 = anchor_time.unwrap().parse().unwrap();
    let anchor_bits = bits(field("anchor nBits").unwrap());
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let mut count = 0;
    for line in lines {
        let fields: Vec<_> = line.split_whitespace().collect();
        let (height, time): (u64, i64) = (fields[1].parse().unwrap(), fields[2].parse().unwrap());
        let found = asert(&bitcoin_cash(), anchor_bits, time - anchor_time, height - anchor_height);
        assert_eq!(found, bits(fields[3]), "{line}");
        count += 1;
    }
    count
}

fn spec(limit: u32) -> ChainSpec {
    let mut parameters = Parameters::new("test", GENESIS_TIME, vec![]).unwrap();
    let Engine::Pow(pow) = &mut parameters.engine else { unreachable!() };
    pow.limit = CompactTarget(limit);
    ChainSpec::new(parameters).unwrap()
}

#[test]
fn on_schedule_the_target_stays() {
    let spec = spec(0x1d00_ffff);
    for height in [0, 1, 1_000, 4_000_000] {
        let time = GENESIS_TIME + height * spec.pow().unwrap().spacing;
        assert_eq!(next_bits(&spec, BlockHeight::new(height), time), spec.pow().unwrap().limit);
    }
}

#[test]
fn a_half_life_ahead_of_schedule_halves_the_target() {
    for limit in [0x1d00_ffff, 0x1f00_ffff, 0x2000_ffff, 0x207f_ffff] {
        let spec = spec(limit);
        let height = spec.pow().unwrap().half_life / spec.pow().unwrap().spacing;
        let bits = next_bits(&spec, BlockHeight::new(height), GENESIS_TIME);
        let target = |bits| Target::from_compact(bits).unwrap().to_be_bytes();
        let (now, before) = (target(bits), target(spec.pow().unwrap().limit));
        let leading =
            |bytes: [u8; 32]| u64::from_be_bytes(bytes[..8].try_into().unwrap()).leading_zeros();
        assert_eq!(leading(now), leading(before) + 1, "{limit:08x}");
    }
}

#[test]
fn the_target_never_passes_the_limit_nor_zero() {
    let spec = spec(0x207f_ffff);
    assert_eq!(next_bits(&spec, BlockHeight::GENESIS, u32::MAX), spec.pow().unwrap().limit);
    let hardest = next_bits(&spec, BlockHeight::new(u32::MAX), GENESIS_TIME);
    assert_eq!(hardest, CompactTarget(0x0101_0000));
}

/// Timewarp: whatever times blocks carry in between, difficulty follows from the last alone, so
/// pulling the ends of periods apart gains nothing.
#[test]
fn timewarp_gains_nothing() {
    let spec = spec(0x1d00_ffff);
    let height = BlockHeight::new(2_016);
    let honest_time = GENESIS_TIME + 2_016 * spec.pow().unwrap().spacing;
    let late = next_bits(&spec, height, honest_time + 7_200);
    let back = next_bits(&spec, BlockHeight::new(2_017), honest_time + spec.pow().unwrap().spacing);
    assert_eq!(late, spec.pow().unwrap().limit);
    assert_eq!(back, spec.pow().unwrap().limit);
    let early = next_bits(&spec, height, honest_time - 3_600);
    assert!(
        Target::from_compact(early).unwrap()
            < Target::from_compact(spec.pow().unwrap().limit).unwrap()
    );
}

#[test]
fn development_networks_fix_the_target() {
    let spec = ChainSpec::development("dev", GENESIS_TIME, vec![]).unwrap();
    for (height, time) in [(0, u32::MAX), (1_000_000, GENESIS_TIME)] {
        assert_eq!(next_bits(&spec, BlockHeight::new(height), time), spec.pow().unwrap().limit);
    }
}
