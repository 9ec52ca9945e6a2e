//! Bytes from anywhere: decoding and checking them never panics, and undo data comes back as it
//! went.

use pentad_ledger::coinbase;
use pentad_ledger::connect::disconnect;
use pentad_ledger::spec::ChainSpec;
use pentad_ledger::utxo::{BlockUndo, UndoError};
use pentad_ledger::verify::{
    CheckedBlock, CheckedTransaction, transaction_signatures, verify_signatures,
};
use pentad_primitives::encode::{Decode, Encode};
use pentad_primitives::{Amount, Block, BlockHeight, Script, Transaction, TxOut, Utxo};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::chain::{Chain, pay};

fn utxo() -> impl Strategy<Value = Utxo> {
    let amount = 0..=Amount::MAX_MONEY.units();
    (amount, vec(any::<u8>(), 0..300), any::<u32>(), any::<bool>()).prop_map(
        |(units, script, height, from_coinbase)| Utxo {
            output: TxOut {
                amount: Amount::from_units(units).unwrap(),
                script_pubkey: Script::from(script),
            },
            height: BlockHeight::new(height),
            from_coinbase,
        },
    )
}

proptest! {
    #[test]
    fn undo_data_comes_back(spent in vec(utxo(), 0..20)) {
        let undo = BlockUndo { spent };
        let bytes = undo.to_bytes();
        prop_assert_eq!(bytes.len(), undo.encoded_len());
        prop_assert_eq!(BlockUndo::from_bytes(&bytes), Ok(undo));
        for end in 0..bytes.len() {
            prop_assert!(BlockUndo::from_bytes(&bytes[..end]).is_err());
        }
    }

    #[test]
    fn random_bytes_are_no_harm(bytes in vec(any::<u8>(), 0..400)) {
        let spec = Chain::development().spec;
        drop(BlockUndo::from_bytes(&bytes));
        if let Some(found) = coinbase::commitment(&Script::from(bytes.clone())) {
            let again = coinbase::script_sig(found.height, &found.tag, &[]);
            prop_assert!(bytes.starts_with(again.as_bytes()));
        }
        drop(ChainSpec::from_toml(&String::from_utf8_lossy(&bytes)));
        if let Ok(transaction) = Transaction::from_bytes(&bytes) {
            drop(CheckedTransaction::check(transaction, &spec.limits()));
        }
        if let Ok(block) = Block::from_bytes(&bytes) {
            drop(CheckedBlock::check(block, &spec));
        }
    }

    /// Most of a real block with some bytes changed.
    #[test]
    fn altered_blocks_are_no_harm(changes in vec((any::<Index>(), any::<u8>()), 1..4)) {
        let mut chain = Chain::development();
        let payment = pay(&chain.allocation(1), 4, 1_000);
        let block = chain.block_on(&chain.tip(), &[payment]);
        let mut bytes = block.to_bytes();
        for (index, byte) in &changes {
            *index.get_mut(&mut bytes) = *byte;
        }
        if let Ok(altered) = Block::from_bytes(&bytes) {
            let accepted = chain.submit(&altered);
            // The only harmless changes are none, and other nonces and times that happen to work.
            prop_assert!(accepted.is_err() || altered.transactions == block.transactions);
        }
        prop_assert_eq!(&chain.utxos, &chain.rebuilt());
    }

    #[test]
    fn random_script_sigs_spend_nothing(
        bytes in vec(any::<u8>(), 0..200),
        multisig in any::<bool>(),
    ) {
        let chain = Chain::development();
        let mut payment = pay(&chain.allocation(1), 4, 1_000);
        payment.inputs[0].script_sig = Script::from(bytes);
        let mut output = chain.allocation(1).output;
        if multisig {
            let hash = pentad_crypto::script::script_hash(&output.script_pubkey);
            output.script_pubkey = pentad_crypto::Address::P2sh(hash).script_pubkey();
        }
        let transaction = CheckedTransaction::assume_valid(payment);
        prop_assert!(verify_signatures(transaction_signatures(&transaction, &[output])).is_err());
    }

    #[test]
    fn altered_specs_never_panic(index in any::<Index>(), byte in any::<u8>()) {
        let mut bytes = Chain::development().spec.to_toml().into_bytes();
        *index.get_mut(&mut bytes) = byte;
        drop(ChainSpec::from_toml(&String::from_utf8_lossy(&bytes)));
    }
}

#[test]
fn golden_undo_bytes() {
    let utxo = Utxo {
        output: TxOut { amount: Amount::COIN, script_pubkey: Script::from(vec![0x6a, 0x00]) },
        height: BlockHeight::new(200),
        from_coinbase: true,
    };
    let undo = BlockUndo { spent: vec![utxo] };
    let golden = [1, 0xfd, 0x91, 0x01, 0, 0xe1, 0xf5, 0x05, 0, 0, 0, 0, 2, 0x6a, 0];
    assert_eq!(undo.to_bytes(), golden);
}

#[test]
fn undo_data_of_another_block_is_refused() {
    let mut chain = Chain::development();
    let hash = chain.mine(&[pay(&chain.allocation(1), 4, 0)]);
    let body = &chain.bodies[&hash];
    let undone = disconnect(body, BlockHeight::new(1), &BlockUndo::default());
    assert_eq!(undone, Err(UndoError::Count { expected: 1, found: 0 }));
}
