//! A disk that is full, fails or writes in part, at each operation of the store.

use std::fs;
use std::io;
use std::path::Path;

use pentad_primitives::{Hash256, Transaction};
use tempfile::TempDir;

use crate::fail_point::{Armed, Fault, Point, arm};
use crate::log::{BlockLog, LogError, LogOptions, LogPosition, RecordKind};
use crate::tests::sample::{chain, extend};
use crate::{ChainStore, DataDir, RebuildReason, StoreError, StoreOptions, TransactionFile};

use Fault::{Fail, Full, Short};

fn once(point: Point, fault: Fault) {
    arm(Armed { point, fault, nth: 1 });
}

fn open_log(path: &Path) -> Result<BlockLog, LogError> {
    let options = LogOptions { segment_len: 300 };
    BlockLog::open(path, options, LogPosition::START).map(|(log, _)| log)
}

fn payloads(log: &BlockLog) -> Vec<u8> {
    let records = log.records(LogPosition::START);
    records.map(|record| record.expect("a sound record").1.payload[0]).collect()
}

fn io_kind(error: &LogError) -> io::ErrorKind {
    match error {
        LogError::Io { source, .. } => source.kind(),
        other => panic!("{other}"),
    }
}

#[test]
fn case_30_full_disk_leaves_the_log_as_it_was_and_it_goes_on_once_there_is_room() {
    for fault in [Full, Short] {
        let directory = TempDir::new().expect("a temporary directory");
        let mut log = open_log(directory.path()).expect("a new log");
        log.append(RecordKind::Block, &[1; 60]).expect("room");
        log.sync().expect("a working disk");
        once(Point::RecordAppend, fault);
        let error = log.append(RecordKind::Block, &[2; 60]).expect_err("no room");
        assert_eq!(io_kind(&error), io::ErrorKind::StorageFull, "{fault:?}");
        assert!(error.to_string().contains("000000.blocks"), "{error}");
        log.append(RecordKind::Undo, &[3; 40]).expect("room again");
        log.sync().expect("a working disk");
        assert_eq!(payloads(&log), [1, 3]);
        drop(log);
        assert_eq!(payloads(&open_log(directory.path()).expect("sound")), [1, 3], "{fault:?}");
    }
}

#[test]
fn case_30_full_disk_while_a_segment_begins_costs_nothing_that_was_durable() {
    let points = [
        (Point::SegmentCreate, Full),
        (Point::SegmentHeader, Full),
        (Point::SegmentHeader, Short),
        (Point::SegmentSync, Fail),
        (Point::SegmentDirectorySync, Fail),
    ];
    for (point, fault) in points {
        let directory = TempDir::new().expect("a temporary directory");
        let mut log = open_log(directory.path()).expect("a new log");
        for n in 1..=4 {
            log.append(RecordKind::Block, &[n; 60]).expect("room");
        }
        log.sync().expect("a working disk");
        assert!(log.end().offset >= 300, "the next record begins a segment");
        once(point, fault);
        log.append(RecordKind::Block, &[5; 60]).expect_err("no room");
        drop(log);
        let mut log = open_log(directory.path()).expect("sound");
        assert_eq!(payloads(&log), [1, 2, 3, 4], "{point:?}");
        log.append(RecordKind::Block, &[6; 60]).expect("room again");
        log.sync().expect("a working disk");
        assert_eq!(payloads(&log), [1, 2, 3, 4, 6], "{point:?}");
    }
}

#[test]
fn case_30_failed_fsync_refuses_every_write_from_then_on() {
    let directory = TempDir::new().expect("a temporary directory");
    let mut log = open_log(directory.path()).expect("a new log");
    log.append(RecordKind::Block, &[1; 60]).expect("room");
    once(Point::GroupSync, Fail);
    let error = log.sync().expect_err("a failing disk");
    assert!(matches!(&error, LogError::Io { action: "fsync", .. }), "{error}");
    // A second fsync would succeed and prove nothing.
    assert!(matches!(log.sync(), Err(LogError::Poisoned)));
    assert!(matches!(log.append(RecordKind::Block, &[2; 60]), Err(LogError::Poisoned)));
}

#[test]
fn case_30_failed_fsync_gives_readers_nothing() {
    let directory = TempDir::new().expect("a temporary directory");
    let data = DataDir::open(directory.path(), &Hash256::ZERO).expect("a free directory");
    let (mut store, _) = ChainStore::open(&data, &StoreOptions::default()).expect("a new store");
    let blocks = chain(3).0;
    extend(&mut store, &blocks[0]);
    store.commit().expect("a working disk");
    extend(&mut store, &blocks[1]);
    once(Point::GroupSync, Fail);
    assert!(matches!(store.commit(), Err(StoreError::Log(LogError::Io { .. }))));
    assert!(matches!(store.commit(), Err(StoreError::Log(LogError::Poisoned))));
    assert!(matches!(store.close(), Err(StoreError::Log(LogError::Poisoned))));
}

#[test]
fn read_error_is_no_damage_and_changes_nothing() {
    let directory = TempDir::new().expect("a temporary directory");
    let data = DataDir::open(directory.path(), &Hash256::ZERO).expect("a free directory");
    let (mut store, _) = ChainStore::open(&data, &StoreOptions::default()).expect("a new store");
    let blocks = chain(5).0;
    blocks.iter().for_each(|sampled| extend(&mut store, sampled));
    store.commit().expect("a working disk");
    let hash = blocks[3].block.block_hash();
    once(Point::LogRead, Fail);
    let error = store.block(&hash).expect_err("a failing disk");
    assert!(matches!(&error, StoreError::Log(LogError::Io { action: "read", .. })), "{error}");
    assert_eq!(store.block(&hash).expect("a working disk"), blocks[3].block);
    drop(store);

    // At the start a record that cannot be read must not pass for a torn tail.
    let log = directory.path().join("blocks").join("000000.blocks");
    let before = fs::read(&log).expect("readable");
    fs::remove_dir_all(directory.path().join("index")).expect("removable");
    for nth in [1, 4, 10] {
        arm(Armed { point: Point::LogRead, fault: Fail, nth });
        let error = ChainStore::open(&data, &StoreOptions::default()).expect_err("a failing disk");
        assert!(matches!(&error, StoreError::Log(LogError::Io { .. })), "{error}");
        assert_eq!(fs::read(&log).expect("readable"), before, "nothing is cut off");
    }
    let (store, _) = ChainStore::open(&data, &StoreOptions::default()).expect("a working disk");
    assert_eq!(store.entries().expect("works").len(), 5);
}

#[test]
fn case_31_engine_that_cannot_be_read_is_rebuilt() {
    let directory = TempDir::new().expect("a temporary directory");
    let data = DataDir::open(directory.path(), &Hash256::ZERO).expect("a free directory");
    let (mut store, _) = ChainStore::open(&data, &StoreOptions::default()).expect("a new store");
    chain(5).0.iter().for_each(|sampled| extend(&mut store, sampled));
    store.close().expect("a working disk");
    once(Point::EngineRead, Fail);
    let (store, recovery) =
        ChainStore::open(&data, &StoreOptions::default()).expect("the log is sound");
    assert_eq!(recovery.rebuilt, Some(RebuildReason::Damaged));
    assert_eq!(store.entries().expect("works").len(), 5);
}

#[test]
fn case_30_full_disk_under_the_index_says_so_and_the_log_keeps_all() {
    for point in [Point::EngineWrite, Point::EngineFlush] {
        let directory = TempDir::new().expect("a temporary directory");
        let data = DataDir::open(directory.path(), &Hash256::ZERO).expect("a free directory");
        let options = StoreOptions::default();
        let (mut store, _) = ChainStore::open(&data, &options).expect("a new store");
        chain(5).0.iter().for_each(|sampled| extend(&mut store, sampled));
        once(point, Full);
        assert!(matches!(store.close(), Err(StoreError::Index(_))), "{point:?}");
        let (store, _) = ChainStore::open(&data, &options).expect("the log is sound");
        assert_eq!(store.entries().expect("works").len(), 5);
    }
}

/// The record is written or not; its row goes down at the next start.
#[test]
fn case_30_failing_disk_leaves_a_block_with_its_certificate_or_without() {
    let directory = TempDir::new().expect("a temporary directory");
    let data = DataDir::open(directory.path(), &Hash256::ZERO).expect("a free directory");
    let options = StoreOptions::default();
    let (mut store, _) = ChainStore::open(&data, &options).expect("a new store");
    let blocks = chain(30).0;
    blocks.iter().for_each(|sampled| extend(&mut store, sampled));
    let hashes: Vec<_> = blocks.iter().map(|sampled| sampled.block.block_hash()).collect();
    for fault in [Full, Short] {
        once(Point::RecordAppend, fault);
        store.append_certificate(&hashes[0], b"certificate").expect_err("no room");
        assert_eq!(store.certificate(&hashes[0]).expect("stored"), None, "{fault:?}");
    }
    store.close().expect("room again");
    for (nth, hash) in (1..).zip(&hashes) {
        let (mut store, recovery) = ChainStore::open(&data, &options).expect("a sound log");
        assert_eq!(recovery.rebuilt, None);
        store.append_certificate(hash, b"certificate").expect("room");
        arm(Armed { point: Point::EngineWrite, fault: Fail, nth });
        let is_down = store.close().is_ok();
        let (store, _) = ChainStore::open(&data, &options).expect("a sound log");
        let certificate = store.certificate(hash).expect("stored");
        assert_eq!(certificate.as_deref(), Some(&b"certificate"[..]), "write {nth}");
        if is_down {
            assert!(nth > 2, "a descent is more than one write");
            return;
        }
    }
    panic!("no descent takes so many writes");
}

/// Old or new, never a part of either; and the next start finds its way.
#[test]
fn case_30_full_disk_while_format_is_written_leaves_the_old_one() {
    let points = [
        (Point::FormatWrite, Full),
        (Point::FormatWrite, Short),
        (Point::FormatSync, Fail),
        (Point::FormatRename, Full),
        (Point::FormatDirectorySync, Fail),
    ];
    let text = |version: u32| format!("format = {version}\nspec = {}\n", Hash256::ZERO);
    for (point, fault) in points {
        for old in [None, Some(1)] {
            let directory = TempDir::new().expect("a temporary directory");
            let file = directory.path().join("FORMAT");
            if let Some(old) = old {
                fs::write(&file, text(old)).expect("writable");
            }
            once(point, fault);
            let error = DataDir::open(directory.path(), &Hash256::ZERO).expect_err("no room");
            assert!(error.to_string().contains("FORMAT"), "{error}");
            let found = fs::read_to_string(&file).ok();
            let renamed = point == Point::FormatDirectorySync;
            // A migration goes one step at a time.
            let next = old.map_or(crate::DATA_FORMAT, |old| old + 1);
            let expected = if renamed { Some(text(next)) } else { old.map(text) };
            assert_eq!(found, expected, "{point:?} over {old:?}");
            DataDir::open(directory.path(), &Hash256::ZERO).expect("room again");
            let found = fs::read_to_string(&file).expect("readable");
            assert_eq!(found, text(crate::DATA_FORMAT));
        }
    }
}

#[test]
fn case_30_full_disk_leaves_the_saved_mempool_as_it_was() {
    let directory = TempDir::new().expect("a temporary directory");
    let data = DataDir::open(directory.path(), &Hash256::ZERO).expect("a free directory");
    let file = TransactionFile::new(&data);
    let transactions: Vec<Transaction> =
        chain(4).0.into_iter().flat_map(|sampled| sampled.block.transactions).collect();
    file.save(transactions[..2].iter()).expect("room");
    for (point, fault) in
        [(Point::MempoolWrite, Full), (Point::MempoolWrite, Short), (Point::MempoolRename, Fail)]
    {
        once(point, fault);
        file.save(transactions.iter()).expect_err("no room");
        assert_eq!(file.load().expect("sound"), transactions[..2], "{point:?} {fault:?}");
    }
    file.save(transactions.iter()).expect("room again");
    assert_eq!(file.load().expect("sound"), transactions);
}
