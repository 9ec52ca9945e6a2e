use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use tempfile::TempDir;

use crate::engine::{Batch, IndexEngine, MemoryEngine, SledEngine, SledOptions};

fn engines(directory: &TempDir) -> Vec<Arc<dyn IndexEngine>> {
    let sled = SledEngine::open(directory.path(), SledOptions::default());
    vec![Arc::new(MemoryEngine::default()), Arc::new(sled.expect("a new database"))]
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
fn sled_keeps_what_was_flushed() {
    let directory = TempDir::new().expect("a temporary directory");
    for round in 0..3_u8 {
        let engine = SledEngine::open(directory.path(), SledOptions::default())
            .expect("a database that can be opened again");
        for earlier in 0..round {
            assert_eq!(engine.get(&[earlier]).expect("a working engine"), Some(vec![earlier]));
        }
        engine.write(vec![put(&[round], &[round])]).expect("a working engine");
        engine.flush().expect("a working engine");
    }
}

fn batches() -> impl Strategy<Value = Vec<Batch>> {
    let key = prop::collection::vec(prop::sample::select(vec![0_u8, 1, 97, 98, 255]), 0..4);
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
