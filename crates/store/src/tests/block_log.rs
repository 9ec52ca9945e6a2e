use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::log::{BlockLog, LogError, LogOptions, LogPosition, Record, RecordKind};

fn open(directory: &Path) -> BlockLog {
    reopen(directory).expect("a sound log").0
}

fn reopen(directory: &Path) -> Result<(BlockLog, Option<crate::log::TornTail>), LogError> {
    BlockLog::open(directory, LogOptions::default(), LogPosition::START)
}

fn contents(log: &BlockLog) -> Vec<Vec<u8>> {
    log.records(LogPosition::START)
        .map(|record| record.expect("a sound record").1.payload)
        .collect()
}

fn segment(directory: &TempDir, number: u32) -> PathBuf {
    directory.path().join(format!("{number:06}.blocks"))
}

/// A log of five synced records, and where each starts.
fn five_records(directory: &Path) -> Vec<LogPosition> {
    let mut log = open(directory);
    let positions = (0..5_u8).map(|n| {
        let position = log.append(RecordKind::Block, &vec![n; 100 * (usize::from(n) + 1)]);
        log.sync().expect("a working disk");
        position.expect("a working disk")
    });
    positions.collect()
}

#[test]
fn records_come_back_in_order_after_reopening() {
    let directory = TempDir::new().expect("a temporary directory");
    let positions = five_records(directory.path());
    let (log, torn) = reopen(directory.path()).expect("a sound log");
    assert_eq!(torn, None);
    assert_eq!(contents(&log).iter().map(Vec::len).collect::<Vec<_>>(), [100, 200, 300, 400, 500]);
    let third = log.reader().read(positions[2]).expect("a sound record");
    assert_eq!(third, Record { kind: RecordKind::Block, payload: vec![2; 300] });
    assert_eq!(log.reader().read_part(positions[2], 10, 5).expect("within"), [2; 5]);
    assert!(log.reader().read_part(positions[4], 10, 5000).is_err());
}

#[test]
fn segments_rotate_and_read_across() {
    let directory = TempDir::new().expect("a temporary directory");
    let options = LogOptions { segment_len: 150 };
    let (mut log, _) =
        BlockLog::open(directory.path(), options, LogPosition::START).expect("a new log");
    for n in 0..20_u8 {
        log.append(RecordKind::Undo, &[n; 40]).expect("a working disk");
    }
    log.sync().expect("a working disk");
    assert!(log.end().segment >= 5, "only {} segments", log.end().segment);
    let (log, torn) =
        BlockLog::open(directory.path(), options, LogPosition::START).expect("a sound log");
    assert_eq!(torn, None);
    assert_eq!(contents(&log), (0..20_u8).map(|n| vec![n; 40]).collect::<Vec<_>>());
    let middle = LogPosition { segment: 2, ..LogPosition::START };
    assert!(log.records(middle).count() < 20);
}

#[test]
fn torn_tail_is_cut_at_every_length_and_reported() {
    let original = TempDir::new().expect("a temporary directory");
    let positions = five_records(original.path());
    let bytes = fs::read(segment(&original, 0)).expect("a readable file");
    let last = positions[4].offset;
    for length in (last as usize..bytes.len()).step_by(7) {
        let directory = TempDir::new().expect("a temporary directory");
        fs::write(segment(&directory, 0), &bytes[..length]).expect("a writable file");
        let (mut log, torn) = reopen(directory.path()).expect("a torn tail is no error");
        match torn {
            Some(torn) => {
                assert_eq!((torn.offset, torn.bytes), (last, length as u64 - u64::from(last)))
            }
            None => assert_eq!(length, last as usize),
        }
        assert_eq!(contents(&log).len(), 4);
        log.append(RecordKind::Block, b"again").expect("a working disk");
        log.sync().expect("a working disk");
        assert_eq!(contents(&open(directory.path()))[4], b"again");
    }
}

#[test]
fn torn_group_of_unsynced_records_is_cut_whole() {
    let directory = TempDir::new().expect("a temporary directory");
    let mut log = open(directory.path());
    log.append(RecordKind::Block, &[1; 100]).expect("a working disk");
    log.sync().expect("a working disk");
    let group = log.append(RecordKind::Block, &[2; 100]).expect("a working disk");
    log.append(RecordKind::Undo, &[3; 100]).expect("a working disk");
    drop(log);
    // The power went before the sync: the second record of the group reached the disk, the
    // first did not.
    let mut bytes = fs::read(segment(&directory, 0)).expect("a readable file");
    bytes[group.offset as usize..][..117].fill(0);
    fs::write(segment(&directory, 0), &bytes).expect("a writable file");
    let (log, torn) = reopen(directory.path()).expect("unsynced records may go");
    assert_eq!(torn.map(|torn| torn.offset), Some(group.offset));
    assert_eq!(contents(&log), [vec![1; 100]]);
}

#[test]
fn flipped_byte_in_the_middle_stops_the_start_and_is_named() {
    let original = TempDir::new().expect("a temporary directory");
    let positions = five_records(original.path());
    let bytes = fs::read(segment(&original, 0)).expect("a readable file");
    for at in positions[1].offset..positions[2].offset {
        let directory = TempDir::new().expect("a temporary directory");
        let mut damaged = bytes.clone();
        damaged[at as usize] ^= 0x10;
        fs::write(segment(&directory, 0), &damaged).expect("a writable file");
        let error = reopen(directory.path()).expect_err("damage must not pass");
        let LogError::Damaged { file, offset, .. } = &error else { panic!("at {at}: {error}") };
        assert_eq!(*file, segment(&directory, 0));
        assert_eq!(*offset, u64::from(positions[1].offset), "at {at}");
        assert!(error.to_string().contains("restore"), "no remedy in: {error}");
        assert_eq!(fs::read(segment(&directory, 0)).expect("a readable file"), damaged);
    }
}

#[test]
fn damage_behind_the_checked_part_only_is_searched_for() {
    let directory = TempDir::new().expect("a temporary directory");
    let positions = five_records(directory.path());
    let mut bytes = fs::read(segment(&directory, 0)).expect("a readable file");
    bytes[positions[1].offset as usize + 30] ^= 1;
    fs::write(segment(&directory, 0), &bytes).expect("a writable file");
    let (log, _) = BlockLog::open(directory.path(), LogOptions::default(), positions[3])
        .expect("the part that is read is sound");
    // It is noticed where it is read.
    assert!(matches!(log.reader().read(positions[1]), Err(LogError::Damaged { .. })));
    assert!(log.reader().read(positions[2]).is_ok());
}

#[test]
fn log_shorter_than_checked_is_a_lost_tail() {
    let directory = TempDir::new().expect("a temporary directory");
    let positions = five_records(directory.path());
    let bytes = fs::read(segment(&directory, 0)).expect("a readable file");
    fs::write(segment(&directory, 0), &bytes[..positions[2].offset as usize])
        .expect("a writable file");
    let opened = BlockLog::open(directory.path(), LogOptions::default(), positions[4]);
    assert!(matches!(opened, Err(LogError::LostTail { .. })));
}

#[test]
fn missing_and_unfinished_segments() {
    let directory = TempDir::new().expect("a temporary directory");
    let options = LogOptions { segment_len: 150 };
    let open = || BlockLog::open(directory.path(), options, LogPosition::START);
    let mut log = open().expect("a new log").0;
    for n in 0..9_u8 {
        log.append(RecordKind::Block, &[n; 100]).expect("a working disk");
    }
    log.sync().expect("a working disk");
    let last = log.end().segment;
    drop(log);

    // A crash while the next segment was being created leaves a stub, which goes.
    fs::write(segment(&directory, last + 1), b"PENTA").expect("a writable file");
    let (log, torn) = open().expect("a stub is no damage");
    assert_eq!(torn.map(|torn| torn.file), Some(segment(&directory, last + 1)));
    assert_eq!(contents(&log).len(), 9);
    drop(log);

    fs::remove_file(segment(&directory, 1)).expect("a removable file");
    let error = open().expect_err("a hole in the log");
    assert!(matches!(&error, LogError::MissingSegment { file } if *file == segment(&directory, 1)));
}

#[test]
fn segment_of_another_version_is_refused() {
    let directory = TempDir::new().expect("a temporary directory");
    five_records(directory.path());
    let mut bytes = fs::read(segment(&directory, 0)).expect("a readable file");
    bytes[8] = 9;
    let crc = crc32c::crc32c(&bytes[..24]).to_le_bytes();
    bytes[24..28].copy_from_slice(&crc);
    fs::write(segment(&directory, 0), &bytes).expect("a writable file");
    let error = reopen(directory.path()).expect_err("an unknown version");
    assert!(matches!(error, LogError::Version { found: 9, .. }));
}

#[test]
fn record_embedded_by_a_peer_does_not_count() {
    // A payload that holds the bytes of a record of another segment, torn behind it: were it
    // taken for a record, the torn tail would look like damage.
    let other = TempDir::new().expect("a temporary directory");
    five_records(other.path());
    let foreign = fs::read(segment(&other, 0)).expect("a readable file");
    let directory = TempDir::new().expect("a temporary directory");
    let mut log = open(directory.path());
    log.append(RecordKind::Block, &foreign[28..]).expect("a working disk");
    drop(log);
    let bytes = fs::read(segment(&directory, 0)).expect("a readable file");
    fs::write(segment(&directory, 0), &bytes[..bytes.len() - 1]).expect("a writable file");
    let (_, torn) = reopen(directory.path()).expect("a torn tail is no error");
    assert_eq!(torn.map(|torn| torn.offset), Some(28));
}
