//! Engine pbft in the chain spec.

use std::collections::BTreeSet;

use pentad_ledger::spec::{
    Allocation, ChainSpec, Engine, PBFT_BITS, Parameters, Pbft, SpecError, Validator,
};
use pentad_primitives::{Amount, BlockHeight};

use crate::chain::{GENESIS_TIME, address, coins, key};
use crate::spec::{assert_is_its_text, file_error};

/// Validator `number`, with the key and address of that number.
pub fn validator(number: u8) -> Validator {
    let name = format!("validator-{number}");
    Validator { name, key: key(number).public_key(), payout: address(number) }
}

fn parameters() -> Parameters {
    let allocations = vec![Allocation { address: address(1), amount: coins(1_000) }];
    let validators = (1..=4).map(validator).collect();
    Parameters::pbft("pentad", GENESIS_TIME, allocations, validators).unwrap()
}

fn pbft(parameters: &mut Parameters) -> &mut Pbft {
    let Engine::Pbft(pbft) = &mut parameters.engine else { unreachable!() };
    pbft
}

/// The error after one change to a valid spec.
fn after(change: impl FnOnce(&mut Pbft)) -> SpecError {
    let mut parameters = parameters();
    change(pbft(&mut parameters));
    ChainSpec::new(parameters).unwrap_err()
}

#[test]
fn text_and_back() {
    let mut unusual = parameters();
    *pbft(&mut unusual) = Pbft {
        window: 1,
        view_timeout_ms: 500,
        block_interval_ms_min: 250,
        heartbeat_ms: 60_000,
        checkpoint_interval: 1,
        validators: (1..=64).map(validator).collect(),
    };
    unusual.rewards.subsidy = coins(5);
    for spec in [
        ChainSpec::new(parameters()).unwrap(),
        ChainSpec::new(unusual).unwrap(),
        ChainSpec::development_pbft("dev-1", GENESIS_TIME, vec![], vec![validator(7)]).unwrap(),
    ] {
        assert_is_its_text(&spec);
    }
}

#[test]
fn engine_says_what_it_is() {
    let spec = ChainSpec::new(parameters()).unwrap();
    assert_eq!(spec.engine().name(), "pbft");
    assert!(spec.pow().is_none() && !spec.is_development());
    assert_eq!(spec.pbft().unwrap().validators.len(), 4);
    assert_eq!(spec.subsidy(BlockHeight::new(1)), Amount::ZERO);
    assert_eq!(spec.genesis_block().header.bits, PBFT_BITS);
    let pow = ChainSpec::development("test", GENESIS_TIME, vec![]).unwrap();
    assert_eq!((pow.engine().name(), pow.pbft()), ("pow", None));
}

#[test]
fn fields_have_defaults_and_validators_do_not() {
    let text = ChainSpec::new(parameters()).unwrap().to_toml();
    let is_default = |line: &&str| {
        let names = ["window", "view_timeout_ms", "block_interval_ms_min", "heartbeat_ms"];
        names.iter().chain(&["checkpoint_interval"]).any(|name| line.starts_with(name))
    };
    assert_eq!(text.lines().filter(is_default).count(), 5);
    let bare: Vec<_> = text.lines().filter(|line| !is_default(line)).collect();
    let spec = ChainSpec::from_toml(&bare.join("\n")).unwrap();
    assert_eq!(spec.parameters(), &parameters());
    let (start, _) = text.split_once("[[engine.pbft.validators]]").unwrap();
    let (_, end) = text.split_once("[rewards]").unwrap();
    let error = ChainSpec::from_toml(&format!("{start}\n[rewards]{end}")).unwrap_err();
    assert!(error.to_string().contains("missing field `validators`"), "{error}");
}

#[test]
fn one_error_per_rule() {
    for window in [0, 2, 64] {
        assert_eq!(after(|p| p.window = window), SpecError::Window);
    }
    for view_timeout_ms in [0, 99, 600_001] {
        assert_eq!(after(|p| p.view_timeout_ms = view_timeout_ms), SpecError::ViewTimeout);
    }
    assert_eq!(after(|p| p.block_interval_ms_min = 1_001), SpecError::BlockInterval);
    for (interval, heartbeat) in [(0, 99), (0, 86_400_001), (1_000, 999)] {
        let error = after(|p| (p.block_interval_ms_min, p.heartbeat_ms) = (interval, heartbeat));
        assert_eq!(error, SpecError::Heartbeat);
    }
    for interval in [0, 1_025] {
        assert_eq!(after(|p| p.checkpoint_interval = interval), SpecError::CheckpointInterval);
    }
    for count in [0, 65] {
        let validators = (1..=count).map(validator).collect();
        assert_eq!(after(|p| p.validators = validators), SpecError::Validators);
    }
    let error = after(|p| p.validators[2].name = "Four".to_owned());
    assert_eq!(error, SpecError::ValidatorName { index: 2 });
    let name = "validator-1".to_owned();
    let error = after(|p| p.validators[3].name.clone_from(&name));
    assert_eq!(error, SpecError::ValidatorNameTwice { name });
    let error = after(|p| p.validators[3].key = validator(1).key);
    assert_eq!(error, SpecError::ValidatorKeyTwice { name: "validator-4".to_owned() });
    // One purse may serve several validators.
    let mut shared = parameters();
    pbft(&mut shared).validators[3].payout = address(1);
    ChainSpec::new(shared).unwrap();
}

#[test]
fn a_damaged_file_names_line_and_field() {
    for (from, to, field, message) in [
        ("window = 1", "window = -1", "window", "u32"),
        ("heartbeat_ms", "heart_beat_ms", "heart_beat_ms", "unknown field"),
        ("key = \"0", "key = \"1", "key", "compressed public key"),
        ("payout = \"1", "payout = \"2", "payout", "address"),
        ("name = \"validator-1\"\n", "", "name", "missing field"),
    ] {
        let error = file_error(parameters(), from, to);
        assert_eq!(error.field, field, "{error}");
        assert!(error.message.contains(message), "{error}");
    }
}

#[test]
fn spec_hash_covers_every_field() {
    let changes: [fn(&mut Pbft); 9] = [
        |_| {},
        |p| p.view_timeout_ms += 1,
        |p| p.block_interval_ms_min += 1,
        |p| p.heartbeat_ms = 1_000,
        |p| p.checkpoint_interval += 1,
        |p| p.validators[0].name.push('x'),
        |p| p.validators[0].key = key(9).public_key(),
        |p| p.validators[0].payout = address(9),
        |p| p.validators.swap(0, 1),
    ];
    let hashes: BTreeSet<_> = changes
        .iter()
        .map(|change| {
            let mut parameters = parameters();
            change(pbft(&mut parameters));
            ChainSpec::new(parameters).unwrap().spec_hash()
        })
        .collect();
    assert_eq!(hashes.len(), changes.len());
}

#[test]
fn golden_hashes() {
    let spec = ChainSpec::new(parameters()).unwrap();
    let (spec_hash, genesis_hash) = (spec.spec_hash().to_string(), spec.genesis_hash().to_string());
    assert_eq!(spec_hash, "f24d1d9670aad4abf210df9c557ade51b4367e57a9fe92f970a5740212a88373");
    assert_eq!(genesis_hash, "ae72c82ba45396aa334735d4d904dce0a9bb42e0350c1fc116f12bf4949dbc8f");
}
