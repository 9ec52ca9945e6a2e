//! What a crash leaves: logs cut at any byte, indexes that lag, processes killed in mid-work.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pentad_store::IndexRead as _;

use super::fixture::{COIN, FEE, Node, Person, alice, bob, directory, genesis_output, options};

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

fn log_file(directory: &Path) -> PathBuf {
    directory.join("blocks").join("000000.blocks")
}

/// Offsets at which records of the log end.
fn record_ends(bytes: &[u8]) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut at = 28;
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

#[tokio::test(flavor = "multi_thread")]
async fn index_damaged_anywhere_is_mended_from_the_log() {
    let original = directory();
    let node = Node::open(original.path());
    node.mine(200, &bob()).await;
    let before = (node.tip().await, node.utxo_set().await);
    node.stop().await;
    let database = original.path().join("index").join("db");
    let bytes = fs::read(&database).expect("readable");
    let used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
    for part in 0..6 {
        let directory = directory();
        copy(original.path(), directory.path());
        let mut damaged = bytes.clone();
        let at = used[part * used.len() / 6 + 1_000];
        damaged[at..at + 16].fill(0x5a);
        fs::write(directory.path().join("index").join("db"), damaged).expect("writable");
        let node = Node::open(directory.path());
        assert_eq!((node.tip().await, node.utxo_set().await), before, "damaged at {at}");
        node.stop().await;
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

/// Set in the child process: the data directory to work on.
const CHILD: &str = "PENTAD_TEST_CRASH_CHILD";

/// The victim of the test below: mines and pays as fast as it can, and says what was acknowledged.
#[test]
fn child_that_is_killed() {
    let Some(directory) = std::env::var_os(CHILD) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let node = Node::open(Path::new(&directory));
        let start = node.info().await.height;
        node.clock.advance(start * 10);
        println!("\nopen {start}");
        for n in 0..100_000_u64 {
            let owner = Person::new(40 + u8::try_from(n % 4).expect("small"));
            let block = &node.mine(1, &owner).await[0];
            println!("\nacknowledged {} {}", node.info().await.height, block.block_hash());
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_mid_work_nothing_acknowledged_is_lost() {
    let directory = directory();
    let program = std::env::current_exe().expect("this program");
    let mut acknowledged: Vec<(u32, String)> = Vec::new();
    for round in 0..12_u64 {
        let mut child = Command::new(&program)
            .args(["tests::crash::child_that_is_killed", "--exact", "--nocapture"])
            .env(CHILD, directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a process");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let opened = Instant::now();
        let mut wait = None;
        for line in lines.map_while(Result::ok) {
            if line.starts_with("open") {
                // A different instant in every round, some of them within the first block.
                wait = Some(Instant::now() + Duration::from_millis(round * round * 7));
            }
            if let Some(rest) = line.strip_prefix("acknowledged ") {
                let (height, hash) = rest.split_once(' ').expect("height and hash");
                acknowledged.push((height.parse().expect("a height"), hash.to_owned()));
            }
            if wait.is_some_and(|wait| Instant::now() >= wait) {
                // SIGKILL. What it wrote to the pipe before is still read.
                drop(child.kill());
            }
            assert!(opened.elapsed() < Duration::from_secs(60), "the child hangs");
        }
        child.wait().expect("an end");
    }
    let node = Node::open(directory.path());
    let height = node.info().await.height;
    assert!(acknowledged.len() > 20, "only {} blocks", acknowledged.len());
    for (at, hash) in &acknowledged {
        let at = pentad_primitives::BlockHeight::new(*at);
        let found = node.chain.reader().read(move |view| Ok(view.tip.snapshot.hash_at(at)?)).await;
        let found = found.expect("a working index").map(|hash| hash.to_string());
        assert_eq!(found.as_ref(), Some(hash), "height {at} of {height}");
    }
    let before = (node.tip().await, node.utxo_set().await);
    node.stop().await;
    let mut rebuild = options(directory.path());
    rebuild.store.reindex = true;
    let node = Node::try_open(rebuild).expect("a sound log");
    assert_eq!((node.tip().await, node.utxo_set().await), before);
    node.stop().await;
}
