//! The genesis block: a pure function of the spec's fields.

use pentad_crypto::script;
use pentad_primitives::hash::{BlockHash, Hash256};
use pentad_primitives::{Amount, Block, BlockHeader, BlockHeight, Transaction, TxOut, merkle};

use super::{PBFT_BITS, Parameters};
use crate::coinbase;

/// Builds the genesis block. Its nonce is 0: nobody has to have worked for it.
pub(super) fn block(parameters: &Parameters, spec_hash: &Hash256) -> Block {
    let bits = parameters.engine.pow().map_or(PBFT_BITS, |pow| pow.limit);
    let coinbase = transaction(parameters, spec_hash);
    Block {
        header: BlockHeader {
            version: coinbase::BLOCK_VERSION,
            prev_block_hash: BlockHash::ZERO,
            merkle_root: merkle::root(&[coinbase.txid()]),
            time: parameters.genesis.time,
            bits,
            nonce: 0,
        },
        transactions: vec![coinbase],
    }
}

/// The coinbase that pays the allocations. With none, one data output keeps it a legal transaction.
fn transaction(parameters: &Parameters, spec_hash: &Hash256) -> Transaction {
    let allocations = &parameters.genesis.allocations;
    let outputs = if allocations.is_empty() {
        let script_pubkey = script::data_script(parameters.name.as_bytes());
        vec![TxOut { amount: Amount::ZERO, script_pubkey: script_pubkey.unwrap_or_default() }]
    } else {
        let output = |a: &super::Allocation| TxOut {
            amount: a.amount,
            script_pubkey: a.address.script_pubkey(),
        };
        allocations.iter().map(output).collect()
    };
    let tag = coinbase::tag(spec_hash.as_bytes());
    coinbase::transaction(coinbase::script_sig(BlockHeight::GENESIS, &tag, &[]), outputs)
}
