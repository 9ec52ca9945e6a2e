//! The safety log and its guard over whole files.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tempfile::TempDir;

use crate::safety_log::{
    GuardError, GuardMark, SafetyLog, SafetyLogError, SafetyRecords, SignGuard, SignPosition,
};

const OWNER: [u8; 32] = [7; 32];
/// Bytes in front of the first batch.
const HEADER_LEN: usize = 56;

struct Bed {
    directory: TempDir,
}

impl Bed {
    fn new() -> Self {
        Self { directory: TempDir::new().expect("a temporary directory") }
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("safety.log")
    }

    fn guard(&self) -> PathBuf {
        self.directory.path().join("guard")
    }

    fn open(&self) -> (SafetyLog, SafetyRecords) {
        SafetyLog::open(&self.log(), OWNER).expect("a sound log")
    }

    /// A log of three batches; the offsets at which they end.
    fn filled(&self) -> Vec<usize> {
        let (mut log, _) = self.open();
        let batches = [
            vec![b"one".to_vec()],
            vec![b"two".to_vec(), b"three".to_vec()],
            vec![b"four".to_vec()],
        ];
        let append = |batch: Vec<Vec<u8>>| {
            log.append(&batch).expect("a working disk");
            usize::try_from(log.bytes()).expect("small")
        };
        batches.into_iter().map(append).collect()
    }
}

fn texts(records: &SafetyRecords) -> Vec<&str> {
    records.records.iter().map(|record| str::from_utf8(record).expect("text")).collect()
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("readable");
    bytes[at] ^= 1;
    fs::write(path, bytes).expect("writable");
}

#[test]
fn batches_come_back_in_order_over_restarts() {
    let bed = Bed::new();
    let (log, found) = bed.open();
    assert_eq!((log.last(), found), (0, SafetyRecords::default()));
    drop(log);
    bed.filled();
    let (mut log, found) = bed.open();
    assert_eq!(texts(&found), ["one", "two", "three", "four"]);
    assert_eq!((log.last(), found.torn_bytes), (3, 0));
    log.append(&[b"five".to_vec()]).expect("a working disk");
    drop(log);
    let (log, found) = bed.open();
    assert_eq!(texts(&found), ["one", "two", "three", "four", "five"]);
    assert_eq!(log.last(), 4);
}

#[test]
fn an_append_is_one_fsync_however_many_records_it_has() {
    let bed = Bed::new();
    let (mut log, _) = bed.open();
    let before = log.fsyncs();
    log.append(&vec![b"vote".to_vec(); 100]).expect("a working disk");
    assert_eq!(log.fsyncs() - before, 1);
}

#[test]
fn case_29_torn_tail_is_cut_wherever_it_broke() {
    let whole = Bed::new();
    let ends = whole.filled();
    let bytes = fs::read(whole.log()).expect("readable");
    for cut in HEADER_LEN..bytes.len() {
        let bed = Bed::new();
        fs::write(bed.log(), &bytes[..cut]).expect("writable");
        let (mut log, found) = bed.open();
        let kept = ends.iter().filter(|end| **end <= cut).count();
        assert_eq!(log.last(), kept as u64, "cut at {cut}");
        let end = ends[..kept].last().copied().unwrap_or(HEADER_LEN);
        assert_eq!(found.torn_bytes, (cut - end) as u64, "cut at {cut}");
        log.append(&[b"next".to_vec()]).expect("a working disk");
        drop(log);
        assert_eq!(texts(&bed.open().1).last(), Some(&"next"), "cut at {cut}");
    }
}

#[test]
fn case_29_flipped_bit_in_the_middle_stops_the_start_and_names_batch_and_remedy() {
    let whole = Bed::new();
    let ends = whole.filled();
    let bytes = fs::read(whole.log()).expect("readable");
    for at in HEADER_LEN..ends[1] {
        let bed = Bed::new();
        fs::write(bed.log(), &bytes).expect("writable");
        flip(&bed.log(), at);
        let error = SafetyLog::open(&bed.log(), OWNER).expect_err("damaged");
        let expected = if at < ends[0] { 1 } else { 2 };
        let text = error.to_string();
        let SafetyLogError::Damaged { batch, offset, .. } = error else { panic!("{text}") };
        let start = if expected == 1 { HEADER_LEN } else { ends[0] };
        assert_eq!((batch, offset), (expected, start as u64), "bit at {at}");
        for word in ["safety.log", "must not vote", "restore", "new key"] {
            assert!(text.contains(word), "{word}: {text}");
        }
        assert_eq!(fs::read(bed.log()).expect("readable").len(), bytes.len(), "nothing was cut");
    }
}

#[test]
fn a_missing_batch_in_the_middle_is_damage() {
    let bed = Bed::new();
    let ends = bed.filled();
    let mut bytes = fs::read(bed.log()).expect("readable");
    bytes.drain(ends[0]..ends[1]);
    fs::write(bed.log(), bytes).expect("writable");
    let error = SafetyLog::open(&bed.log(), OWNER).expect_err("damaged");
    assert!(matches!(error, SafetyLogError::Damaged { batch: 2, .. }), "{error}");
}

#[test]
fn a_header_that_is_not_ours_is_refused_by_name() {
    let bed = Bed::new();
    bed.filled();
    let error = SafetyLog::open(&bed.log(), [8; 32]).expect_err("another owner");
    assert!(matches!(error, SafetyLogError::Owner { .. }), "{error}");
    flip(&bed.log(), 30);
    let error = SafetyLog::open(&bed.log(), OWNER).expect_err("damaged");
    assert!(matches!(error, SafetyLogError::Header { .. }), "{error}");
    fs::write(bed.log(), "").expect("writable");
    let error = SafetyLog::open(&bed.log(), OWNER).expect_err("emptied");
    assert!(matches!(error, SafetyLogError::Header { .. }), "{error}");
}

#[test]
fn a_compacted_log_keeps_its_count_and_its_id() {
    let bed = Bed::new();
    bed.filled();
    let (mut log, _) = bed.open();
    let (id, before) = (log.id(), log.bytes());
    log.compact(&[b"checkpoint".to_vec()]).expect("a working disk");
    assert!(log.bytes() < before);
    log.append(&[b"after".to_vec()]).expect("a working disk");
    drop(log);
    let (log, found) = bed.open();
    assert_eq!(texts(&found), ["checkpoint", "after"]);
    assert_eq!((log.last(), log.id()), (5, id));
    assert_eq!(fs::read_dir(bed.directory.path()).expect("listed").count(), 1);
}

#[test]
fn what_an_interrupted_compaction_left_is_removed() {
    let bed = Bed::new();
    bed.filled();
    fs::write(bed.log().with_extension("log.new"), "half").expect("writable");
    assert_eq!(texts(&bed.open().1), ["one", "two", "three", "four"]);
    assert_eq!(fs::read_dir(bed.directory.path()).expect("listed").count(), 1);
}

fn mark(log: u64, batch: u64) -> GuardMark {
    GuardMark { log, batch, position: SignPosition { view: 3, sequence: batch, phase: 2 } }
}

#[test]
fn golden_bytes_of_a_guard() {
    let bed = Bed::new();
    drop(SignGuard::create(&bed.guard(), mark(0x0807_0605_0403_0201, 9)).expect("written"));
    let bytes = fs::read(bed.guard()).expect("readable");
    assert_eq!(bytes.len(), 64);
    assert_eq!(bytes[..20], *b"PENTADSG\x01\0\0\0\x01\x02\x03\x04\x05\x06\x07\x08");
    assert_eq!(bytes[20..36], *b"\x09\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0");
    assert_eq!(bytes[36..60], *b"\x09\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    assert_eq!(bytes[60..], crc32c::crc32c(&bytes[..60]).to_le_bytes());
}

#[test]
fn a_guard_survives_a_torn_write_of_either_slot() {
    let bed = Bed::new();
    assert!(SignGuard::open(&bed.guard()).expect("no file is no error").is_none());
    let mut guard = SignGuard::create(&bed.guard(), mark(1, 0)).expect("written");
    for batch in 1..=6 {
        guard.advance(mark(1, batch)).expect("a working disk");
        let opened = SignGuard::open(&bed.guard()).expect("sound").expect("there");
        assert_eq!(opened.mark(), mark(1, batch));
        let sound = fs::read(bed.guard()).expect("readable");
        flip(&bed.guard(), if batch % 2 == 0 { 40 } else { 552 });
        let opened = SignGuard::open(&bed.guard()).expect("the other slot").expect("there");
        assert_eq!(opened.mark(), mark(1, batch - 1));
        flip(&bed.guard(), if batch % 2 == 0 { 552 } else { 40 });
        let error = SignGuard::open(&bed.guard()).expect_err("damaged");
        assert!(matches!(error, GuardError::Damaged { .. }), "{error}");
        fs::write(bed.guard(), sound).expect("writable");
    }
}

#[test]
fn case_57_restored_old_backup_of_the_log_is_behind_its_guard() {
    let bed = Bed::new();
    let (mut log, _) = bed.open();
    let mut guard = SignGuard::create(&bed.guard(), mark(log.id(), 0)).expect("written");
    let mut vote = |log: &mut SafetyLog| {
        log.append(&[b"vote".to_vec()]).expect("a working disk");
        guard.advance(mark(log.id(), log.last())).expect("a working disk");
    };
    vote(&mut log);
    let backup = fs::read(bed.log()).expect("readable");
    vote(&mut log);
    drop(log);
    let admitted = || {
        let (log, _) = bed.open();
        let guard = SignGuard::open(&bed.guard()).expect("sound").expect("there");
        guard.admit(log.id(), log.last())
    };
    admitted().expect("the latest log");
    fs::write(bed.log(), backup).expect("restored");
    let error = admitted().expect_err("an old copy");
    assert!(matches!(error, GuardError::Behind { log: 1, .. }), "{error}");
    assert!(error.to_string().contains("the commit of sequence 2 in view 3"), "{error}");
    fs::remove_file(bed.log()).expect("lost");
    let error = admitted().expect_err("another log");
    assert!(matches!(error, GuardError::OtherLog { .. }), "{error}");
}

proptest! {
    /// Whatever stands in the file: a start ends with records or an error, never otherwise.
    #[test]
    fn any_bytes_are_read_or_refused(tail in proptest::collection::vec(any::<u8>(), 0..300)) {
        let bed = Bed::new();
        bed.filled();
        let mut bytes = fs::read(bed.log()).expect("readable");
        bytes.extend_from_slice(&tail);
        fs::write(bed.log(), &bytes).expect("writable");
        let (log, found) = bed.open();
        prop_assert_eq!(log.last(), 3);
        prop_assert_eq!(found.torn_bytes, tail.len() as u64);
        fs::write(bed.log(), &tail).expect("writable");
        prop_assert!(SafetyLog::open(&bed.log(), OWNER).is_err());
    }
}
