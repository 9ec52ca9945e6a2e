//! The chain spec: its text, its rules, its hash, its genesis block.

use pentad_ledger::coinbase;
use pentad_ledger::spec::{
    Allocation, ChainSpec, Engine, FileError, Parameters, Pow, Rewards, SpecError,
};
use pentad_ledger::utxo::UtxoView;
use pentad_primitives::encode::Decode;
use pentad_primitives::pow::CompactTarget;
use pentad_primitives::{Amount, Block, BlockHeight, OutPoint, Script, encode::Encode};

use crate::chain::{Chain, GENESIS_TIME, address, coins, units};

fn parameters() -> Parameters {
    let allocations = vec![Allocation { address: address(1), amount: coins(1_000) }];
    Parameters::new("pentad", GENESIS_TIME, allocations).unwrap()
}

fn pow(parameters: &mut Parameters) -> &mut Pow {
    let Engine::Pow(pow) = &mut parameters.engine else { unreachable!() };
    pow
}

/// The error after one change to a valid spec.
fn after(change: impl FnOnce(&mut Parameters)) -> SpecError {
    let mut parameters = parameters();
    change(&mut parameters);
    ChainSpec::new(parameters).unwrap_err()
}

/// Its text makes the same spec.
pub fn assert_is_its_text(spec: &ChainSpec) {
    let text = spec.to_toml();
    let back = ChainSpec::from_toml(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(back.parameters(), spec.parameters());
    assert_eq!(back.spec_hash(), spec.spec_hash());
    assert_eq!(back.genesis_hash(), spec.genesis_hash());
}

#[test]
fn text_and_back() {
    let many =
        (1..=3).map(|n| Allocation { address: address(n), amount: units(u64::from(n)) }).collect();
    for spec in [
        ChainSpec::new(parameters()).unwrap(),
        ChainSpec::development("dev-1", GENESIS_TIME, many).unwrap(),
        ChainSpec::development("empty", 0, vec![]).unwrap(),
    ] {
        assert_is_its_text(&spec);
    }
}

#[test]
fn one_error_per_rule() {
    for name in ["", "Upper", "with space", "ä", &"x".repeat(33)] {
        assert_eq!(after(|p| p.name = name.to_owned()), SpecError::Name);
    }
    assert_eq!(after(|p| p.magic = [0; 4]), SpecError::MagicZero);
    assert_eq!(after(|p| p.address_versions.p2sh = 0), SpecError::AddressVersionsEqual);
    for spacing in [0, 86_401] {
        assert_eq!(after(|p| pow(p).spacing = spacing), SpecError::Spacing);
    }
    for half_life in [0, 31_536_001] {
        assert_eq!(after(|p| pow(p).half_life = half_life), SpecError::HalfLife);
    }
    // Zero, negative, above 256 bits, not canonical.
    for limit in [0, 0x1d80_0001, 0xff00_ffff, 0x1e00_00ff] {
        assert_eq!(after(|p| pow(p).limit = CompactTarget(limit)), SpecError::PowLimit);
    }
    assert_eq!(after(|p| p.rewards.halving_interval = 0), SpecError::HalvingIntervalZero);
    assert_eq!(after(|p| p.rewards.halving_interval = 10_501), SpecError::SubsidyTooLarge);
    assert_eq!(after(|p| p.rewards.coinbase_maturity = 0), SpecError::CoinbaseMaturityZero);
    for bytes in [0, 9_999, 32_000_001] {
        assert_eq!(after(|p| p.limits.block_bytes = bytes), SpecError::BlockBytes);
    }
    for bytes in [999, 3_999_001] {
        assert_eq!(after(|p| p.limits.transaction_bytes = bytes), SpecError::TransactionBytes);
    }
}

#[test]
fn one_error_per_rule_of_genesis() {
    let allocation = |amount| Allocation { address: address(1), amount };
    let zero = vec![allocation(coins(1)), allocation(Amount::ZERO)];
    assert_eq!(after(|p| p.genesis.allocations = zero), SpecError::AllocationZero { index: 1 });
    let much = vec![allocation(Amount::MAX_MONEY), allocation(units(1))];
    assert_eq!(after(|p| p.genesis.allocations = much), SpecError::AllocationsOverflow);
    let many = vec![allocation(units(1)); 10_001];
    assert_eq!(after(|p| p.genesis.allocations = many), SpecError::TooManyAllocations);
    let large = vec![allocation(units(1)); 3_000];
    let error = after(|p| p.genesis.allocations = large);
    assert!(matches!(error, SpecError::GenesisTooLarge { bytes: 100_000.. }), "{error:?}");
}

/// All that will ever exist is an amount, to the unit.
#[test]
fn supply_is_bounded_exactly() {
    let mut parameters = parameters();
    parameters.rewards = Rewards { subsidy: units(7), halving_interval: 3, coinbase_maturity: 1 };
    // Heights 1 and 2 create 7 each (genesis creates its allocations), 3 to 5 create 3, 6 to 8 one.
    let created = [0, 7, 14, 17, 20, 23, 24, 25, 26, 26];
    let allocate = |parameters: &mut Parameters, amount: u64| {
        let allocation = Allocation { address: address(1), amount: units(amount) };
        parameters.genesis.allocations = vec![allocation];
    };
    let room = Amount::MAX_MONEY.units() - 26;
    allocate(&mut parameters, room);
    let spec = ChainSpec::new(parameters.clone()).unwrap();
    for (height, created) in (0..).zip(created) {
        assert_eq!(spec.issued(BlockHeight::new(height)), units(room + created), "at {height}");
    }
    assert_eq!(spec.issued(BlockHeight::new(u32::MAX)), Amount::MAX_MONEY);
    allocate(&mut parameters, room + 1);
    assert_eq!(ChainSpec::new(parameters.clone()).unwrap_err(), SpecError::SupplyTooLarge);
    // No halving within reach: every height there is counts.
    parameters.genesis.allocations.clear();
    let heights = u64::from(u32::MAX);
    parameters.rewards.halving_interval = u32::MAX;
    parameters.rewards.subsidy = units(Amount::MAX_MONEY.units() / heights);
    assert!(ChainSpec::new(parameters.clone()).is_ok());
    parameters.rewards.subsidy = units(Amount::MAX_MONEY.units() / heights + 1);
    assert_eq!(ChainSpec::new(parameters).unwrap_err(), SpecError::SubsidyTooLarge);
}

/// The error in a text, after replacing a piece of a valid one.
pub fn file_error(parameters: Parameters, from: &str, to: &str) -> FileError {
    let text = ChainSpec::new(parameters).unwrap().to_toml();
    assert!(text.contains(from), "{from}");
    match ChainSpec::from_toml(&text.replacen(from, to, 1)) {
        Err(SpecError::File(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_damaged_file_names_line_and_field() {
    let line_of = |needle: &str| {
        let text = ChainSpec::new(parameters()).unwrap().to_toml();
        text.lines().position(|line| line.starts_with(needle)).unwrap() + 1
    };
    for (from, to, field, message) in [
        ("spacing = 10", "spacing = -1", "spacing", "u32"),
        ("spacing = 10", "spacing = \"10\"", "spacing", "invalid type"),
        ("half_life = 2880", "half_live = 2880", "half_live", "unknown field"),
        ("magic = \"70656e74\"", "magic = \"70656e7\"", "magic", "8 hex digits"),
        ("limit = \"1f00ffff\"", "limit = \"high\"", "limit", "8 hex digits"),
        ("subsidy = \"1000.00000000\"", "subsidy = \"1e3\"", "subsidy", "decimal"),
        ("p2sh = 5", "p2sh = 256", "p2sh", "u8"),
        ("time = 1700000000", "time =", "time", ""),
        ("address = \"1", "address = \"2", "address", "address"),
        ("amount = \"1000.00000000\"", "amount = 1000", "amount", "invalid type"),
    ] {
        let error = file_error(parameters(), from, to);
        assert_eq!(error.field, field, "{error}");
        let key = from.split(' ').next().unwrap();
        assert_eq!(error.line, line_of(key), "{error}");
        assert!(error.message.contains(message), "{error}");
    }
    let error = file_error(parameters(), "p2sh = 5\n", "");
    assert_eq!((error.field.as_str(), error.message.as_str()), ("p2sh", "missing field `p2sh`"));
    let error = file_error(parameters(), "[limits]", "[limit");
    assert_eq!(error.line, line_of("[limits]"));
}

#[test]
fn an_address_of_another_network_is_named() {
    let error = file_error(parameters(), "p2pkh = 0", "p2pkh = 111");
    assert_eq!(error.field, "address");
    assert!(error.message.contains("another network"), "{error}");
}

#[test]
fn unknown_engines_are_named() {
    let error = file_error(parameters(), "[engine.pow]", "[engine.raft]");
    assert!(error.message.contains("unknown variant `raft`"), "{error}");
}

/// The hash covers the fields, not the file.
#[test]
fn spec_hash_ignores_comments_and_order() {
    let spec = ChainSpec::new(parameters()).unwrap();
    let text = spec.to_toml();
    let bare: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let other = ChainSpec::from_toml(&bare.join("\n")).unwrap();
    assert_eq!(other.spec_hash(), spec.spec_hash());
}

#[test]
fn spec_hash_covers_every_field() {
    let changes: [fn(&mut Parameters); 16] = [
        |_| {},
        |p| p.name.push('x'),
        |p| p.magic[3] ^= 1,
        |p| p.address_versions.p2pkh = 1,
        |p| p.address_versions.p2sh = 6,
        |p| pow(p).spacing += 1,
        |p| pow(p).half_life += 1,
        |p| pow(p).limit = CompactTarget(0x1e00_ffff),
        |p| pow(p).fixed_target = true,
        |p| p.rewards.subsidy = coins(999),
        |p| p.rewards.halving_interval -= 1,
        |p| p.rewards.coinbase_maturity += 1,
        |p| p.limits.block_bytes += 1,
        |p| p.limits.transaction_bytes += 1,
        |p| p.genesis.time += 1,
        |p| p.genesis.allocations[0].address = address(2),
    ];
    let mut hashes = std::collections::BTreeSet::new();
    let mut genesis = std::collections::BTreeSet::new();
    for change in changes {
        let mut parameters = parameters();
        change(&mut parameters);
        let spec = ChainSpec::new(parameters).unwrap();
        assert!(hashes.insert(spec.spec_hash()));
        // The genesis coinbase carries the spec hash.
        assert!(genesis.insert(spec.genesis_hash()));
    }
}

#[test]
fn golden_hashes() {
    let spec = ChainSpec::new(parameters()).unwrap();
    let (spec_hash, genesis_hash) = (spec.spec_hash().to_string(), spec.genesis_hash().to_string());
    assert_eq!(spec_hash, "6a6dbe40432b148ef5124ca75df802571912495f31a161d4cf915162f84f7faa");
    assert_eq!(genesis_hash, "0bac4f3e1c03a35743a6be7a0b63445c93885e31ac1fb849382a99c10ff03d13");
}

#[test]
fn genesis_pays_the_allocations() {
    let chain = Chain::development();
    let block = chain.spec.genesis_block();
    assert_eq!(Block::from_bytes(&block.to_bytes()).as_ref(), Ok(block));
    let commitment = coinbase::commitment(&block.transactions[0].inputs[0].script_sig).unwrap();
    assert_eq!(commitment.height, BlockHeight::GENESIS);
    assert_eq!(commitment.tag, coinbase::tag(chain.spec.spec_hash().as_bytes()));
    assert_eq!(chain.utxos.len(), 3);
    for owner in 1..=3 {
        let coin = chain.allocation(owner);
        let utxo = chain.utxos.utxo(&coin.outpoint).unwrap().unwrap();
        assert_eq!(utxo.output.amount, coins(1_000));
        assert_eq!(utxo.output.script_pubkey, address(owner).script_pubkey());
        assert!(coinbase::is_mature(&utxo, BlockHeight::new(1), 100));
    }
}

#[test]
fn genesis_without_allocations_has_no_utxos() {
    let spec = ChainSpec::development("empty", GENESIS_TIME, vec![]).unwrap();
    assert!(Chain::new(spec.clone()).utxos.is_empty());
    let outpoint = OutPoint { txid: spec.genesis_block().transactions[0].txid(), vout: 0 };
    assert_eq!(Chain::new(spec).utxos.utxo(&outpoint), Ok(None));
}

#[test]
fn coinbase_script_sig_and_back() {
    for height in [0, 1, 16, 17, 127, 128, 255, 256, 32_767, 32_768, 8_388_608, u32::MAX] {
        let height = BlockHeight::new(height);
        let script_sig = coinbase::script_sig(height, b"12345678", &[8, 0, 0, 0, 0, 0, 0, 0, 0]);
        let commitment = coinbase::commitment(&script_sig).unwrap();
        assert_eq!((commitment.height, commitment.tag), (height, *b"12345678"));
        assert!((11..=coinbase::SCRIPT_SIG_LEN_MAX).contains(&script_sig.len()));
    }
}

#[test]
fn coinbase_heights_have_one_form() {
    for bytes in [&[1, 5][..], &[2, 0x11, 0], &[3, 0x11, 0x11, 0], &[0x51], &[0x00], &[0x60, 0x60]]
    {
        let mut script_sig = bytes.to_vec();
        script_sig.push(8);
        script_sig.extend(*b"12345678");
        assert_eq!(coinbase::commitment(&Script::from(script_sig)), None, "{bytes:02x?}");
    }
}
