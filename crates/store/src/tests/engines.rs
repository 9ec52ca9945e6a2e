use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use tempfile::TempDir;

use crate::EngineKind;
use crate::engine::{
    Batch, DiskEngine, DiskOptions, IndexEngine, LsmEngine, LsmOptions, MemoryEngine,
};

/// An LSM tree so small that a few rows fill a file and a few files a level.
const TINY: LsmOptions =
    LsmOptions { cache_bytes: 4_000, memtable_bytes: 1_500, table_bytes: 6_000 };

pub fn tiny(engine: DiskEngine) -> EngineKind {
    EngineKind::Disk(DiskOptions { engine: Some(engine), lsm: TINY, ..DiskOptions::default() })
}

/// Every engine on disk, each in a directory of its own; the LSM tree once more with each batch in
/// a file.
fn on_disk(directory: &Path) -> Vec<Arc<dyn IndexEngine>> {
    let of = |engine: DiskEngine| DiskOptions { engine: Some(engine), ..DiskOptions::default() };
    let every = LsmOptions { memtable_bytes: 1, ..TINY };
    let every = DiskOptions { lsm: every, ..of(DiskEngine::Lsm) };
    let all = [("sled", of(DiskEngine::Sled)), ("lsm", of(DiskEngine::Lsm)), ("every", every)];
    all.map(|(name, options)| options.open(&directory.join(name)).expect("an index")).into()
}

fn engines(directory: &TempDir) -> Vec<Arc<dyn IndexEngine>> {
    let memory: Arc<dyn IndexEngine> = Arc::new(MemoryEngine::default());
    std::iter::once(memory).chain(on_disk(directory.path())).collect()
}

fn with_engines(test: impl Fn(Arc<dyn IndexEngine>)) {
    let directory = TempDir::new().expect("a temporary directory");
    engines(&directory).into_iter().for_each(test);
}

fn put(key: &[u8], value: &[u8]) -> (Vec<u8>, Option<Vec<u8>>) {
    (key.to_vec(), Some(value.to_vec()))
}

#[test]
fn pages_stay_within_their_prefix() {
    with_engines(|engine| {
        let batch = [&b"a"[..], b"b", b"b\0", b"ba", b"bb", b"b\xff", b"c"];
        engine.write(batch.iter().map(|key| put(key, key)).collect()).expect("a working engine");
        let keys = |after: Option<&[u8]>, limit| -> Vec<Vec<u8>> {
            let page = engine.page(b"b", after, limit).expect("a working engine");
            page.into_iter().map(|(key, _)| key).collect()
        };
        assert_eq!(keys(None, 9), [&b"b"[..], b"b\0", b"ba", b"bb", b"b\xff"]);
        assert_eq!(keys(None, 2), [&b"b"[..], b"b\0"]);
        assert_eq!(keys(Some(b"b\0"), 2), [&b"ba"[..], b"bb"]);
        assert_eq!(keys(Some(b"b\xff"), 9), Vec::<Vec<u8>>::new());
        assert_eq!(keys(Some(b"a"), 1), [b"b"], "an older cursor begins at the prefix");
    });
}

#[test]
fn what_was_flushed_is_kept() {
    let directory = TempDir::new().expect("a temporary directory");
    for round in 0..3_u8 {
        for engine in on_disk(directory.path()) {
            for earlier in 0..round {
                let found = engine.get(&[earlier]).expect("a working engine");
                assert_eq!(found, Some(vec![earlier]));
                // The newest value, though each run begins to count anew.
                let found = engine.get(b"again").expect("a working engine");
                assert_eq!(found, Some(vec![round - 1]));
            }
            let changes = vec![put(&[round], &[round]), put(b"again", &[round])];
            engine.write(changes).expect("a working engine");
            engine.flush().expect("a working engine");
        }
    }
}

fn lsm(directory: &Path) -> LsmEngine {
    LsmEngine::open(directory, TINY).expect("a tree")
}

fn files(directory: &Path) -> usize {
    std::fs::read_dir(directory.join("tables")).expect("readable").count()
}

/// What is not written to a file yet goes with the process, the newest first.
#[test]
fn lsm_tree_loses_no_change_before_another() {
    let directory = TempDir::new().expect("a temporary directory");
    let mut written = 0_u32;
    for _ in 0..4 {
        let engine = lsm(directory.path());
        for _ in 0..37 {
            let key = written.to_be_bytes();
            engine.write(vec![put(&key, &[7; 40]), put(b"last", &key)]).expect("a working engine");
            written += 1;
        }
        drop(engine);
        let engine = lsm(directory.path());
        let last = engine.get(b"last").expect("a working engine").expect("some were kept");
        let kept = u32::from_be_bytes(last.try_into().expect("four bytes")) + 1;
        assert!(kept < written, "all {written} were kept: the test proves nothing");
        let found = engine.page(&[0], None, 1_000).expect("a working engine");
        let keys: Vec<u32> = found
            .iter()
            .map(|(key, _)| u32::from_be_bytes(key.as_slice().try_into().expect("four bytes")))
            .collect();
        assert_eq!(keys, (0..kept).collect::<Vec<_>>());
        written = kept;
    }
}

/// Files of rows that are gone go too.
#[test]
fn lsm_tree_gives_back_what_is_removed() {
    let directory = TempDir::new().expect("a temporary directory");
    let engine = lsm(directory.path());
    let rows = |round: u32| (0..40_u32).map(move |n| (round * 40 + n).to_be_bytes());
    let mut most = 0;
    for round in 0..60 {
        engine.fill(rows(round).map(|key| put(&key, &[7; 40])).collect()).expect("works");
        if let Some(old) = round.checked_sub(1) {
            engine.fill(rows(old).map(|key| (key.to_vec(), None)).collect()).expect("works");
        }
        most = most.max(files(directory.path()));
    }
    assert_eq!(engine.page(&[], None, 1_000).expect("works").len(), 40);
    drop(engine);
    // Sixty rounds took 120 files and more, had nothing been merged.
    assert!(most < 40, "{most} files");
    assert!(files(directory.path()) < 20, "{} files", files(directory.path()));
}

fn batches() -> impl Strategy<Value = Vec<Batch>> {
    let key = prop::collection::vec(prop::sample::select(vec![0_u8, 1, 97, 98, 255]), 1..5);
    let value = prop::option::of(prop::collection::vec(any::<u8>(), 0..8));
    prop::collection::vec(prop::collection::vec((key, value), 0..12), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn engines_behave_like_a_map(
        batches in batches(),
        prefix in prop::collection::vec(97_u8..99, 0..2),
    ) {
        let directory = TempDir::new().expect("a temporary directory");
        for engine in engines(&directory) {
            let mut model = BTreeMap::new();
            for batch in &batches {
                engine.write(batch.clone()).expect("a working engine");
                for (key, value) in batch {
                    match value {
                        Some(value) => model.insert(key.clone(), value.clone()),
                        None => model.remove(key),
                    };
                }
            }
            let mut found = Vec::new();
            loop {
                let after = found.last().map(|(key, _): &(Vec<u8>, Vec<u8>)| key.clone());
                let page = engine.page(&prefix, after.as_deref(), 3).expect("a working engine");
                if page.is_empty() {
                    break;
                }
                found.extend(page);
            }
            let expected: Vec<_> =
                model.clone().into_iter().filter(|(key, _)| key.starts_with(&prefix)).collect();
            prop_assert_eq!(found, expected);
            for (key, value) in &model {
                let found = engine.get(key).expect("a working engine");
                prop_assert_eq!(found.as_ref(), Some(value));
            }
        }
    }
}
