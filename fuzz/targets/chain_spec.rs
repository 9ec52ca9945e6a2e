//! The text of a chain spec.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pentad_ledger::ChainSpec;

fuzz_target!(|text: &str| {
    if let Ok(spec) = ChainSpec::from_toml(text) {
        let again = ChainSpec::from_toml(&spec.to_toml()).expect("its own text");
        assert_eq!(again.spec_hash(), spec.spec_hash());
        assert_eq!(again.genesis_hash(), spec.genesis_hash());
    }
});
