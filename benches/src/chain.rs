//! A chain in a directory of its own, driven through the service's library: queue, fsync and all,
//! without gRPC.

use std::path::Path;
use std::sync::Arc;

use pentad_chain::{BlockOutcome, Chain, Clock as _, ManualClock, Options, Origin};
use pentad_crypto::MuHash;
use pentad_ledger::ChainSpec;
use pentad_ledger::mempool::Policy;
use pentad_primitives::{Block, Encode as _, Hash256, Script, Target};
use pentad_service_kit::Metrics;
use pentad_store::{IndexRead as _, StoreOptions};
use tokio::task::JoinSet;

/// Callers that hand in transactions at once, as in the reference.
const SUBMITTERS: usize = 16;
/// Seconds between blocks.
const SPACING: u32 = 10;

/// A chain without a process of its own.
#[derive(Debug)]
pub struct LocalChain {
    /// The chain service's library.
    pub chain: Chain,
    clock: Arc<ManualClock>,
}

impl LocalChain {
    /// Opens or makes one at `now`, Unix time in seconds.
    pub fn open(spec: &ChainSpec, data_dir: &Path, now: u32, reindex: bool) -> Self {
        let options = Options {
            spec: spec.clone(),
            data_dir: data_dir.to_owned(),
            store: StoreOptions { reindex, ..StoreOptions::default() },
            policy: Policy::default(),
        };
        let clock = Arc::new(ManualClock::new(now));
        let chain = Chain::open(options, clock.clone(), &Metrics::new()).expect("a sound store");
        Self { chain, clock }
    }

    /// Unix time in seconds, as the chain sees it.
    pub fn now(&self) -> u32 {
        self.clock.unix_seconds()
    }

    /// Hands in transactions from several callers; each waits for its answer.
    pub async fn submit(&self, transactions: Vec<Vec<u8>>) {
        let mut tasks = JoinSet::new();
        let share = transactions.len().div_ceil(SUBMITTERS);
        for share in transactions.chunks(share).map(<[_]>::to_vec) {
            let submitter = self.chain.submitter().clone();
            tasks.spawn(async move {
                for bytes in share {
                    let ticket = submitter.transaction(&bytes).await.expect("a live writer");
                    let admission = ticket.answer().await.expect("a live writer");
                    assert!(admission.expect("a valid transaction").is_new);
                }
            });
        }
        while let Some(task) = tasks.join_next().await {
            task.expect("no panic");
        }
    }

    /// A solved block of what is in the mempool.
    pub async fn mine(&self, payout: Script) -> Block {
        self.clock.advance(SPACING);
        let template = self.chain.submitter().template(payout, 0).await.expect("a template");
        let mut block = template.into_block();
        let target = Target::from_compact(block.header.bits).expect("valid bits");
        while !target.is_met_by(&block.block_hash()) {
            block.header.nonce += 1;
        }
        block
    }

    /// Hands in a block and waits until it is durable and readers see it.
    pub async fn connect(&self, bytes: Vec<u8>) {
        let submitter = self.chain.submitter();
        let ticket = submitter.block(bytes.into(), Vec::new().into(), Origin::Submitted).await;
        let ticket = ticket.expect("a live writer");
        let outcome = ticket.answer().await.expect("a live writer").expect("a valid block");
        assert_eq!(outcome, BlockOutcome::Connected);
    }

    /// How many unspent outputs the index holds, and the hash of them all.
    pub async fn utxo_set(&self) -> (usize, Hash256) {
        /// Outputs read at a time.
        const PAGE_LEN: usize = 1_000;
        let read = self.chain.reader().read(|view| {
            let (mut count, mut hash, mut after) = (0, MuHash::default(), None);
            loop {
                let page = view.tip.snapshot.utxos(after.as_ref(), PAGE_LEN)?;
                let Some((last, _)) = page.last() else { return Ok((count, hash.hash())) };
                after = Some(*last);
                count += page.len();
                page.iter().for_each(|(outpoint, utxo)| hash.insert_utxo(outpoint, utxo));
            }
        });
        read.await.expect("a working index")
    }

    /// Closes it.
    pub async fn stop(self) {
        self.chain.stop().await.expect("a working disk");
    }
}

/// A block as it is sent.
pub fn bytes(block: &Block) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(block.encoded_len());
    block.encode(&mut bytes);
    bytes
}
