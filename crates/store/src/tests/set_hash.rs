//! The kept hash of the UTXO set is that of the set, whatever happened before.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use pentad_crypto::MuHash;
use pentad_primitives::{BlockHash, Hash256};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::index::{Index, Tip};
use crate::layer::Step;
use crate::tests::sample::{Sample, Sampled, chain, extend, txids};
use crate::{
    ChainStore, DataDir, DiskOptions, IndexRead as _, MemoryEngine, RebuildReason, Snapshot,
    StoreOptions, insert_coin, step_set_hash,
};

fn of(sample: &Sample) -> Hash256 {
    let mut hash = MuHash::default();
    for (outpoint, utxo) in &sample.utxos {
        hash.insert_utxo(outpoint, utxo);
    }
    hash.hash()
}

fn kept(snapshot: &Snapshot) -> Option<Hash256> {
    snapshot.set_hash().expect("sound rows").map(|hash| hash.hash())
}

#[derive(Clone, Debug)]
enum Op {
    Extend(u8, Vec<usize>),
    /// The tip goes.
    Disconnect,
    Commit,
    /// Readers have seen the commit; layers may go down.
    Tidy,
    /// Somebody asks for the hash.
    Ask,
    /// The store is closed, or only dropped, and opened again, with or without the hash.
    Reopen {
        closed: bool,
        keeps: bool,
    },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (any::<u8>(), prop::collection::vec(0..50_usize, 0..4))
            .prop_map(|(owner, picks)| Op::Extend(owner % 5, picks)),
        3 => Just(Op::Disconnect),
        4 => Just(Op::Commit),
        4 => Just(Op::Tidy),
        3 => Just(Op::Ask),
        1 => (any::<bool>(), prop::bool::weighted(0.8))
            .prop_map(|(closed, keeps)| Op::Reopen { closed, keeps }),
    ]
}

/// A store and the chain that it should hold.
struct World {
    directory: TempDir,
    store: Option<(ChainStore, DataDir)>,
    keeps: bool,
    /// Every state there ever was, with the block that led to it.
    states: BTreeMap<BlockHash, (Sampled, Sample)>,
    tag: u32,
}

impl World {
    fn new() -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let mut world =
            Self { directory, store: None, keeps: true, states: BTreeMap::new(), tag: 0 };
        world.open();
        world
    }

    fn open(&mut self) {
        let options = StoreOptions {
            // A few blocks go down at a time.
            layer_bytes_max: 60_000,
            keeps_set_hash: self.keeps,
            ..StoreOptions::default()
        };
        let data = DataDir::open(self.directory.path(), &Hash256::ZERO).expect("free");
        let (store, _) = ChainStore::open(&data, &options).expect("a sound store");
        self.store = Some((store, data));
    }

    fn store(&mut self) -> &mut ChainStore {
        &mut self.store.as_mut().expect("open").0
    }

    fn sample(&mut self) -> Sample {
        let tip = self.store().tip();
        tip.map(|tip| self.states[&tip.hash].1.clone()).unwrap_or_default()
    }

    fn extend(&mut self, owner: u8, picks: &[usize]) {
        let mut sample = self.sample();
        self.tag += 1;
        let sampled = sample.next(self.tag, owner, picks);
        extend(self.store(), &sampled);
        self.states.insert(sampled.block.block_hash(), (sampled, sample));
    }

    fn take(&mut self, op: Op) {
        match op {
            Op::Extend(owner, picks) => self.extend(owner, &picks),
            Op::Disconnect => {
                let Some(tip) = self.store().tip().filter(|tip| tip.height.get() > 0) else {
                    return;
                };
                let (sampled, _) = self.states[&tip.hash].clone();
                let block = &sampled.block;
                let store = self.store();
                store.disconnect(block, &txids(block), &sampled.spent).expect("the tip");
            }
            Op::Commit => drop(self.store().commit().expect("a working disk")),
            Op::Tidy => {
                self.store().commit().expect("a working disk");
                self.store().tidy().expect("a working engine");
            }
            Op::Ask => self.check(),
            Op::Reopen { closed, keeps } => {
                self.store().commit().expect("a working disk");
                let (store, data) = self.store.take().expect("open");
                if closed {
                    store.close().expect("a working disk")
                } else {
                    drop(store)
                }
                drop(data);
                self.keeps = keeps;
                self.open();
                self.check();
            }
        }
    }

    fn check(&mut self) {
        let expected = of(&self.sample());
        let keeps = self.keeps;
        let snapshot = self.store().commit().expect("a working disk");
        assert_eq!(snapshot.keeps_set_hash(), keeps);
        assert_eq!(kept(&snapshot), keeps.then_some(expected));
        // Asking again costs nothing and changes nothing.
        assert_eq!(kept(&snapshot), keeps.then_some(expected));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn kept_hash_is_that_of_the_set_after_any_history(ops in prop::collection::vec(op(), 1..120)) {
        let mut world = World::new();
        world.extend(0, &[]);
        for op in ops {
            world.take(op);
        }
        world.check();
        world.take(Op::Reopen { closed: true, keeps: true });
        world.take(Op::Reopen { closed: false, keeps: true });
    }
}

/// The snapshot's hash while its layers go down, one generation after the other.
#[test]
fn readers_get_the_hash_of_their_own_snapshot_or_know_that_it_is_gone() {
    let (blocks, _) = chain(60);
    let mut index = Index::open(Arc::new(MemoryEngine::default())).expect("an empty engine").0;
    index.keep_set_hash().expect("a working engine");
    let (mut sample, mut snapshots) = (Sample::default(), Vec::new());
    for (n, sampled) in (0..).zip(&blocks) {
        let picks = [n as usize, 2 * n as usize];
        sample.next(n, u8::try_from(n % 5).expect("small"), &picks[..(n % 3) as usize]);
        let hash = sampled.block.block_hash();
        index.step(Step::Connect(hash), sampled.rows(), Some(Tip { hash, height: sampled.height }));
        let snapshot = index.seal();
        // Every other one is asked for the first time once it is old.
        if n % 2 == 0 {
            assert_eq!(kept(&snapshot), Some(of(&sample)), "block {n}");
        }
        snapshots.push((snapshot, of(&sample)));
        if n % 7 == 6 {
            index.descend_all().expect("a working engine");
        } else {
            index.descend_if_due(usize::MAX).expect("a working engine");
        }
        let mut answers = 0;
        for (snapshot, expected) in &snapshots {
            let found = kept(snapshot);
            if snapshot.is_intact() {
                answers += 1;
                assert_eq!(found, Some(*expected), "block {n}");
            } else {
                assert!(found.is_none_or(|found| found == *expected), "block {n}");
            }
        }
        assert!(answers > 0, "the newest is always intact");
    }
}

#[test]
fn blocks_can_be_taken_back_from_the_hash() {
    let (blocks, sample) = chain(40);
    let mut hash = MuHash::default();
    let mut hashes = vec![hash.hash()];
    for sampled in &blocks {
        step_set_hash(&mut hash, &sampled.rows(), true).expect("its own rows");
        hashes.push(hash.hash());
    }
    assert_eq!(hash.hash(), of(&sample));
    for sampled in blocks.iter().rev() {
        assert_eq!(hash.hash(), hashes.pop().expect("one for each block"));
        step_set_hash(&mut hash, &sampled.rows(), false).expect("its own rows");
    }
    assert_eq!(hash.hash(), MuHash::default().hash());
    assert!(insert_coin(&mut hash, b"u", b"").is_err());
}

fn closed_store(path: &Path, keeps_set_hash: bool) -> Sample {
    let (blocks, sample) = chain(30);
    let data = DataDir::open(path, &Hash256::ZERO).expect("free");
    let options = StoreOptions { keeps_set_hash, ..StoreOptions::default() };
    let (mut store, _) = ChainStore::open(&data, &options).expect("a new store");
    blocks.iter().for_each(|sampled| extend(&mut store, sampled));
    store.close().expect("a working disk");
    sample
}

#[test]
fn golden_bytes_of_the_row_and_no_old_one_is_left_behind() {
    let directory = TempDir::new().expect("a temporary directory");
    let sample = closed_store(directory.path(), true);
    let row = || {
        let index = directory.path().join("index");
        let engine = DiskOptions::default().open(&index).expect("an index");
        engine.get(b"sutxo-set-hash").expect("a working engine")
    };
    let bytes = row().expect("it is kept");
    assert_eq!(bytes.len(), 768);
    assert_eq!(MuHash::from_bytes(&bytes).expect("numbers").hash(), of(&sample));
    // A node that does not keep it goes on from there.
    let data = DataDir::open(directory.path(), &Hash256::ZERO).expect("free");
    let (mut store, _) = ChainStore::open(&data, &StoreOptions::default()).expect("sound");
    let mut after = sample;
    let next = after.next(77, 1, &[0, 1]);
    extend(&mut store, &next);
    store.close().expect("a working disk");
    drop(data);
    assert_eq!(row(), None);
    let options = StoreOptions { keeps_set_hash: true, ..StoreOptions::default() };
    let data = DataDir::open(directory.path(), &Hash256::ZERO).expect("free");
    let (mut store, recovery) = ChainStore::open(&data, &options).expect("sound");
    assert!(recovery.is_clean(), "{recovery:?}");
    assert_eq!(kept(&store.commit().expect("a working disk")), Some(of(&after)));
}

#[test]
fn malformed_hash_is_damage_of_the_index_and_made_anew() {
    let directory = TempDir::new().expect("a temporary directory");
    closed_store(directory.path(), true);
    let index = directory.path().join("index");
    let engine = DiskOptions::default().open(&index).expect("an index");
    engine.write(vec![(crate::set_hash_key(), Some(vec![7; 9]))]).expect("works");
    engine.flush().expect("works");
    drop(engine);
    let options = StoreOptions { keeps_set_hash: true, ..StoreOptions::default() };
    let data = DataDir::open(directory.path(), &Hash256::ZERO).expect("free");
    let (mut store, recovery) = ChainStore::open(&data, &options).expect("a sound log");
    assert_eq!(recovery.rebuilt, Some(RebuildReason::Damaged));
    let (blocks, sample) = chain(30);
    blocks.iter().for_each(|sampled| extend(&mut store, sampled));
    assert_eq!(kept(&store.commit().expect("a working disk")), Some(of(&sample)));
    assert_eq!(store.utxos(None, 1_000).expect("readable").len(), sample.utxos.len());
}
