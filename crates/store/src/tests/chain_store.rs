use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use pentad_primitives::{Encode as _, Hash256, OutPoint, Utxo};
use tempfile::TempDir;

use crate::log::LogOptions;
use crate::tests::engines::tiny;
use crate::tests::sample::{Sample, Sampled, chain, extend, script, txids};
use crate::{
    ChainStore, DataDir, DiskEngine, DiskOptions, EngineKind, IndexRead, RebuildReason, Recovery,
    StoreError, StoreOptions, read_block_bytes, read_certificate, read_transaction_bytes,
};

const SMALL_SEGMENTS: LogOptions = LogOptions { segment_len: 2000 };

fn with(engine: EngineKind) -> StoreOptions {
    StoreOptions { engine, log: SMALL_SEGMENTS, ..StoreOptions::default() }
}

pub fn disk(engine: DiskEngine) -> StoreOptions {
    with(tiny(engine))
}

/// Each test, with each engine.
macro_rules! with_disk_engines {
    ($($test:ident,)*) => {
        mod lsm {
            $(#[test] fn $test() { super::$test(super::disk(super::DiskEngine::Lsm)) })*
        }

        mod sled {
            $(#[test] fn $test() { super::$test(super::disk(super::DiskEngine::Sled)) })*
        }
    };
}

with_disk_engines! {
    closed_store_opens_clean,
    reads_by_hash_height_transaction_and_script,
    reorganisation_equals_a_rebuild,
    log_cut_anywhere_recovers_to_a_prefix,
    lost_index_is_rebuilt_and_said,
    scrambled_index_is_rebuilt,
    certificates_come_back_before_and_after_a_rebuild,
    invalid_mark_survives_and_missing_blocks_are_named,
}

pub fn open(path: &Path, options: &StoreOptions) -> (ChainStore, Recovery, DataDir) {
    let directory = DataDir::open(path, &Hash256::ZERO).expect("a free directory");
    let (store, recovery) = ChainStore::open(&directory, options).expect("a sound store");
    (store, recovery, directory)
}

fn utxos(store: &impl IndexRead) -> BTreeMap<OutPoint, Utxo> {
    let mut all = BTreeMap::new();
    let mut after = None;
    loop {
        let page = store.utxos(after.as_ref(), 50).expect("a working engine");
        let Some((last, _)) = page.last() else {
            return all;
        };
        after = Some(*last);
        all.extend(page);
    }
}

/// What a chain service does at a start: connect what the log holds beyond the tip.
pub fn catch_up(store: &mut ChainStore) {
    for (hash, entry) in store.entries().expect("a working engine") {
        let next = store.tip().map_or(0, |tip| tip.height.get() + 1);
        if entry.height.get() == next
            && let Some(spent) = store.undo(&hash).expect("a sound log")
        {
            let block = store.block(&hash).expect("a sound log");
            store.connect(&block, &txids(&block), &spent).expect("a block on the tip");
        }
    }
}

pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a writable directory");
    for entry in fs::read_dir(from).expect("a readable directory") {
        let entry = entry.expect("a readable directory");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

pub fn extend_committed(store: &mut ChainStore, blocks: &[Sampled]) {
    for sampled in blocks {
        extend(store, sampled);
        store.commit().expect("a working disk");
        store.tidy().expect("a working engine");
    }
}

fn closed_store_opens_clean(disk: StoreOptions) {
    for options in [disk, with(EngineKind::Memory)] {
        let directory = TempDir::new().expect("a temporary directory");
        let (blocks, sample) = chain(60);
        let (mut store, recovery, lock) = open(directory.path(), &options);
        assert!(recovery.is_clean());
        extend_committed(&mut store, &blocks);
        assert_eq!(utxos(&store), sample.utxos);
        store.close().expect("a working disk");
        drop(lock);

        let (mut store, recovery, _lock) = open(directory.path(), &options);
        if options.engine == EngineKind::Memory {
            assert_eq!(recovery.blocks_replayed, 60);
            catch_up(&mut store);
        } else {
            assert!(recovery.is_clean(), "{recovery:?}");
        }
        assert_eq!(store.tip(), sample.tip);
        assert_eq!(utxos(&store), sample.utxos);
    }
}

fn reads_by_hash_height_transaction_and_script(disk: StoreOptions) {
    let directory = TempDir::new().expect("a temporary directory");
    let (blocks, sample) = chain(25);
    let (mut store, _, _lock) = open(directory.path(), &disk);
    extend_committed(&mut store, &blocks);
    let log = store.log_reader();
    for sampled in &blocks {
        let hash = sampled.block.block_hash();
        assert_eq!(store.hash_at(sampled.height).expect("works"), Some(hash));
        let entry = store.block_entry(&hash).expect("stored");
        assert_eq!((entry.height, entry.chain_work), (sampled.height, sampled.work));
        assert_eq!(store.block(&hash).expect("sound"), sampled.block);
        assert_eq!(read_block_bytes(&log, entry.body).expect("sound"), sampled.block.to_bytes());
        for tx in &sampled.block.transactions {
            let found = store.transaction(&tx.txid()).expect("works").expect("indexed");
            let bytes = read_transaction_bytes(&log, &entry, &found).expect("sound");
            assert_eq!(bytes, tx.to_bytes());
        }
    }
    for owner in 0..10 {
        let expected: Vec<_> = sample
            .utxos
            .iter()
            .filter(|(_, utxo)| utxo.output.script_pubkey == script(owner))
            .map(|(outpoint, utxo)| (*outpoint, utxo.clone()))
            .collect();
        let mut found: Vec<(OutPoint, Utxo)> = Vec::new();
        loop {
            let after = found.last().map(|(outpoint, _)| *outpoint);
            let page = store.utxos_of(&script(owner), after.as_ref(), 2).expect("works");
            if page.is_empty() {
                break;
            }
            found.extend(page);
        }
        assert_eq!(found, expected, "owner {owner}");
        let history = store.history_of(&script(owner), None, 100).expect("works");
        let touching = |sampled: &Sampled| {
            let paid = sampled.block.transactions.iter().flat_map(|tx| &tx.outputs);
            let spent = sampled.spent.iter().map(|utxo| &utxo.output);
            paid.chain(spent).any(|output| output.script_pubkey == script(owner))
        };
        let mut heights: Vec<_> = history.iter().map(|entry| entry.height).collect();
        heights.dedup();
        let expected: Vec<_> =
            blocks.iter().filter(|it| touching(it)).map(|it| it.height).collect();
        assert_eq!(heights, expected, "owner {owner}");
    }
}

fn reorganisation_equals_a_rebuild(disk: StoreOptions) {
    let directory = TempDir::new().expect("a temporary directory");
    let (mut store, _, lock) = open(directory.path(), &disk);
    let (trunk, sample) = chain(20);
    extend_committed(&mut store, &trunk);
    let branch = |seed: u32, length: u32| {
        let mut sample: Sample = sample.clone();
        let picks = [seed as usize, 1];
        let blocks = (0..length).map(|n| sample.next(seed + n, 6, &picks)).collect::<Vec<_>>();
        (blocks, sample)
    };
    let (left, left_end) = branch(1000, 12);
    let (right, right_end) = branch(2000, 14);
    for _ in 0..3 {
        for (old, new, end) in [(None, &left, &left_end), (Some(&left), &right, &right_end)] {
            for sampled in old.into_iter().flatten().rev() {
                store
                    .disconnect(&sampled.block, &txids(&sampled.block), &sampled.spent)
                    .expect("the tip");
            }
            extend_committed(&mut store, new);
            assert_eq!((utxos(&store), store.tip()), (end.utxos.clone(), end.tip));
        }
        for sampled in right.iter().rev() {
            store
                .disconnect(&sampled.block, &txids(&sampled.block), &sampled.spent)
                .expect("the tip");
        }
        assert_eq!(utxos(&store), sample.utxos);
    }
    assert!(matches!(
        store.disconnect(&right[3].block, &txids(&right[3].block), &right[3].spent),
        Err(StoreError::NotAtTip { .. })
    ));
    drop((store, lock));
    let options = StoreOptions { reindex: true, ..disk };
    let (mut store, recovery, _lock) = open(directory.path(), &options);
    assert_eq!((recovery.rebuilt, recovery.blocks_replayed), (Some(RebuildReason::AskedFor), 46));
    assert!(recovery.is_clean(), "it was asked for: {recovery:?}");
    for sampled in trunk.iter().chain(&right) {
        extend(&mut store, sampled);
    }
    assert_eq!(utxos(&store), right_end.utxos);
}

fn log_cut_anywhere_recovers_to_a_prefix(disk: StoreOptions) {
    let original = TempDir::new().expect("a temporary directory");
    let (blocks, _) = chain(12);
    let mut states = vec![(None, BTreeMap::new())];
    let mut sample = Sample::default();
    for (n, _) in (0..).zip(&blocks) {
        let picks = [n as usize, 2 * n as usize];
        sample.next(n, u8::try_from(n % 5).expect("small"), &picks[..(n % 3) as usize]);
        states.push((sample.tip, sample.utxos.clone()));
    }
    let one_segment = StoreOptions { log: LogOptions::default(), ..disk };
    let (mut store, _, lock) = open(original.path(), &one_segment);
    extend_committed(&mut store, &blocks);
    // No close: the index is some commits behind, as after a kill.
    drop((store, lock));
    let segment = Path::new("blocks").join("000000.blocks");
    let length = fs::metadata(original.path().join(&segment)).expect("a file").len();
    let mut reached = std::collections::BTreeSet::new();
    for cut in (28..=length).step_by(53) {
        let directory = TempDir::new().expect("a temporary directory");
        copy(original.path(), directory.path());
        let file = fs::OpenOptions::new().write(true).open(directory.path().join(&segment));
        file.and_then(|file| file.set_len(cut)).expect("a writable file");
        let (mut store, recovery, _lock) = open(directory.path(), &one_segment);
        catch_up(&mut store);
        let height = store.tip().map_or(0, |tip| tip.height.get() as usize + 1);
        assert_eq!((store.tip(), utxos(&store)), states[height], "cut at {cut}: {recovery:?}");
        reached.insert(height);
    }
    assert!(reached.len() > 10, "only {reached:?}");
}

fn lost_index_is_rebuilt_and_said(disk: StoreOptions) {
    let directory = TempDir::new().expect("a temporary directory");
    let (blocks, sample) = chain(40);
    let (mut store, _, lock) = open(directory.path(), &disk);
    extend_committed(&mut store, &blocks);
    store.close().expect("a working disk");
    drop(lock);

    fs::remove_dir_all(directory.path().join("index")).expect("removable");
    let (mut store, recovery, lock) = open(directory.path(), &disk);
    assert_eq!(recovery.blocks_replayed, 40);
    catch_up(&mut store);
    assert_eq!(utxos(&store), sample.utxos);
    store.close().expect("a working disk");
    drop(lock);

    // The log was put back from an older backup: the index knows more than there is.
    let last = fs::read_dir(directory.path().join("blocks")).expect("readable").count() - 1;
    let file = directory.path().join("blocks").join(format!("{last:06}.blocks"));
    fs::write(&file, &fs::read(&file).expect("readable")[..28]).expect("writable");
    let (mut store, recovery, _lock) = open(directory.path(), &disk);
    assert_eq!(recovery.rebuilt, Some(RebuildReason::AheadOfLog));
    assert!(!recovery.is_clean());
    catch_up(&mut store);
    assert!(store.tip().is_some_and(|tip| Some(tip) != sample.tip));
}

fn scrambled_index_is_rebuilt(disk: StoreOptions) {
    let directory = TempDir::new().expect("a temporary directory");
    let (blocks, sample) = chain(40);
    let (mut store, _, lock) = open(directory.path(), &disk);
    extend_committed(&mut store, &blocks);
    store.close().expect("a working disk");
    drop(lock);
    let index = directory.path().join("index");
    let database = DiskOptions::default().open(&index).expect("an index");
    crate::IndexEngine::write(&*database, vec![(b"sstate".to_vec(), Some(vec![1, 2, 3]))])
        .expect("a working engine");
    crate::IndexEngine::flush(&*database).expect("a working engine");
    drop(database);
    let (mut store, recovery, _lock) = open(directory.path(), &disk);
    assert_eq!(recovery.rebuilt, Some(RebuildReason::Damaged));
    assert!(!recovery.is_clean());
    catch_up(&mut store);
    assert_eq!(utxos(&store), sample.utxos);
}

fn certificates_come_back_before_and_after_a_rebuild(disk: StoreOptions) {
    let directory = TempDir::new().expect("a temporary directory");
    let (blocks, sample) = chain(20);
    let certificate = |n: usize| (!n.is_multiple_of(3)).then(|| vec![7; n * 10]);
    let check = |store: &ChainStore| {
        let log = store.log_reader();
        for (n, sampled) in blocks.iter().enumerate() {
            let hash = sampled.block.block_hash();
            let entry = store.block_entry(&hash).expect("stored");
            assert_eq!(store.certificate(&hash).expect("sound"), certificate(n), "block {n}");
            assert_eq!(read_certificate(&log, &entry).expect("sound"), certificate(n));
            assert_eq!(store.block(&hash).expect("sound"), sampled.block);
            let bytes = read_block_bytes(&log, entry.body).expect("sound");
            assert_eq!(bytes, sampled.block.to_bytes());
            for tx in &sampled.block.transactions {
                let found = store.transaction(&tx.txid()).expect("works").expect("indexed");
                let bytes = read_transaction_bytes(&log, &entry, &found).expect("sound");
                assert_eq!(bytes, tx.to_bytes(), "block {n}");
            }
        }
        assert_eq!((store.tip(), utxos(store)), (sample.tip, sample.utxos.clone()));
    };
    let (mut store, _, lock) = open(directory.path(), &disk);
    for (n, sampled) in blocks.iter().enumerate() {
        // Every second one gets its certificate after it was connected.
        let certificate = certificate(n);
        let early = certificate.as_deref().filter(|_| n % 2 == 0);
        for (step, certificate) in [early, certificate.as_deref(), None].into_iter().enumerate() {
            store
                .append_block(&sampled.block, sampled.height, sampled.work, certificate)
                .expect("a working disk");
            if step == 0 {
                store
                    .connect(&sampled.block, &txids(&sampled.block), &sampled.spent)
                    .expect("on the tip");
            }
        }
        store.commit().expect("a working disk");
    }
    check(&store);
    store.close().expect("a working disk");
    drop(lock);
    let (store, recovery, lock) = open(directory.path(), &disk);
    assert!(recovery.is_clean(), "{recovery:?}");
    check(&store);
    drop((store, lock));
    let (mut store, _, _lock) = open(directory.path(), &StoreOptions { reindex: true, ..disk });
    for sampled in &blocks {
        // Known to be valid, though the body came again.
        let hash = sampled.block.block_hash();
        let spent = store.undo(&hash).expect("sound").expect("it was connected");
        assert_eq!(spent, sampled.spent);
        store.connect(&sampled.block, &txids(&sampled.block), &spent).expect("on the tip");
    }
    check(&store);
}

fn invalid_mark_survives_and_missing_blocks_are_named(disk: StoreOptions) {
    let directory = TempDir::new().expect("a temporary directory");
    let (blocks, _) = chain(3);
    let (mut store, _, lock) = open(directory.path(), &disk);
    extend(&mut store, &blocks[0]);
    store.append_block(&blocks[1].block, blocks[1].height, blocks[1].work, None).expect("works");
    store.mark_invalid(&blocks[1].block.block_hash()).expect("stored");
    let missing = blocks[2].block.block_hash();
    assert!(
        matches!(store.block(&missing), Err(StoreError::UnknownBlock(hash)) if hash == missing)
    );
    store.close().expect("a working disk");
    drop(lock);
    let (store, _, _lock) = open(directory.path(), &disk);
    assert!(store.block_entry(&blocks[1].block.block_hash()).expect("stored").is_invalid);
}

/// The name of the engine in the directory.
fn engine_name(directory: &Path) -> String {
    fs::read_to_string(directory.join("index").join("ENGINE")).expect("a named engine")
}

#[test]
fn index_stays_with_its_engine_until_another_is_chosen() {
    let directory = TempDir::new().expect("a temporary directory");
    let unset = with(EngineKind::Disk(DiskOptions::default()));
    let (blocks, sample) = chain(40);
    let chosen = |engine: DiskEngine| with(engine.into());
    let (mut store, recovery, lock) = open(directory.path(), &chosen(DiskEngine::Sled));
    assert!(recovery.is_clean());
    extend_committed(&mut store, &blocks);
    store.close().expect("a working disk");
    drop(lock);
    for (options, name, rebuilt) in [
        (unset, "sled\n", None),
        (chosen(DiskEngine::Lsm), "lsm\n", Some(RebuildReason::OtherEngine)),
        (chosen(DiskEngine::Lsm), "lsm\n", None),
        (unset, "lsm\n", None),
        (chosen(DiskEngine::Sled), "sled\n", Some(RebuildReason::OtherEngine)),
        // A new index is the default engine's.
        (StoreOptions { reindex: true, ..unset }, "lsm\n", Some(RebuildReason::AskedFor)),
    ] {
        let (mut store, recovery, _lock) = open(directory.path(), &options);
        assert_eq!((recovery.rebuilt, engine_name(directory.path())), (rebuilt, name.to_owned()));
        assert!(recovery.is_clean(), "it was chosen: {recovery:?}");
        catch_up(&mut store);
        assert_eq!((store.tip(), utxos(&store)), (sample.tip, sample.utxos.clone()), "{name}");
        store.close().expect("a working disk");
    }
}

#[test]
fn unknown_engine_of_an_index_is_damage() {
    let directory = TempDir::new().expect("a temporary directory");
    let unset = with(EngineKind::Disk(DiskOptions::default()));
    let (blocks, sample) = chain(10);
    let (mut store, _, lock) = open(directory.path(), &unset);
    extend_committed(&mut store, &blocks);
    store.close().expect("a working disk");
    drop(lock);
    for name in ["", "l", "rocks\n"] {
        fs::write(directory.path().join("index").join("ENGINE"), name).expect("writable");
        let (mut store, recovery, _lock) = open(directory.path(), &unset);
        assert_eq!(recovery.rebuilt, Some(RebuildReason::Damaged), "{name:?}");
        catch_up(&mut store);
        assert_eq!(utxos(&store), sample.utxos, "{name:?}");
        store.close().expect("a working disk");
    }
}
