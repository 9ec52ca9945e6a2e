use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use proptest::prelude::*;

use crate::engine::{Batch, EngineError, IndexEngine, MemoryEngine, Pair};
use crate::index::{Index, Tip};
use crate::layer::Step;
use crate::read::IndexRead;
use crate::rows::{Row, Rows, rows};
use crate::tests::sample::{Sample, Sampled, chain, txids};

fn everything(index: &impl IndexRead) -> Vec<Pair> {
    let mut pairs: Vec<Pair> = Vec::new();
    loop {
        let after = pairs.last().map(|pair| pair.0.clone());
        let page = index.page(&[], after.as_deref(), 7).expect("a working engine");
        if page.is_empty() {
            return pairs;
        }
        pairs.extend(page);
    }
}

fn open() -> (Arc<MemoryEngine>, Index) {
    let engine = Arc::new(MemoryEngine::default());
    let (index, interrupted) = Index::open(engine.clone()).expect("an empty engine");
    assert_eq!(interrupted, None);
    (engine, index)
}

#[test]
fn disconnecting_leaves_no_trace() {
    let (_, mut index) = open();
    let (blocks, _) = chain(30);
    let mut before = Vec::new();
    for sampled in &blocks {
        before.push(everything(&index));
        let hash = sampled.block.block_hash();
        index.step(Step::Connect(hash), sampled.rows(), Some(Tip { hash, height: sampled.height }));
    }
    for sampled in blocks.iter().rev() {
        let hash = sampled.block.block_hash();
        index.step(Step::Disconnect(hash), sampled.rows(), None);
        assert_eq!(everything(&index), before.pop().expect("one for each block"));
    }
}

#[test]
fn undo_data_of_another_block_is_refused() {
    let (blocks, _) = chain(10);
    let Sampled { block, height, .. } = &blocks[8];
    assert!(rows(block, &txids(block), *height, &blocks[7].spent).is_err());
}

#[test]
fn rows_of_a_block_are_as_documented() {
    let mut sample = Sample::default();
    sample.next(1, 1, &[]);
    let sampled = sample.next(2, 3, &[0]);
    let rows = sampled.rows();
    let count = |table: u8, added: bool| {
        rows.iter()
            .filter(|row| match row {
                Row::Added(key, _) => added && key[0] == table,
                Row::Removed(key, _) => !added && key[0] == table,
            })
            .count()
    };
    // Coinbase, payment and its spend make four spendable outputs, of which one goes at once.
    assert_eq!((count(b'n', true), count(b't', true)), (1, 3));
    assert_eq!((count(b'u', true), count(b'a', true)), (4, 4));
    assert_eq!((count(b'u', false), count(b'a', false)), (2, 2));
    // Coinbase: owner 0. Payment: owners 0, 3 and 4. Its spend: owners 3 and 9.
    assert_eq!(count(b'h', true), 6);
}

#[derive(Clone, Debug)]
enum Op {
    Set(u8, u8),
    Remove(u8),
    Seal,
    DescendAll,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => (any::<u8>(), any::<u8>()).prop_map(|(key, value)| Op::Set(key % 24, value)),
        2 => any::<u8>().prop_map(|key| Op::Remove(key % 24)),
        2 => Just(Op::Seal),
        1 => Just(Op::DescendAll),
    ];
    prop::collection::vec(op, 0..80)
}

proptest! {
    #[test]
    fn layers_over_an_engine_behave_like_a_map(ops in ops()) {
        let (engine, mut index) = open();
        let mut model = BTreeMap::new();
        let mut snapshots = Vec::new();
        for op in ops {
            match op {
                Op::Set(key, value) => {
                    model.insert(vec![b'x', key], vec![value]);
                    index.set(&[b'x', key], &[value]);
                }
                Op::Remove(key) => {
                    model.remove(&vec![b'x', key]);
                    let mut rows = Rows::default();
                    let value = rows.value(|_| ());
                    rows.push(false, &[&[b'x', key]], value);
                    index.step(Step::Connect(Default::default()), rows, None);
                }
                Op::Seal => snapshots.push((index.seal(), model.clone())),
                Op::DescendAll => index.descend_all().expect("a working engine"),
            }
            let expected: Vec<Pair> = model.clone().into_iter().collect();
            let found: Vec<Pair> =
                everything(&index).into_iter().filter(|(key, _)| key[0] == b'x').collect();
            prop_assert_eq!(found, expected);
            for (snapshot, model) in snapshots.iter().filter(|(it, _)| it.is_intact()) {
                for limit in [1, 3, 100] {
                    let expected: Vec<_> = model.clone().into_iter().take(limit).collect();
                    prop_assert_eq!(snapshot.page(b"x", None, limit).expect("works"), expected);
                }
            }
        }
        index.seal();
        index.descend_all().expect("a working engine");
        let found = engine.page(b"x", None, 1000).expect("works");
        prop_assert_eq!(found, model.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn snapshots_stay_whole_while_the_tip_moves_on() {
    // Every commit writes its number to all keys; a reader must never see two numbers at once.
    let (_, mut index) = open();
    let keys: Vec<Vec<u8>> = (0..40_u8).map(|key| vec![b'x', key]).collect();
    let commit = |index: &mut Index, number: u32| {
        keys.iter().for_each(|key| index.set(key, &number.to_le_bytes()));
        index.seal()
    };
    let latest = Arc::new(std::sync::Mutex::new(commit(&mut index, 0)));
    let (done, lost) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let reader = {
        let (latest, done, lost) = (Arc::clone(&latest), Arc::clone(&done), Arc::clone(&lost));
        thread::spawn(move || {
            let mut whole = 0;
            while !done.load(Ordering::SeqCst) {
                let snapshot = latest.lock().expect("no panics").clone();
                let pairs = snapshot.page(b"x", None, 100).expect("a working engine");
                if !snapshot.is_intact() {
                    lost.fetch_add(1, Ordering::SeqCst);
                    continue;
                }
                assert_eq!(pairs.len(), 40);
                assert!(pairs.iter().all(|(_, value)| *value == pairs[0].1), "a torn snapshot");
                whole += 1;
            }
            whole
        })
    };
    for number in 1..3000 {
        let snapshot = commit(&mut index, number);
        *latest.lock().expect("no panics") = snapshot;
        index.descend_if_due(usize::MAX).expect("a working engine");
    }
    done.store(true, Ordering::SeqCst);
    let whole = reader.join().expect("no torn snapshot");
    assert!(whole > 0 && lost.load(Ordering::SeqCst) <= whole, "{whole} whole, {lost:?} lost");
}

/// An engine that fails after a number of writes, as if the process had died there.
#[derive(Debug)]
struct Dying {
    inner: Arc<MemoryEngine>,
    writes_left: AtomicUsize,
}

impl IndexEngine for Dying {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.inner.get(key)
    }

    fn page(&self, p: &[u8], a: Option<&[u8]>, limit: usize) -> Result<Vec<Pair>, EngineError> {
        self.inner.page(p, a, limit)
    }

    fn write(&self, batch: Batch) -> Result<(), EngineError> {
        let spend = |left: usize| left.checked_sub(1);
        self.writes_left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, spend)
            .map_err(|_| EngineError::Sled(sled::Error::Unsupported("dead".to_owned())))?;
        self.inner.write(batch)
    }

    fn fill(&self, changes: Batch) -> Result<(), EngineError> {
        self.write(changes)
    }

    fn keep_order(&self) -> Result<(), EngineError> {
        Ok(())
    }

    fn flush(&self) -> Result<(), EngineError> {
        Ok(())
    }
}

#[test]
fn crash_at_every_batch_of_a_descent_is_mended() {
    let (blocks, sample) = chain(120);
    let connect = |index: &mut Index, sampled: &crate::tests::sample::Sampled| {
        let hash = sampled.block.block_hash();
        index.step(Step::Connect(hash), sampled.rows(), Some(Tip { hash, height: sampled.height }));
    };
    let set_hash = |index: &mut Index| {
        let hash = index.seal().set_hash().expect("sound rows").expect("it is kept");
        hash.hash()
    };
    let (_, mut whole) = open();
    whole.keep_set_hash().expect("a working engine");
    let empty = set_hash(&mut whole);
    blocks.iter().for_each(|sampled| connect(&mut whole, sampled));
    let full = set_hash(&mut whole);
    for writes in 0.. {
        let inner = Arc::new(MemoryEngine::default());
        let dying = Dying { inner: inner.clone(), writes_left: AtomicUsize::new(writes) };
        let (mut index, _) = Index::open(Arc::new(dying)).expect("an empty engine");
        index.keep_set_hash().expect("an empty engine");
        blocks.iter().for_each(|sampled| connect(&mut index, sampled));
        index.seal();
        let survived = index.descend_all().is_ok();

        let (mut index, interrupted) = Index::open(inner).expect("a readable engine");
        index.keep_set_hash().expect("a readable engine");
        assert_eq!(interrupted.is_some(), writes > 0 && !survived, "after {writes} writes");
        let redo = interrupted.map_or(Vec::new(), |it| it.steps);
        for (step, sampled) in redo.iter().zip(&blocks) {
            assert_eq!(*step, Step::Connect(sampled.block.block_hash()));
            connect(&mut index, sampled);
        }
        if redo.is_empty() {
            assert_eq!(index.state().tip, if survived { sample.tip } else { None });
        }
        index.seal();
        index.descend_all().expect("a working engine");
        let rows = |index: &Index| -> Vec<Pair> {
            everything(index).into_iter().filter(|(key, _)| key[0] != b's').collect()
        };
        match index.state().tip {
            None => assert!(rows(&index).is_empty()),
            Some(_) => assert_eq!(rows(&index), rows(&whole), "after {writes} writes"),
        }
        let expected = if index.state().tip.is_none() { empty } else { full };
        assert_eq!(set_hash(&mut index), expected, "after {writes} writes");
        if survived {
            assert!(writes > 3, "one batch would prove nothing");
            break;
        }
    }
}
