//! A rebuild of the index takes nobody's word for a block, not even the log's own.

use std::path::Path;
use std::sync::Arc;

use pentad_ledger::HeaderTree;
use pentad_primitives::{Amount, Block, BlockHeight, Transaction, Txid, Utxo};
use pentad_service_kit::Metrics;
use pentad_store::{ChainStore, DataDir, StoreOptions};
use tokio::sync::watch;

use super::fixture::{
    COIN, FEE, Node, Person, START, alice, bob, directory, genesis_output, options, reseal, spec,
};
use crate::{Chain, ManualClock, Options, Phase, Progress};

fn store(directory: &Path) -> (DataDir, ChainStore) {
    let data = DataDir::open(directory, &spec().spec_hash()).expect("a free directory");
    let (store, _) = ChainStore::open(&data, &StoreOptions::default()).expect("a sound store");
    (data, store)
}

/// Writes a block on genesis and its undo data, as a node that checked nothing would have.
fn plant(directory: &Path, block: &Block, spent: &[Utxo]) {
    let (_data, mut store) = store(directory);
    let mut tree = HeaderTree::new(&spec());
    let hash = tree.insert(&block.header, block.header.time).expect("a valid header").hash;
    let work = tree.chain_work(&hash).expect("just inserted");
    let txids: Vec<Txid> = block.transactions.iter().map(Transaction::txid).collect();
    store.append_block(block, BlockHeight::new(1), work, None).expect("a working disk");
    store.connect(block, &txids, spent).expect("on genesis");
    store.close().expect("a working disk");
}

/// A block on genesis with this transaction, and a directory with genesis alone.
async fn block_with(directory: &Path, transaction: Transaction) -> Block {
    let node = Node::open(directory);
    let mut block = node.template(&Person::new(9)).await;
    node.stop().await;
    block.transactions.push(transaction);
    reseal(block)
}

/// The output of genesis that Alice owns, as somebody may have written it down.
fn spent(owner: &Person, units: u64) -> Utxo {
    let mut output = spec().genesis_block().transactions[0].outputs[0].clone();
    output.script_pubkey = owner.script();
    output.amount = Amount::from_units(units).expect("an amount");
    Utxo { output, height: BlockHeight::GENESIS, from_coinbase: true }
}

fn rebuilding(directory: &Path) -> Options {
    let mut options = options(directory);
    options.store.reindex = true;
    options
}

async fn height_after(options: Options) -> u32 {
    let node = Node::try_open(options).expect("a sound log");
    let height = node.info().await.height;
    node.stop().await;
    height
}

#[tokio::test(flavor = "multi_thread")]
async fn rebuild_refuses_what_the_log_calls_valid() {
    let mut forged = alice().spend(&[genesis_output(0)], &[(&bob(), 99 * COIN)]);
    forged.outputs[0].amount = Amount::from_units(98 * COIN).expect("an amount");
    let stolen = bob().spend(&[genesis_output(0)], &[(&bob(), 99 * COIN)]);
    let inflated = alice().spend(&[genesis_output(0)], &[(&bob(), 101 * COIN)]);
    for (name, transaction, claimed) in [
        ("a signature that does not verify", forged, spent(&alice(), 100 * COIN)),
        // Signatures alone would pass: they do not sign what is spent.
        ("another owner in the undo data", stolen, spent(&bob(), 100 * COIN)),
        ("another amount in the undo data", inflated, spent(&alice(), 102 * COIN)),
    ] {
        let directory = directory();
        let block = block_with(directory.path(), transaction).await;
        plant(directory.path(), &block, &[claimed]);
        // An ordinary start believes the log: that is what makes it quick.
        assert_eq!(height_after(options(directory.path())).await, 1, "{name}");
        assert_eq!(height_after(rebuilding(directory.path())).await, 0, "{name}");
        // It is remembered, and found again.
        assert_eq!(height_after(options(directory.path())).await, 0, "{name}");
        assert_eq!(height_after(rebuilding(directory.path())).await, 0, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rebuild_mends_undo_data_of_a_valid_block() {
    let directory = directory();
    let payment = alice().spend(&[genesis_output(0)], &[(&bob(), 99 * COIN)]);
    let block = block_with(directory.path(), payment).await;
    let truth = spent(&alice(), 100 * COIN);
    for wrong in [spent(&bob(), 100 * COIN), spent(&alice(), 200 * COIN)] {
        plant(directory.path(), &block, &[wrong]);
        for _ in 0..2 {
            assert_eq!(height_after(rebuilding(directory.path())).await, 1);
            let (_data, store) = store(directory.path());
            let undo = store.undo(&block.block_hash()).expect("a sound log");
            assert_eq!(undo, Some(vec![truth.clone()]));
        }
        std::fs::remove_dir_all(directory.path()).expect("removable");
        let node = Node::open(directory.path());
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rebuild_of_a_long_chain_ends_where_it_was_and_tells_how_far_it_is() {
    const BLOCKS: usize = 40;
    let directory = directory();
    let node = Node::open(directory.path());
    let mut outpoint = genesis_output(0);
    for n in 1..=BLOCKS as u64 {
        let rest = 100 * COIN - n * (COIN + FEE);
        let payment = alice().spend(&[outpoint], &[(&alice(), rest), (&bob(), COIN)]);
        outpoint.txid = payment.txid();
        node.submit_transaction(&payment).await.expect("valid");
        node.mine(1, &Person::new(9)).await;
    }
    let (tip, coins) = (node.tip().await, node.utxo_set().await);
    node.stop().await;
    let (sender, progress) = watch::channel(Progress::BEGIN);
    let clock = Arc::new(ManualClock::new(START + 1_000));
    let options = rebuilding(directory.path());
    let opened = Chain::open_watched(options, clock, &Metrics::new(), sender);
    let chain = opened.expect("a sound log");
    let total = BLOCKS as u64;
    assert_eq!(*progress.borrow(), Progress { phase: Phase::Open, done: total, total });
    chain.stop().await.expect("a working disk");
    let node = Node::open(directory.path());
    assert_eq!((node.tip().await, node.utxo_set().await), (tip, coins));
    node.stop().await;
}
