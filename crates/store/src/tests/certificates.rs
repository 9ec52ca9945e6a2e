//! Certificates that come later than their blocks.

use std::fs;
use std::path::Path;

use pentad_primitives::BlockHash;
use tempfile::TempDir;

use super::chain_store::{catch_up, copy, disk, extend_committed, open};
use super::sample::{Sampled, chain, extend};
use crate::log::{BlockLog, LogOptions};
use crate::payload::block_record;
use crate::{ChainStore, DiskEngine, IndexRead as _, RebuildReason, StoreError, StoreOptions};

/// Bytes of a record in front of its payload.
const RECORD_HEADER_LEN: u32 = 17;

/// With everything in one segment, so that places in the log can be compared.
fn with_each_engine(test: impl Fn(StoreOptions)) {
    for engine in DiskEngine::ALL {
        test(StoreOptions { log: LogOptions::default(), ..disk(engine) });
    }
}

fn hash(sampled: &Sampled) -> BlockHash {
    sampled.block.block_hash()
}

fn assert_certificate(store: &ChainStore, block: &Sampled, expected: Option<&[u8]>) {
    let found = store.certificate(&hash(block)).expect("a sound log");
    assert_eq!(found.as_deref(), expected);
    let entry = store.block_entry(&hash(block)).expect("stored");
    assert_eq!(entry.has_certificate(), expected.is_some());
}

#[test]
fn certificate_of_a_stored_block_is_a_small_record() {
    with_each_engine(|options| {
        let directory = TempDir::new().expect("a temporary directory");
        let (blocks, _) = chain(4);
        let (mut store, _, _lock) = open(directory.path(), &options);
        let missing = store.append_certificate(&hash(&blocks[0]), b"certificate");
        assert!(matches!(missing, Err(StoreError::UnknownBlock(it)) if it == hash(&blocks[0])));
        blocks[..3].iter().for_each(|sampled| extend(&mut store, sampled));
        let Sampled { block, height, work, .. } = &blocks[3];
        store.append_block(block, *height, *work, Some(b"with it")).expect("a working disk");
        let mut end = store.log_end();
        let before = store.block_entry(&hash(&blocks[1])).expect("stored");
        store.append_certificate(&hash(&blocks[1]), b"").expect("an empty one is none");
        assert_certificate(&store, &blocks[1], None);
        assert_eq!(store.log_end(), end);
        store.append_certificate(&hash(&blocks[1]), b"certificate").expect("a working disk");
        let Sampled { block, height, work, .. } = &blocks[2];
        store.append_block(block, *height, *work, Some(b"certificate")).expect("a working disk");
        end.offset += 2 * (RECORD_HEADER_LEN + 32 + 11);
        assert_eq!(store.log_end(), end);
        for sampled in &blocks {
            store.append_certificate(&hash(sampled), b"").expect("an empty one is none");
        }
        for sampled in &blocks[1..] {
            // They have theirs.
            let Sampled { block, height, work, .. } = sampled;
            store.append_certificate(&hash(sampled), b"another").expect("stored");
            store.append_block(block, *height, *work, Some(b"another")).expect("stored");
        }
        assert_eq!(store.log_end(), end);
        assert_certificate(&store, &blocks[0], None);
        assert_certificate(&store, &blocks[1], Some(b"certificate"));
        assert_certificate(&store, &blocks[2], Some(b"certificate"));
        assert_certificate(&store, &blocks[3], Some(b"with it"));
        let after = store.block_entry(&hash(&blocks[1])).expect("stored");
        assert_eq!((after.body, after.undo), (before.body, before.undo));
        // Other changes of the row leave it there.
        store.mark_invalid(&hash(&blocks[1])).expect("stored");
        assert_certificate(&store, &blocks[1], Some(b"certificate"));
    });
}

/// As a kill between the record and its row, a torn write or an index that is ahead leave it.
#[test]
fn certificate_survives_a_crash_as_a_whole_or_not_at_all() {
    with_each_engine(|options| {
        let (killed, closed) = (TempDir::new().expect("a directory"), TempDir::new().expect("one"));
        let (blocks, sample) = chain(12);
        let (mut store, _, lock) = open(killed.path(), &options);
        extend_committed(&mut store, &blocks);
        let start = store.log_end().offset;
        store.append_certificate(&hash(&blocks[7]), b"certificate").expect("a working disk");
        store.commit().expect("a working disk");
        let end = store.log_end().offset;
        drop((store, lock));
        copy(killed.path(), closed.path());
        let (store, recovery, lock) = open(closed.path(), &options);
        assert_eq!(recovery.torn, None);
        assert_certificate(&store, &blocks[7], Some(b"certificate"));
        store.close().expect("a working disk");
        drop(lock);
        for (original, reindex) in [(&killed, false), (&killed, true), (&closed, false)] {
            for cut in start..=end {
                let directory = TempDir::new().expect("a temporary directory");
                copy(original.path(), directory.path());
                cut_log(directory.path(), cut);
                let options = StoreOptions { reindex, ..options };
                let (mut store, recovery, _lock) = open(directory.path(), &options);
                let is_torn = cut > start && cut < end;
                assert_eq!(recovery.torn.is_some(), is_torn, "cut at {cut}");
                let is_ahead = original.path() == closed.path() && cut < end;
                let expected = match (reindex, is_ahead) {
                    (true, _) => Some(RebuildReason::AskedFor),
                    (_, true) => Some(RebuildReason::AheadOfLog),
                    _ => None,
                };
                assert_eq!(recovery.rebuilt, expected, "cut at {cut}");
                let expected = (cut == end).then_some(&b"certificate"[..]);
                assert_certificate(&store, &blocks[7], expected);
                catch_up(&mut store);
                assert_eq!(store.tip(), sample.tip, "cut at {cut}");
                store.append_certificate(&hash(&blocks[7]), b"certificate").expect("works");
                assert_certificate(&store, &blocks[7], Some(b"certificate"));
            }
        }
    });
}

fn cut_log(directory: &Path, length: u32) {
    let segment = directory.join("blocks").join("000000.blocks");
    let file = fs::OpenOptions::new().write(true).open(segment);
    file.and_then(|file| file.set_len(length.into())).expect("a writable file");
}

/// As older programs wrote it.
#[test]
fn block_that_came_again_with_its_certificate_is_found_at_the_later_place() {
    with_each_engine(|options| {
        let directory = TempDir::new().expect("a temporary directory");
        let (blocks, sample) = chain(6);
        let (mut store, _, lock) = open(directory.path(), &options);
        extend_committed(&mut store, &blocks);
        store.mark_invalid(&hash(&blocks[5])).expect("stored");
        let checked = store.log_end();
        let before = store.block_entry(&hash(&blocks[5])).expect("stored");
        store.close().expect("a working disk");
        let path = directory.path().join("blocks");
        let (mut log, _) = BlockLog::open(&path, options.log, checked).expect("a sound log");
        let Sampled { block, height, work, .. } = &blocks[5];
        let (kind, record) = block_record(block, *height, work, b"certificate");
        let again = log.append(kind, &record).expect("a working disk");
        log.sync().expect("a working disk");
        drop((log, lock));
        for reindex in [false, true] {
            let options = StoreOptions { reindex, ..options };
            let (mut store, _, _lock) = open(directory.path(), &options);
            assert_certificate(&store, &blocks[5], Some(b"certificate"));
            let entry = store.block_entry(&hash(&blocks[5])).expect("stored");
            assert_eq!((entry.body, entry.undo), (again, before.undo));
            assert_eq!(entry.is_invalid, !reindex, "the log does not tell");
            let end = store.log_end();
            store.append_certificate(&hash(&blocks[5]), b"another").expect("stored");
            assert_eq!(store.log_end(), end);
            catch_up(&mut store);
            assert_eq!(store.tip(), sample.tip);
        }
    });
}

#[test]
fn record_that_is_not_the_certificate_of_its_block_is_refused() {
    with_each_engine(|options| {
        let directory = TempDir::new().expect("a temporary directory");
        let (blocks, _) = chain(2);
        let (mut store, _, _lock) = open(directory.path(), &options);
        extend_committed(&mut store, &blocks);
        store.append_certificate(&hash(&blocks[0]), b"certificate").expect("a working disk");
        let mut entry = store.block_entry(&hash(&blocks[1])).expect("stored");
        entry.certificate = store.block_entry(&hash(&blocks[0])).expect("stored").certificate;
        store.set_entry(&hash(&blocks[1]), &entry);
        let error = store.certificate(&hash(&blocks[1])).expect_err("another block's");
        assert!(error.to_string().contains(&hash(&blocks[0]).to_string()), "{error}");
        entry.certificate = Some(entry.body);
        store.set_entry(&hash(&blocks[1]), &entry);
        let error = store.certificate(&hash(&blocks[1])).expect_err("a block");
        assert!(matches!(error, StoreError::Record { position, .. } if position == entry.body));
        assert_eq!(store.hash_at(blocks[1].height).expect("works"), Some(hash(&blocks[1])));
    });
}
