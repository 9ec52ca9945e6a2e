//! The chains that a new node lacks, made by the chain service's library in a node's directory.

use std::fs;
use std::path::{Path, PathBuf};

use pentad_bench::chain::{LocalChain, bytes};
use pentad_bench::payments::{Coin, START, key, pay, script, spec, split};
use pentad_ledger::ChainSpec;
use pentad_primitives::{Encode as _, Transaction};

/// Payments of a block: 1 MB.
const PAYMENTS: usize = 4_429;
/// Blocks of payments: a chain of 100,000 transactions.
const ROUNDS: u32 = 23;
/// Blocks with nothing but a coinbase.
const EMPTY_BLOCKS: u32 = 20_000;

/// A chain in a directory that `pentad-node` takes.
pub(crate) struct Ledger {
    /// File of the chain spec.
    pub(crate) spec: PathBuf,
    /// The directory with all blocks.
    pub(crate) full: PathBuf,
    pub(crate) height: u32,
    /// What can be spent on it.
    pub(crate) coins: Vec<Coin>,
}

impl Ledger {
    fn create(spec: &ChainSpec, directory: &Path) -> (Self, LocalChain) {
        let (file, full) = (directory.join("chain.toml"), directory.join("full"));
        fs::write(&file, spec.to_toml()).expect("writable");
        let chain = full.join("chain");
        fs::create_dir_all(&chain).expect("writable");
        let node = LocalChain::open(spec, &chain, START, false);
        (Self { spec: file, full, height: 0, coins: Vec::new() }, node)
    }

    /// 20,000 blocks of which each holds a coinbase alone.
    pub(crate) async fn empty_blocks(directory: &Path) -> Self {
        let (mut ledger, node) = Self::create(&spec(1), directory);
        let payee = script(&key(0));
        for _ in 0..EMPTY_BLOCKS {
            node.connect(bytes(&node.mine(payee.clone()).await)).await;
        }
        node.stop().await;
        ledger.height = EMPTY_BLOCKS;
        ledger
    }

    /// 100,000 payments in blocks of 1 MB.
    pub(crate) async fn payments(directory: &Path) -> Self {
        let spec = spec(PAYMENTS);
        let (mut ledger, node) = Self::create(&spec, directory);
        let payee = script(&key(0));
        let (mut transactions, mut coins) = split(&spec, PAYMENTS);
        for _ in 0..=ROUNDS {
            node.submit(transactions.iter().map(Transaction::to_bytes).collect()).await;
            let block = node.mine(payee.clone()).await;
            assert_eq!(block.transactions.len(), transactions.len() + 1, "a block of all");
            node.connect(bytes(&block)).await;
            ledger.height += 1;
            let paid = coins.iter().map(|coin| pay(coin, &payee));
            let kept: Vec<Coin>;
            (transactions, kept) = paid.unzip();
            if ledger.height <= ROUNDS {
                coins = kept;
            }
        }
        node.stop().await;
        ledger.coins = coins;
        ledger
    }
}
