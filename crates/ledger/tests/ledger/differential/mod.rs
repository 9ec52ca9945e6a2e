//! Bitcoin as the judge: whatever we accept, Bitcoin accepts too, and what it accepts and we do not
//! is one of a list.
//!
//! Scripts are run by Bitcoin Core's own verifier (libbitcoinconsensus, which takes a C++ compiler:
//! hence the feature); blocks are judged by rules written anew over rust-bitcoin.

mod block;
mod script;

use bitcoin::consensus::validation::verify_script_with_flags;

/// P2SH (BIP16), strict DER (BIP66), NULLDUMMY (BIP147): what Bitcoin's blocks are held to.
const CORE_FLAGS: u32 = 1 | 4 | 16;

/// What Bitcoin Core's verifier says of one input.
fn core_accepts(transaction: &[u8], input: usize, spent: &bitcoin::TxOut) -> bool {
    verify_script_with_flags(&spent.script_pubkey, input, spent.value, transaction, CORE_FLAGS)
        .is_ok()
}

/// An output as rust-bitcoin has it.
fn theirs(output: &pentad_primitives::TxOut) -> bitcoin::TxOut {
    use pentad_primitives::Encode as _;
    bitcoin::consensus::deserialize(&output.to_bytes()).unwrap()
}

/// More in a long campaign.
fn config() -> proptest::test_runner::Config {
    let cases = std::env::var("PENTAD_TEST_CASES");
    let cases = cases.map_or(256, |cases| cases.parse().expect("a number"));
    proptest::test_runner::Config { cases, ..Default::default() }
}
