//! A log of several files.

use std::fs;
use std::path::{Path, PathBuf};

use super::tests::read_all;
use super::*;

/// Bytes after which a file is followed by the next one: some ten entries.
const SEGMENT_BYTES: u64 = 2_000;

/// How many texts each wallet has signed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Counts(std::collections::BTreeMap<String, u64>);

impl Summary for Counts {
    fn note(&mut self, entry: &Entry) {
        let count = self.0.entry(entry.wallet.clone()).or_default();
        match &entry.event {
            Event::MessageSigned { .. } => *count += 1,
            Event::Carried { spent, .. } => *count = spent.iter().map(|(_, count)| count).sum(),
            _ => {}
        }
    }

    fn carried(&self, _: u64) -> Vec<(String, Event)> {
        let carried = |count: &u64| Event::Carried { spent: vec![(0, *count)], policy: None };
        self.0.iter().map(|(wallet, count)| (wallet.clone(), carried(count))).collect()
    }
}

fn open(path: &Path) -> Result<(AuditLog, Counts), AuditError> {
    AuditLog::open_with(path.to_owned(), Counts::default(), SEGMENT_BYTES)
}

async fn sign(log: &AuditLog, wallet: &str) {
    let wallet = wallet.parse().expect("a name");
    let (address, sha256) = ("1a".to_owned(), "00".to_owned());
    log.append(Some(&wallet), Event::MessageSigned { address, sha256 }).await.expect("written");
}

fn file(path: &Path, number: u32) -> PathBuf {
    match number {
        1 => path.to_owned(),
        _ => PathBuf::from(format!("{}.{number}", path.display())),
    }
}

/// A log of so many files, the last one with more than its head; and its directory.
async fn long(files: u32) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("audit.log");
    let (log, _) = open(&path).expect("opens");
    while !file(&path, files).exists() {
        sign(&log, "alice").await;
        sign(&log, "bob").await;
    }
    sign(&log, "bob").await;
    (directory, path)
}

fn damaged_at(outcome: Result<Head, AuditError>) -> PathBuf {
    match outcome {
        Err(AuditError::Damaged { path, .. }) => path,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn numbers_and_hashes_go_on_over_all_files() {
    let (_directory, path) = long(4).await;
    let (log, counts) = open(&path).expect("opens again");
    let all = read_all(&log);
    assert_eq!(log.verify(None).expect("whole"), log.head());
    assert_eq!(all.len() as u64, log.head().number);
    assert!((1..).zip(&all).all(|(number, recorded)| recorded.entry.number == number));
    let mut expected = Counts::default();
    let signed = all.iter().filter(|it| matches!(it.entry.event, Event::MessageSigned { .. }));
    signed.for_each(|recorded| expected.note(&recorded.entry));
    for wallet in ["alice", "bob"] {
        assert_eq!(counts.0.get(wallet), expected.0.get(wallet), "{wallet}");
    }
    // From any entry on, and to the end.
    for first in 1..=log.head().number + 1 {
        let mut found = Vec::new();
        let each = |recorded: Recorded| {
            found.push(recorded);
            true
        };
        log.read(first, each).expect("readable");
        assert_eq!(found, all[usize::try_from(first).expect("small") - 1..]);
    }
    // Whoever noted an entry of the first file finds it there.
    let noted = all[3].hash.to_string();
    log.verify(Some((4, &noted))).expect("it is there");
    assert!(matches!(log.verify(Some((5, &noted))), Err(AuditError::OtherLog { .. })));
}

/// The start does not depend on how long the log is; the check reads all of it.
#[tokio::test]
async fn only_the_last_file_is_read_at_the_start() {
    let (_directory, path) = long(4).await;
    let (_, counts) = open(&path).expect("opens");
    let middle = file(&path, 2);
    let mut altered = fs::read(&middle).expect("readable");
    let at = altered.len() / 2;
    altered[at] ^= 1;
    fs::write(&middle, &altered).expect("writable");
    let (log, again) = open(&path).expect("opens all the same");
    assert_eq!(again, counts);
    assert_eq!(damaged_at(log.verify(None)), middle);
}

/// The end of one file and the head of the next one count as all else.
#[tokio::test]
async fn nothing_is_altered_across_the_end_of_a_file_unnoticed() {
    let (_directory, path) = long(3).await;
    let verify = || open(&path).and_then(|(log, _)| log.verify(None));
    verify().expect("whole");
    // What an opening appends goes again, so that all are alike.
    let last = file(&path, 3);
    let whole = fs::read(&last).expect("readable");
    for (number, is_end) in [(1, true), (2, false), (2, true), (3, false)] {
        let path = file(&path, number);
        let bytes = fs::read(&path).expect("readable");
        let places = if is_end { bytes.len() - 250..bytes.len() } else { 0..450 };
        for at in places.step_by(7) {
            let mut altered = bytes.clone();
            altered[at] ^= 1;
            fs::write(&path, &altered).expect("writable");
            damaged_at(verify());
            fs::write(&path, &bytes).expect("writable");
            fs::write(&last, &whole).expect("writable");
        }
    }
    verify().expect("whole again");
}

#[tokio::test]
async fn entries_cut_added_or_moved_across_the_end_of_a_file_are_missed() {
    let (_directory, path) = long(3).await;
    let second = file(&path, 2);
    let bytes = fs::read(&second).expect("readable");
    let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    let less = lines[..lines.len() - 1].concat();
    let more = [&bytes[..], lines[lines.len() - 1]].concat();
    for altered in [less, more, Vec::new()] {
        fs::write(&second, altered).expect("writable");
        damaged_at(open(&path).and_then(|(log, _)| log.verify(None)));
    }
    fs::remove_file(&second).expect("there");
    let error = open(&path).map(|(log, _)| log.head()).expect_err("a file is missing");
    assert!(error.to_string().contains("the file ends there"), "{error}");
    fs::write(&second, &bytes).expect("writable");
    let head = open(&path).expect("opens").0.head();
    // What was cut off the end is missed by whoever noted an entry.
    fs::remove_file(file(&path, 3)).expect("there");
    let (log, _) = open(&path).expect("opens");
    let noted = log.verify(Some((head.number, &head.hash.to_string()))).expect_err("cut off");
    assert!(matches!(noted, AuditError::OtherLog { .. }), "{noted}");
}

/// A crash while a file begins: nothing else was in it, so that it begins once more.
#[tokio::test]
async fn a_torn_head_is_written_again() {
    let (_directory, path) = long(3).await;
    let last = file(&path, 3);
    let whole = fs::read(&last).expect("readable");
    let (log, counts) = open(&path).expect("opens");
    drop(log);
    let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    // Continued, and what is carried: of alice, of bob, of no wallet.
    let head = lines[..4].concat();
    let carried = open(&path).expect("opens").0.head().number;
    for cut in 0..head.len() {
        fs::write(&last, &head[..cut]).expect("writable");
        let (log, again) = open(&path).expect("opens");
        log.verify(None).expect("whole");
        assert!(log.head().number < carried);
        assert_eq!(again.0["alice"], counts.0["alice"]);
    }
    // Behind a head that is not whole stand no entries: then it is none that a crash tore.
    let mut altered = whole.clone();
    altered[70] ^= 1;
    fs::write(&last, &altered).expect("writable");
    let error = open(&path).map(|(log, _)| log.head()).expect_err("altered");
    assert!(matches!(error, AuditError::Damaged { .. }), "{error}");
    assert_eq!(fs::read(&last).expect("readable"), altered, "left as it is");
}
