use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::*;

fn signed(text: &str) -> Event {
    Event::MessageSigned { address: "1a".to_owned(), sha256: text.to_owned() }
}

/// Entries of the last file, or of all.
#[derive(Clone, Default)]
pub(super) struct Seen(Vec<Entry>);

impl Summary for Seen {
    fn note(&mut self, entry: &Entry) {
        self.0.push(entry.clone());
    }

    fn carried(&self, _: u64) -> Vec<(String, Event)> {
        Vec::new()
    }
}

fn open(path: &Path) -> Result<(AuditLog, Vec<Recorded>), AuditError> {
    let (log, Seen(seen)) = AuditLog::open(path.to_owned(), Seen::default())?;
    let all = read_all(&log);
    assert_eq!(all.iter().map(|recorded| recorded.entry.clone()).collect::<Vec<_>>(), seen);
    Ok((log, all))
}

pub(super) fn read_all(log: &AuditLog) -> Vec<Recorded> {
    let mut all = Vec::new();
    log.read(1, |recorded| {
        all.push(recorded);
        true
    })
    .expect("readable");
    all
}

fn events(seen: &[Recorded]) -> Vec<String> {
    seen.iter().map(|recorded| recorded.entry.event.name()).collect()
}

/// A log of five entries, each synced alone.
async fn five(path: &Path) -> Vec<Recorded> {
    let (log, _) = open(path).expect("opens");
    let wallet = "alice".parse().expect("a name");
    for text in ["a", "b", "c", "d"] {
        log.append(Some(&wallet), signed(text)).await.expect("written");
    }
    assert_eq!(log.verify(None).expect("whole"), log.head());
    let all = read_all(&log);
    assert_eq!(
        events(&all),
        ["opened", "message-signed", "message-signed", "message-signed", "message-signed"]
    );
    all
}

fn line_ends(bytes: &[u8]) -> Vec<usize> {
    (1..).zip(bytes).filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at).collect()
}

#[tokio::test]
async fn entries_come_back_in_order_and_reading_may_begin_anywhere() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("audit.log");
    let before = five(&path).await;
    let (log, seen) = open(&path).expect("opens again");
    assert_eq!(seen[..5], before);
    assert_eq!(events(&seen[5..]), ["opened"]);
    let wallet = "alice".parse().expect("a name");
    for _ in 0..30 {
        let appended = (0..100).map(|_| log.append(Some(&wallet), signed("x")));
        futures_util::future::try_join_all(appended).await.expect("written");
    }
    for first in [1, 6, 1023, 1024, 1025, 1026, 2048, 2999] {
        let mut numbers = Vec::new();
        log.read(first, |recorded| {
            numbers.push(recorded.entry.number);
            numbers.len() < 3
        })
        .expect("readable");
        assert_eq!(numbers, [first, first + 1, first + 2]);
    }
    log.read(log.head().number + 1, |_| panic!("behind the last")).expect("readable");
}

/// Whoever has SHA-256 can check the chain.
#[tokio::test]
async fn the_chain_is_what_the_docs_say() {
    use sha2::{Digest as _, Sha256};
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("audit.log");
    five(&path).await;
    let mut before = [0; 32];
    for line in fs::read_to_string(&path).expect("text").lines() {
        let (hash, json) = line.split_once(' ').expect("a space");
        let mut bytes = before.to_vec();
        bytes.extend_from_slice(json.as_bytes());
        before = Sha256::digest(&bytes).into();
        assert_eq!(hash, hex::encode(before));
    }
}

#[tokio::test]
async fn a_torn_tail_is_cut_and_noted() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("audit.log");
    let before = five(&path).await;
    let whole = fs::read(&path).expect("readable");
    let ends = line_ends(&whole);
    for cut in ends[3] + 1..whole.len() {
        fs::write(&path, &whole[..cut]).expect("writable");
        let (log, seen) = open(&path).expect("opens");
        assert_eq!(seen[..4], before[..4]);
        assert_eq!(events(&seen[4..]), ["tail-cut", "opened"], "cut at {cut}");
        let Event::TailCut { bytes, .. } = seen[4].entry.event else { panic!("a cut") };
        assert_eq!(bytes, (cut - ends[3]) as u64);
        assert_eq!(log.verify(None).expect("whole").number, 6);
    }
    // Cut between two entries nothing is torn.
    fs::write(&path, &whole[..ends[3]]).expect("writable");
    assert_eq!(events(&open(&path).expect("opens").1[4..]), ["opened"]);
}

#[tokio::test]
async fn a_torn_batch_goes_from_its_first_bad_line_on() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("audit.log");
    five(&path).await;
    let whole = fs::read(&path).expect("readable");
    // A batch of three entries, whose second never reached the disk though the third did.
    let mut written = line::LineHash::START;
    let mut bytes = Vec::new();
    for line in whole.split_inclusive(|byte| *byte == b'\n') {
        written = line::read(line, written).expect("whole").1;
    }
    for number in 6..9 {
        let wallet = String::new();
        let entry = Entry { number, time: 0, durable: 5, wallet, event: signed("x") };
        written = line::write(&mut bytes, written, &entry);
    }
    let ends = line_ends(&bytes);
    bytes[ends[0]..ends[1]].fill(0);
    fs::write(&path, [whole, bytes].concat()).expect("writable");
    let (_, seen) = open(&path).expect("opens");
    assert_eq!(events(&seen[5..]), ["message-signed", "tail-cut", "opened"]);
}

#[tokio::test]
async fn every_flipped_bit_in_the_middle_is_reported() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("audit.log");
    five(&path).await;
    let whole = fs::read(&path).expect("readable");
    let ends = line_ends(&whole);
    for at in 0..ends[3] {
        let mut altered = whole.clone();
        altered[at] ^= 1;
        fs::write(&path, &altered).expect("writable");
        let due = 1 + ends.iter().filter(|end| **end <= at).count() as u64;
        match open(&path) {
            Err(AuditError::Damaged { number, .. }) => assert_eq!(number, due, "byte {at}"),
            other => panic!("byte {at}: {other:?}"),
        }
        assert_eq!(fs::read(&path).expect("readable"), altered, "left as it is");
    }
}

#[tokio::test]
async fn entries_missing_or_exchanged_in_the_middle_are_reported() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("audit.log");
    five(&path).await;
    let whole = fs::read(&path).expect("readable");
    let lines: Vec<_> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    for order in [[0, 1, 3, 4].as_slice(), &[1, 2, 3, 4], &[0, 2, 1, 3, 4], &[0, 1, 1, 2, 3, 4]] {
        let altered: Vec<_> = order.iter().map(|index| lines[*index]).collect();
        fs::write(&path, altered.concat()).expect("writable");
        assert!(matches!(open(&path), Err(AuditError::Damaged { .. })), "{order:?}");
    }
}

/// While the service runs it knows where the log ends: nothing passes for a torn tail.
#[tokio::test]
async fn verify_finds_what_was_altered_under_a_running_service() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("audit.log");
    let (log, _) = open(&path).expect("opens");
    for text in ["a", "b"] {
        log.append(None, signed(text)).await.expect("written");
    }
    let noted = log.verify(None).expect("whole");
    let hash = noted.hash.to_string();
    let whole = fs::read(&path).expect("readable");
    for at in 0..whole.len() {
        let mut altered = whole.clone();
        altered[at] ^= 1;
        fs::write(&path, &altered).expect("writable");
        assert!(matches!(log.verify(None), Err(AuditError::Damaged { .. })), "byte {at}");
    }
    fs::write(&path, &whole[..line_ends(&whole)[1]]).expect("writable");
    let error = log.verify(None).expect_err("the last entry is gone");
    assert!(error.to_string().contains("the file ends there"), "{error}");
    fs::write(&path, &whole).expect("writable");
    // Who noted an entry sees that it is there still.
    assert_eq!(log.verify(Some((noted.number, &hash))).expect("the same"), noted);
    for known in [(noted.number - 1, hash.as_str()), (noted.number + 1, &hash)] {
        assert!(matches!(log.verify(Some(known)), Err(AuditError::OtherLog { .. })));
    }
}

/// Entries of many callers at one time share a sync: they name the same durable entry.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_one_time_share_a_sync() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("audit.log");
    let log = Arc::new(open(&path).expect("opens").0);
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let log = Arc::clone(&log);
        callers.spawn(async move {
            for _ in 0..20 {
                log.append(None, signed("x")).await.expect("written");
            }
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended.expect("no caller panicked");
    }
    let mut syncs = std::collections::BTreeSet::new();
    let each = |recorded: Recorded| {
        syncs.insert(recorded.entry.durable);
        true
    };
    log.read(2, each).expect("readable");
    assert_eq!(log.head().number, 1 + 64 * 20);
    assert!(syncs.len() < 64 * 20 / 4, "{} syncs for {} entries", syncs.len(), 64 * 20);
}

#[tokio::test]
async fn a_log_that_cannot_be_written_takes_no_more() {
    // Every write to this device fails for want of room.
    let file = fs::OpenOptions::new().append(true).open("/dev/full").expect("Linux has it");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("audit.log");
    let (log, _) = open(&path).expect("opens");
    let (written, summary) = (Arc::clone(&log.written), Seen::default());
    let writer = super::log::Writer { file, written, summary, segment_bytes: u64::MAX };
    let log = AuditLog::start(writer).expect("starts");
    for _ in 0..2 {
        let error = log.append(None, signed("x")).await.expect_err("no room");
        assert!(matches!(error, AuditError::Poisoned(_)), "{error}");
    }
    assert_eq!(log.head().number, 1);
}
