//! Engine hybrid in the chain spec.

use pentad_ledger::spec::{Allocation, ChainSpec, Engine, Hybrid, Parameters, SpecError};
use pentad_primitives::BlockHeight;

use crate::chain::{GENESIS_TIME, address, coins};
use crate::pbft_spec::validator;
use crate::spec::{assert_is_its_text, file_error};

fn parameters() -> Parameters {
    let allocations = vec![Allocation { address: address(1), amount: coins(1_000) }];
    let voters = (1..=4).map(validator).map(|it| (it.name, it.key));
    Parameters::hybrid("pentad", GENESIS_TIME, allocations, voters).unwrap()
}

fn hybrid(parameters: &mut Parameters) -> &mut Hybrid {
    let Engine::Hybrid(hybrid) = &mut parameters.engine else { unreachable!() };
    hybrid
}

#[test]
fn text_and_back() {
    let mut unusual = parameters();
    let changed = hybrid(&mut unusual);
    changed.pow.fixed_target = true;
    changed.finality_depth = 1;
    changed.agreement.view_timeout_ms = 500;
    changed.agreement.checkpoint_interval = 2;
    let voters = [("solo".to_owned(), validator(7).key)];
    for spec in [
        ChainSpec::new(parameters()).unwrap(),
        ChainSpec::new(unusual).unwrap(),
        ChainSpec::development_hybrid("dev-1", GENESIS_TIME, vec![], voters).unwrap(),
    ] {
        assert_is_its_text(&spec);
    }
}

#[test]
fn engine_says_what_it_is() {
    let spec = ChainSpec::new(parameters()).unwrap();
    assert_eq!(spec.engine().name(), "hybrid");
    assert!(spec.pow().is_some() && spec.pbft().is_none());
    assert_eq!(spec.agreement().unwrap().validators.len(), 4);
    assert_eq!(spec.finality_depth(), Some(6));
    assert_eq!(spec.subsidy(BlockHeight::new(1)), coins(1_000));
    assert_eq!(spec.genesis_block().header.bits, spec.pow().unwrap().limit);
    let development = ChainSpec::development_hybrid(
        "test",
        GENESIS_TIME,
        vec![],
        [("solo".to_owned(), validator(1).key)],
    );
    assert!(development.unwrap().is_development());
}

/// Every field counts, and no other engine has the same hash.
#[test]
fn spec_hash_covers_every_field() {
    let spec_hash = |change: fn(&mut Hybrid)| {
        let mut parameters = parameters();
        change(hybrid(&mut parameters));
        ChainSpec::new(parameters).unwrap().spec_hash()
    };
    let mut hashes = vec![
        spec_hash(|_| {}),
        spec_hash(|it| it.pow.spacing += 1),
        spec_hash(|it| it.pow.half_life += 1),
        spec_hash(|it| it.pow.fixed_target = true),
        spec_hash(|it| it.finality_depth += 1),
        spec_hash(|it| it.agreement.view_timeout_ms += 1),
        spec_hash(|it| it.agreement.checkpoint_interval += 1),
        spec_hash(|it| drop(it.agreement.validators.pop())),
    ];
    let mut pow = parameters();
    pow.engine = Engine::Pow(hybrid(&mut pow.clone()).pow.clone());
    hashes.push(ChainSpec::new(pow).unwrap().spec_hash());
    let mut pbft = parameters();
    pbft.engine = Engine::Pbft(hybrid(&mut pbft.clone()).agreement.clone());
    hashes.push(ChainSpec::new(pbft).unwrap().spec_hash());
    let count = hashes.len();
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len(), count);
}

#[test]
fn one_error_per_rule() {
    let after = |change: &dyn Fn(&mut Hybrid)| {
        let mut parameters = parameters();
        change(hybrid(&mut parameters));
        ChainSpec::new(parameters).unwrap_err()
    };
    for depth in [0, 10_001] {
        assert_eq!(after(&|it| it.finality_depth = depth), SpecError::FinalityDepth);
    }
    assert_eq!(after(&|it| it.pow.spacing = 0), SpecError::Spacing);
    assert_eq!(after(&|it| it.agreement.view_timeout_ms = 99), SpecError::ViewTimeout);
    assert_eq!(after(&|it| it.agreement.validators.clear()), SpecError::Validators);
}

#[test]
fn fields_have_defaults_and_strange_ones_are_named() {
    let text = ChainSpec::new(parameters()).unwrap().to_toml();
    let names = ["finality_depth", "view_timeout_ms", "checkpoint_interval"];
    let is_default = |line: &&str| names.iter().any(|name| line.starts_with(name));
    assert_eq!(text.lines().filter(is_default).count(), names.len());
    let bare: Vec<_> = text.lines().filter(|line| !is_default(line)).collect();
    assert_eq!(ChainSpec::from_toml(&bare.join("\n")).unwrap().parameters(), &parameters());
    let error = file_error(parameters(), "finality_depth = 6", "heartbeat_ms = 6");
    assert_eq!(error.field, "heartbeat_ms");
    // Nothing is paid to validators.
    let error = file_error(parameters(), "name = \"validator-1\"", "payout = \"x\"");
    assert_eq!(error.field, "payout");
}
