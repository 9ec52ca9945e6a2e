//! The text of a portable proof, and its check against a chain spec.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use pentad_ledger::ChainSpec;
use pentad_proof::PortableProof;

static SPEC: LazyLock<ChainSpec> =
    LazyLock::new(|| ChainSpec::development("fuzz", 1_700_000_000, vec![]).expect("a valid spec"));

fuzz_target!(|text: &str| {
    if let Ok(proof) = PortableProof::from_json(text) {
        let again = PortableProof::from_json(&proof.to_json()).expect("its own text");
        assert_eq!(again.to_json(), proof.to_json());
        drop(proof.check(&SPEC));
    }
});
