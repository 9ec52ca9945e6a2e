use std::fs;

use pentad_primitives::Hash256;
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
