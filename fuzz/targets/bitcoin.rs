//! Transactions, headers and blocks in Bitcoin's serialization, and the checks that need nothing
//! but them.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use pentad_ledger::ChainSpec;
use pentad_ledger::verify::{CheckedBlock, CheckedTransaction};
use pentad_primitives::encode::{Decode as _, Encode as _};
use pentad_primitives::{Block, BlockHeader, Target, Transaction, Txid, merkle};

static SPEC: LazyLock<ChainSpec> =
    LazyLock::new(|| ChainSpec::development("fuzz", 1_700_000_000, vec![]).expect("a valid spec"));

fuzz_target!(|bytes: &[u8]| {
    if let Ok(transaction) = Transaction::from_bytes(bytes) {
        assert_eq!(transaction.to_bytes(), bytes);
        assert_eq!(transaction.encoded_len(), bytes.len());
        drop(CheckedTransaction::check(transaction, &SPEC.limits()));
    }
    if let Ok(header) = BlockHeader::from_bytes(bytes) {
        assert_eq!(header.to_bytes(), bytes);
        if let Ok(target) = Target::from_compact(header.bits) {
            let _ = target.is_met_by(&header.block_hash());
        }
    }
    if let Ok(block) = Block::from_bytes(bytes) {
        assert_eq!(block.to_bytes(), bytes);
        let txids: Vec<Txid> = block.transactions.iter().map(Transaction::txid).collect();
        if let Ok(root) = merkle::root_checked(&txids) {
            assert_eq!(root, merkle::root(&txids));
        }
        drop(CheckedBlock::check(block, &SPEC));
    }
});
