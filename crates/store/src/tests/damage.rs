//! Damage of every file of a store: a clean stop that names place and remedy, or a repair.

use std::fs;
use std::path::{Path, PathBuf};

use pentad_primitives::Hash256;
use tempfile::TempDir;

use crate::log::{LogError, LogOptions};
use crate::tests::sample::{chain, extend, txids};
use crate::{
    ChainStore, DataDir, DataDirError, EngineKind, RebuildReason, Recovery, StoreError,
    StoreOptions,
};

const SEGMENT_HEADER_LEN: usize = 28;
const RECORD_HEADER_LEN: usize = 17;

/// The index in memory: every start reads the whole log.
fn options() -> StoreOptions {
    let log = LogOptions { segment_len: 4_000 };
    StoreOptions { engine: EngineKind::Memory, log, ..StoreOptions::default() }
}

fn try_open(path: &Path) -> Result<(ChainStore, Recovery), StoreError> {
    let directory = DataDir::open(path, &Hash256::ZERO).expect("a free directory");
    ChainStore::open(&directory, &options())
}

/// Blocks, undo data, certified blocks and certificates in several segments, each synced.
fn store(path: &Path) {
    let (mut store, _) = try_open(path).expect("a new store");
    for (number, sampled) in chain(40).0.iter().enumerate() {
        if number % 4 == 3 {
            let certificate = Some(&[7; 90][..]);
            store
                .append_block(&sampled.block, sampled.height, sampled.work, certificate)
                .and_then(|()| {
                    store.connect(&sampled.block, &txids(&sampled.block), &sampled.spent)
                })
                .expect("a block on the tip");
        } else {
            extend(&mut store, sampled);
        }
        if number % 4 == 1 {
            let hash = sampled.block.block_hash();
            store.append_certificate(&hash, &[7; 90]).expect("a stored block");
        }
        store.commit().expect("a working disk");
    }
}

fn segments(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path.join("blocks")).expect("a readable directory");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
    files.sort();
    files
}

/// Start and end of each record of a segment, by its kind.
fn records(bytes: &[u8]) -> Vec<(u8, usize, usize)> {
    let mut records = Vec::new();
    let mut at = SEGMENT_HEADER_LEN;
    while at < bytes.len() {
        let length = u32::from_le_bytes(bytes[at + 5..at + 9].try_into().expect("four bytes"));
        let end = at + RECORD_HEADER_LEN + length as usize;
        records.push((bytes[at + 4], at, end));
        at = end;
    }
    records
}

/// The fields of a record, by the offsets of their first bytes.
fn fields(kind: u8) -> Vec<(&'static str, usize)> {
    let mut fields = vec![("magic", 0), ("kind", 4), ("length", 5), ("durable", 9), ("crc", 13)];
    let payload: &[(&str, usize)] = match kind {
        1 => &[("height", 0), ("work", 4), ("header", 36), ("merkle root", 72), ("body", 117)],
        2 => &[("block hash", 0)],
        4 => &[("block hash", 0), ("certificate", 32)],
        _ => &[("certificate length", 0), ("certificate", 4), ("height", 94), ("header", 130)],
    };
    fields.extend(payload.iter().map(|(name, at)| (*name, RECORD_HEADER_LEN + at)));
    fields
}

fn assert_stops(path: &Path, file: &Path, offset: usize, what: &str) {
    let Err(error) = try_open(path) else { panic!("{what}: it opened") };
    let StoreError::Log(LogError::Damaged { file: named, offset: at, .. }) = &error else {
        panic!("{what}: {error}");
    };
    assert_eq!((named.as_path(), *at), (file, offset as u64), "{what}");
    let message = error.to_string();
    assert!(message.contains(&file.display().to_string()), "{what}: {message}");
    assert!(message.contains("restore the file from a backup"), "{what}: no remedy: {message}");
}

#[test]
fn case_29_flipped_byte_in_each_field_of_each_record_kind_stops_the_start() {
    let directory = TempDir::new().expect("a temporary directory");
    store(directory.path());
    let files = segments(directory.path());
    assert!(files.len() >= 3, "{} segments", files.len());
    let mut seen = std::collections::BTreeMap::<u8, usize>::new();
    // The last segment's last records could have been torn; those before it could not.
    for file in &files[..files.len() - 1] {
        let sound = fs::read(file).expect("readable");
        let records = records(&sound);
        // Where no record stands behind it, nothing says that it was durable but the next segment.
        for (kind, start, end) in &records {
            *seen.entry(*kind).or_default() += 1;
            let last_byte = ("last byte", end - start - 1);
            for (name, at) in fields(*kind).into_iter().chain([last_byte]) {
                let mut damaged = sound.clone();
                damaged[start + at] ^= 1 << (at % 8);
                fs::write(file, &damaged).expect("writable");
                let what = format!("{name} of kind {kind} at {start} in {}", file.display());
                assert_stops(directory.path(), file, *start, &what);
                assert_eq!(fs::read(file).expect("readable"), damaged, "{what}: changed");
            }
        }
        fs::write(file, &sound).expect("writable");
    }
    assert!([1, 2, 3, 4].iter().all(|kind| seen.get(kind) >= Some(&2)), "{seen:?}");
    let (store, recovery) = try_open(directory.path()).expect("sound again");
    assert_eq!(recovery.torn, None);
    assert_eq!(store.entries().expect("works").len(), 40);
}

#[test]
fn case_29_flipped_byte_in_a_segment_header_stops_the_start() {
    let directory = TempDir::new().expect("a temporary directory");
    store(directory.path());
    let files = segments(directory.path());
    for file in [&files[0], &files[1], &files[files.len() - 1]] {
        let sound = fs::read(file).expect("readable");
        for at in 0..SEGMENT_HEADER_LEN {
            let mut damaged = sound.clone();
            damaged[at] ^= 0x20;
            fs::write(file, &damaged).expect("writable");
            assert_stops(directory.path(), file, 0, &format!("byte {at} of {}", file.display()));
        }
        fs::write(file, &sound).expect("writable");
    }
    try_open(directory.path()).expect("sound again");
}

#[test]
fn case_29_missing_first_or_middle_segment_stops_the_start_and_is_named() {
    let directory = TempDir::new().expect("a temporary directory");
    store(directory.path());
    let files = segments(directory.path());
    for file in [&files[0], &files[files.len() / 2]] {
        let sound = fs::read(file).expect("readable");
        fs::remove_file(file).expect("removable");
        let Err(error) = try_open(directory.path()) else { panic!("it opened") };
        let missing = matches!(
            &error, StoreError::Log(LogError::MissingSegment { file: named }) if named == file
        );
        assert!(missing, "{error}");
        assert!(error.to_string().contains("restore it from a backup"), "{error}");
        assert!(!file.exists(), "nothing takes its place");
        fs::write(file, sound).expect("writable");
    }
    try_open(directory.path()).expect("sound again");
}

#[test]
fn case_29_missing_last_segment_is_noticed_by_the_index_and_said() {
    let directory = TempDir::new().expect("a temporary directory");
    let path = directory.path();
    let sled = StoreOptions { engine: StoreOptions::default().engine, ..options() };
    let open = || {
        let directory = DataDir::open(path, &Hash256::ZERO).expect("a free directory");
        ChainStore::open(&directory, &sled)
    };
    let (mut store, _) = open().expect("a new store");
    for sampled in &chain(40).0 {
        extend(&mut store, sampled);
    }
    store.close().expect("a working disk");
    fs::remove_file(segments(path).pop().expect("a log")).expect("removable");
    let (store, recovery) = open().expect("the rest is sound");
    assert_eq!(recovery.rebuilt, Some(RebuildReason::AheadOfLog));
    let left = store.entries().expect("works").len();
    assert!(left > 0 && left < 40, "{left} blocks");
}

#[test]
fn case_31_truncated_or_lost_format_stops_the_start_and_names_the_remedy() {
    let directory = TempDir::new().expect("a temporary directory");
    store(directory.path());
    let file = directory.path().join("FORMAT");
    let sound = fs::read(&file).expect("readable");
    let open = || DataDir::open(directory.path(), &Hash256::ZERO);
    let assert_stops = |what: &str| {
        let error = open().expect_err(what);
        assert!(matches!(&error, DataDirError::DamagedFormat { .. }), "{what}: {error}");
        let message = error.to_string();
        assert!(message.contains(&file.display().to_string()), "{what}: {message}");
        assert!(message.contains(&format!("spec = {}", Hash256::ZERO)), "{what}: {message}");
    };
    // Without its last byte, the end of a line, it still says everything.
    for length in 0..sound.len() - 1 {
        fs::write(&file, &sound[..length]).expect("writable");
        assert_stops(&format!("cut at {length}"));
        assert_eq!(fs::read(&file).expect("readable"), sound[..length]);
    }
    fs::write(&file, [0xff, 0xfe, 0]).expect("writable");
    assert_stops("not text");
    fs::remove_file(&file).expect("removable");
    assert_stops("removed");
    assert!(!file.exists(), "blocks whose network nobody knows are nobody's");
    fs::write(&file, &sound).expect("writable");
    open().expect("sound again");
}
