//! What a crash leaves: logs cut at any byte, indexes that lag, processes killed in mid-work.

pub mod consistency;
mod kills;
#[cfg(feature = "fail-points")]
mod matrix;
mod script;
pub mod victim;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pentad_store::{DiskEngine, IndexRead as _};

use self::consistency::{State, state};
use self::victim::{choose, small};
use super::fixture::{COIN, FEE, Node, Person, alice, bob, directory, genesis_output, options};

pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a writable directory");
    for entry in fs::read_dir(from).expect("a readable directory") {
        let entry = entry.expect("a readable directory");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            match fs::copy(entry.path(), target) {
                // A running node merges files of its index into others.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                copied => drop(copied.expect("a copy")),
            }
        }
    }
}

/// The segments of a log, in order.
#[cfg(feature = "fail-points")]
fn log_files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory.join("blocks")).expect("a readable directory");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
    files.sort();
    files
}

fn log_file(directory: &Path) -> PathBuf {
    directory.join("blocks").join("000000.blocks")
}

/// Bytes in front of a segment's first record.
const SEGMENT_HEADER_LEN: usize = 28;

/// Offsets at which records of the log end.
fn record_ends(bytes: &[u8]) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut at = SEGMENT_HEADER_LEN;
    while at < bytes.len() {
        let length = u32::from_le_bytes(bytes[at + 5..at + 9].try_into().expect("four bytes"));
        at += 17 + length as usize;
        ends.push(at);
    }
    ends
}

#[tokio::test(flavor = "multi_thread")]
async fn log_cut_around_every_record_opens_to_a_chain_that_was() {
    let original = directory();
    let node = Node::open(original.path());
    let rival_directory = directory();
    let rival = Node::open(rival_directory.path());
    rival.clock.advance(3);
    // Every state that was ever published, by its tip; a reorganisation among them.
    let mut states = BTreeMap::from([(node.tip().await, node.utxo_set().await)]);
    let mut coins = genesis_output(0);
    for n in 1..4_u64 {
        let units = 100 * COIN - n * FEE;
        let payment = alice().spend(&[coins], &[(&alice(), units)]);
        coins = pentad_primitives::OutPoint { txid: payment.txid(), vout: 0 };
        node.submit_transaction(&payment).await.expect("a valid payment");
        node.mine(1, &bob()).await;
        states.insert(node.tip().await, node.utxo_set().await);
    }
    for block in rival.mine(5, &Person::new(30)).await {
        node.submit_block(&block).await.expect("a valid block");
        states.insert(node.tip().await, node.utxo_set().await);
    }
    rival.stop().await;
    // As a kill would leave it: nobody closed the store.
    let killed = directory();
    copy(original.path(), killed.path());
    node.stop().await;

    let bytes = fs::read(log_file(killed.path())).expect("a readable file");
    let ends = record_ends(&bytes);
    assert!(ends.len() >= 15, "blocks and undo data of both branches");
    let mut tips = std::collections::BTreeSet::new();
    for end in ends {
        for cut in [end - 1, end, end + 1].into_iter().filter(|cut| *cut <= bytes.len()) {
            let directory = directory();
            copy(killed.path(), directory.path());
            fs::write(log_file(directory.path()), &bytes[..cut]).expect("a writable file");
            let node = Node::open(directory.path());
            let (tip, utxos) = (node.tip().await, node.utxo_set().await);
            let was = states.get(&tip);
            // On the way of the reorganisation there are tips that were never published: they
            // equal a rebuild.
            if let Some(was) = was {
                assert_eq!(utxos, *was, "cut at {cut}");
            }
            tips.insert(tip);
            node.mine(1, &bob()).await;
            let before = (node.tip().await, node.utxo_set().await);
            node.stop().await;
            let mut rebuild = options(directory.path());
            rebuild.store.reindex = true;
            let node = Node::try_open(rebuild).expect("a sound log");
            assert_eq!((node.tip().await, node.utxo_set().await), before, "cut at {cut}");
            node.stop().await;
        }
    }
    assert!(tips.len() >= 5, "{} tips", tips.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn flipped_byte_in_the_middle_stops_the_start_and_is_named() {
    let directory = directory();
    let node = Node::open(directory.path());
    node.mine(20, &bob()).await;
    node.stop().await;
    let mut bytes = fs::read(log_file(directory.path())).expect("a readable file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(log_file(directory.path()), &bytes).expect("a writable file");
    let mut reindex = options(directory.path());
    reindex.store.reindex = true;
    let Err(error) = Node::try_open(reindex) else { panic!("it opened") };
    let message = error.to_string();
    assert!(message.contains("000000.blocks") && message.contains("offset"), "{message}");
    assert!(message.contains("restore"), "no remedy: {message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_or_scrambled_index_is_rebuilt() {
    let directory = directory();
    let node = Node::open(directory.path());
    node.mine(40, &bob()).await;
    let before = (node.tip().await, node.utxo_set().await);
    node.stop().await;
    let index = directory.path().join("index");
    fs::remove_dir_all(&index).expect("removable");
    let node = Node::open(directory.path());
    assert_eq!((node.tip().await, node.utxo_set().await), before);
    node.stop().await;
    for entry in fs::read_dir(&index).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_file() {
            let length = fs::metadata(&path).expect("readable").len();
            fs::write(&path, vec![0x5a; usize::try_from(length).expect("small")])
                .expect("writable");
        }
    }
    let node = Node::open(directory.path());
    assert_eq!((node.tip().await, node.utxo_set().await), before);
    node.stop().await;
}

/// Files below a directory.
fn files_of(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a readable directory");
    let paths = entries.map(|entry| entry.expect("readable").path());
    paths.flat_map(|path| if path.is_dir() { files_of(&path) } else { vec![path] }).collect()
}

/// What a node holds whose index is damaged. Some damage is found when it opens, some by the first
/// read that meets it: that ends the node, and the next start rebuilds the index.
async fn mended(directory: &Path) -> State {
    let node = Node::try_open(small(directory)).expect("a sound log");
    let read = node.chain.reader().read(|view| {
        let mut after = None;
        loop {
            let page = view.tip.snapshot.page(&[], after.as_deref(), 500)?;
            match page.into_iter().next_back() {
                Some((key, _)) => after = Some(key),
                None => return Ok(()),
            }
        }
    });
    if read.await.is_err() {
        let ended = tokio::time::timeout(Duration::from_secs(20), node.chain.ended()).await;
        assert!(matches!(ended.expect("it ends"), crate::Ended::Failed(_)));
        drop(node);
        assert!(directory.join("REINDEX").exists());
        let node = Node::try_open(small(directory)).expect("a sound log");
        return state(&node).await;
    }
    let found = state(&node).await;
    node.stop().await;
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn index_damaged_anywhere_is_mended_from_the_log() {
    for engine in DiskEngine::ALL {
        let original = directory();
        choose(original.path(), engine);
        let node = Node::try_open(small(original.path())).expect("an empty directory");
        node.mine(200, &bob()).await;
        let before = state(&node).await;
        node.stop().await;
        let index = original.path().join("index");
        for file in files_of(&index) {
            let bytes = fs::read(&file).expect("readable");
            let used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
            for part in 0..6 {
                let directory = directory();
                copy(original.path(), directory.path());
                let mut damaged = bytes.clone();
                let at = used[part * used.len() / 6];
                let end = damaged.len().min(at + 16);
                damaged[at..end].fill(0x5a);
                let place = file.strip_prefix(original.path()).expect("below it");
                fs::write(directory.path().join(place), damaged).expect("writable");
                let what = format!("{} damaged at {at}", place.display());
                assert_eq!(mended(directory.path()).await, before, "{what}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn index_found_damaged_at_work_ends_the_node_and_is_rebuilt() {
    let directory = directory();
    let node = Node::open(directory.path());
    node.mine(5, &bob()).await;
    let before = (node.tip().await, node.utxo_set().await);
    let read = node.chain.reader().read(|_| -> Result<(), _> {
        let damage = pentad_store::IndexError::Reported("a test says so".to_owned());
        Err(crate::ChainError::Store(damage.into()))
    });
    read.await.expect_err("it was damaged");
    let ended = tokio::time::timeout(Duration::from_secs(20), node.chain.ended()).await;
    assert!(matches!(ended.expect("it ends"), crate::Ended::Failed(_)));
    drop(node);
    assert!(directory.path().join("REINDEX").exists());
    let node = Node::open(directory.path());
    assert!(!directory.path().join("REINDEX").exists());
    assert_eq!((node.tip().await, node.utxo_set().await), before);
    node.stop().await;
}
