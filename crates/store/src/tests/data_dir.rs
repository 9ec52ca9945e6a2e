use std::path::Path;
use std::{fs, io, process};

use pentad_crypto::MuHash;
use pentad_primitives::{Hash256, sha256d};
use tempfile::TempDir;

use crate::format::{DATA_FORMAT, MIGRATIONS, Migration, bring_up};
use crate::tests::sample::{chain, txids};
use crate::{ChainStore, DataDir, DataDirError, IndexRead as _, StoreOptions, TransactionFile};

#[test]
fn second_process_is_told_who_holds_the_directory() {
    let directory = TempDir::new().expect("a temporary directory");
    let path = directory.path().join("chain");
    let held = DataDir::open(&path, &Hash256::ZERO).expect("a free directory");
    let error = DataDir::open(&path, &Hash256::ZERO).expect_err("the lock is held");
    assert!(matches!(&error, DataDirError::Locked { pid: Some(pid), .. } if *pid == process::id()));
    let message = error.to_string();
    assert!(message.contains(&path.display().to_string()), "{message}");
    assert!(message.contains(&process::id().to_string()), "{message}");
    drop(held);
    DataDir::open(&path, &Hash256::ZERO).expect("the lock went with its holder");
}

#[test]
fn directory_of_another_network_is_refused() {
    let directory = TempDir::new().expect("a temporary directory");
    let ours = sha256d(b"ours");
    drop(DataDir::open(directory.path(), &ours).expect("a free directory"));
    drop(DataDir::open(directory.path(), &ours).expect("its own spec"));
    let error = DataDir::open(directory.path(), &Hash256::ZERO).expect_err("another spec");
    let DataDirError::OtherSpec { found, .. } = error else { panic!("{error}") };
    assert_eq!(found, ours.to_string());
}

#[test]
fn directory_of_a_newer_or_unreadable_format_is_refused() {
    let directory = TempDir::new().expect("a temporary directory");
    drop(DataDir::open(directory.path(), &Hash256::ZERO).expect("a free directory"));
    let file = directory.path().join("FORMAT");
    let text = fs::read_to_string(&file).expect("a readable file");
    assert_eq!(text, format!("format = 5\nspec = {}\n", Hash256::ZERO));
    for format in ["6", "0", "", "two"] {
        let other = text.replace("format = 5", &format!("format = {format}"));
        fs::write(&file, &other).expect("a writable file");
        let error = DataDir::open(directory.path(), &Hash256::ZERO).expect_err("another format");
        assert!(matches!(&error, DataDirError::Format { found, .. } if found == format));
        assert!(error.to_string().contains("formats 1 to 5"), "{error}");
        assert_eq!(fs::read_to_string(&file).expect("a readable file"), other);
    }
}

#[test]
fn migrations_lead_from_the_first_format_to_the_last() {
    let mut version = 1;
    for migration in MIGRATIONS {
        assert_eq!((migration.from, migration.to), (version, version + 1), "{}", migration.what);
        version = migration.to;
    }
    assert_eq!(version, DATA_FORMAT);
}

/// Renames one file, then another; fails in between as long as `stop` is there.
const TWO_STEPS: &[Migration] = &[
    Migration { from: 1, to: 2, what: "renames a", run: |path| rename(path, "a", "b") },
    Migration {
        from: 2,
        to: 3,
        what: "renames b",
        run: |path| {
            rename(path, "b", "c")?;
            if path.join("stop").exists() { Err(io::Error::other("stopped")) } else { Ok(()) }
        },
    },
];

fn rename(path: &Path, from: &str, to: &str) -> io::Result<()> {
    match fs::rename(path.join(from), path.join(to)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.join(to).exists() => Ok(()),
        outcome => outcome,
    }
}

#[test]
fn migration_that_was_interrupted_is_resumed() {
    let directory = TempDir::new().expect("a temporary directory");
    let path = directory.path();
    let format = || fs::read_to_string(path.join("FORMAT")).expect("a readable file");
    let text = |version| format!("format = {version}\nspec = {}\n", Hash256::ZERO);
    fs::write(path.join("FORMAT"), text(1)).expect("a writable file");
    fs::write(path.join("a"), "kept").expect("a writable file");
    fs::write(path.join("stop"), "").expect("a writable file");
    let error = bring_up(path, &Hash256::ZERO, TWO_STEPS).expect_err("stopped in the second");
    assert!(matches!(&error, DataDirError::Migration { from: 2, to: 3, .. }), "{error}");
    // The first step holds; the second has changed files, and is not done.
    assert_eq!(format(), text(2));
    fs::remove_file(path.join("stop")).expect("removable");
    bring_up(path, &Hash256::ZERO, TWO_STEPS).expect("it goes on");
    assert_eq!(format(), text(3));
    assert_eq!(fs::read_to_string(path.join("c")).expect("migrated"), "kept");
    bring_up(path, &Hash256::ZERO, TWO_STEPS).expect("nothing is left to do");
    // A directory of another network is refused before anything is changed.
    fs::write(path.join("FORMAT"), text(1)).expect("a writable file");
    let error = bring_up(path, &sha256d(b"other"), TWO_STEPS).expect_err("another network");
    assert!(matches!(error, DataDirError::OtherSpec { .. }));
    assert_eq!(format(), text(1));
}

/// Written by the last program of format 1: twelve blocks, the index, two waiting transactions.
fn format_1(to: &Path) {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tests/format_1");
    for file in ["FORMAT", "mempool", "blocks/000000.blocks", "index/conf", "index/db"] {
        let target = to.join(file);
        fs::create_dir_all(target.parent().expect("below")).expect("a writable directory");
        fs::copy(fixture.join(file), target).expect("a copy");
    }
}

#[test]
fn directory_of_format_1_is_migrated() {
    let (blocks, sample) = chain(12);
    for with_index in [true, false] {
        let directory = TempDir::new().expect("a temporary directory");
        format_1(directory.path());
        if !with_index {
            fs::remove_dir_all(directory.path().join("index")).expect("removable");
        }
        let data = DataDir::open(directory.path(), &Hash256::ZERO).expect("migrated");
        let format = fs::read_to_string(directory.path().join("FORMAT")).expect("readable");
        assert_eq!(format, format!("format = 5\nspec = {}\n", Hash256::ZERO));
        let waiting = TransactionFile::new(&data).load().expect("sound");
        assert_eq!(waiting, blocks[11].block.transactions);
        let options = StoreOptions { keeps_set_hash: true, ..StoreOptions::default() };
        let (mut store, recovery) = ChainStore::open(&data, &options).expect("a sound store");
        assert_eq!(recovery.blocks_replayed, if with_index { 0 } else { 12 });
        for sampled in &blocks {
            let hash = sampled.block.block_hash();
            assert_eq!(store.block(&hash).expect("stored"), sampled.block);
            assert_eq!(store.certificate(&hash).expect("stored"), None);
            if !with_index {
                store
                    .connect(&sampled.block, &txids(&sampled.block), &sampled.spent)
                    .expect("on the tip");
            }
        }
        assert_eq!(store.tip(), sample.tip);
        let utxos = store.utxos(None, 1_000).expect("readable");
        assert_eq!(utxos, sample.utxos.clone().into_iter().collect::<Vec<_>>());
        // The older program kept no hash of the set.
        let mut expected = MuHash::default();
        utxos.iter().for_each(|(outpoint, utxo)| expected.insert_utxo(outpoint, utxo));
        let found = store.commit().expect("a working disk").set_hash().expect("sound rows");
        assert_eq!(found.expect("it is kept").hash(), expected.hash());
        // And it goes on from there.
        let mut sample = sample.clone();
        let next = sample.next(99, 2, &[0, 3]);
        store
            .append_block(&next.block, next.height, next.work, Some(b"certificate"))
            .and_then(|()| store.connect(&next.block, &txids(&next.block), &next.spent))
            .expect("on the tip");
        assert_eq!(store.tip(), sample.tip);
        let old = blocks[3].block.block_hash();
        store.append_certificate(&old, b"certificate").expect("stored");
        for hash in [next.block.block_hash(), old] {
            let certificate = store.certificate(&hash).expect("stored");
            assert_eq!(certificate.as_deref(), Some(&b"certificate"[..]));
        }
    }
}
