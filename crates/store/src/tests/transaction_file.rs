use std::fs;

use pentad_primitives::{Amount, Hash256, OutPoint, Script, Transaction, TxIn, TxOut, Txid};
use tempfile::TempDir;

use crate::tests::sample::chain;
use crate::{DataDir, TransactionFile, TransactionFileError};

#[test]
fn saved_transactions_come_back_and_damage_is_noticed() {
    let directory = TempDir::new().expect("a temporary directory");
    let data = DataDir::open(directory.path(), &Hash256::ZERO).expect("a free directory");
    let file = TransactionFile::new(&data);
    assert_eq!(file.load().expect("no file is no error"), []);
    let (blocks, _) = chain(9);
    let transactions: Vec<_> = blocks.iter().flat_map(|it| it.block.transactions.clone()).collect();
    file.save(transactions.iter()).expect("a working disk");
    assert_eq!(file.load().expect("sound"), transactions);
    file.save([].iter()).expect("a working disk");
    assert_eq!(file.load().expect("sound"), []);

    file.save(transactions.iter()).expect("a working disk");
    let path = directory.path().join("mempool");
    let bytes = fs::read(&path).expect("readable");
    for at in (0..bytes.len()).step_by(11) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 4;
        fs::write(&path, &damaged).expect("writable");
        assert!(matches!(file.load(), Err(TransactionFileError::Damaged { .. })), "at {at}");
        fs::write(&path, &bytes[..at]).expect("writable");
        assert!(matches!(file.load(), Err(TransactionFileError::Damaged { .. })), "cut at {at}");
    }
}

#[test]
fn golden_bytes() {
    let directory = TempDir::new().expect("a temporary directory");
    let data = DataDir::open(directory.path(), &Hash256::ZERO).expect("a free directory");
    let script = |byte: u8| Script::from(vec![byte]);
    let previous_output = OutPoint { txid: Txid::from_bytes([7; 32]), vout: 2 };
    let input = TxIn { previous_output, script_sig: script(0x51), sequence: u32::MAX };
    let amount = Amount::from_units(5).expect("small");
    let output = TxOut { amount, script_pubkey: script(0x52) };
    let transaction =
        Transaction { version: 1, inputs: vec![input], outputs: vec![output], lock_time: 0 };
    let file = TransactionFile::new(&data);
    file.save([&transaction].into_iter()).expect("a working disk");
    let expected = [
        &b"PENTADMP\x01\0\0\0\x01\0\0\0\x3e\0\0\0"[..],
        b"\x01\0\0\0\x01",
        &[7; 32],
        b"\x02\0\0\0\x01\x51\xff\xff\xff\xff",
        b"\x01\x05\0\0\0\0\0\0\0\x01\x52\0\0\0\0",
        // CRC32C of all before.
        b"\x8f\xfb\x90\xcd",
    ];
    let bytes = fs::read(directory.path().join("mempool")).expect("readable");
    assert_eq!(bytes, expected.concat());
    assert_eq!(file.load().expect("sound"), [transaction]);
}
