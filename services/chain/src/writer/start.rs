//! From a data directory to a running writer.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Instant;

use pentad_ledger::mempool::Policy;
use pentad_ledger::verify::CheckedBlock;
use pentad_ledger::{ChainSpec, HeaderTree, Mempool};
use pentad_primitives::{BlockHash, BlockHeight};
use pentad_store::{BlockEntry, ChainStore, DataDir, IndexError, StoreError, StoreOptions};
use tokio::sync::watch;

use super::blocks::tip_view;
use super::certificates::{Extent, check_stored};
use super::{Group, Job, MempoolFile, Proposals, Writer};
use crate::clock::Clock;
use crate::finality::Finality;
use crate::flow::Flow;
use crate::metrics::ChainMetrics;
use crate::progress::{Phase, Progress};
use crate::view::Published;

/// What a writer needs.
pub(crate) struct Parts {
    pub(crate) spec: ChainSpec,
    pub(crate) finality: Finality,
    pub(crate) directory: DataDir,
    pub(crate) options: StoreOptions,
    pub(crate) policy: Policy,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) flow: Flow,
    pub(crate) metrics: ChainMetrics,
    /// Is told how far the start is.
    pub(crate) progress: watch::Sender<Progress>,
}

/// A writer at work.
pub(crate) struct Started {
    pub(crate) published: Arc<Published>,
    pub(crate) jobs: mpsc::Sender<Job>,
    /// How the writer's thread ended, once it has.
    pub(crate) ended: watch::Receiver<Option<Ended>>,
}

/// How a writer's thread ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to, and everything is on disk.
    Stopped,
    /// The store failed; the text says how.
    Failed(String),
}

/// Opens the store, connects what a crash left unconnected, and starts the thread.
pub(crate) fn start(parts: Parts) -> Result<Started, StoreError> {
    let started = Instant::now();
    let Opened { mut store, tree, certified, is_rebuilt } = match open(&parts, &parts.options) {
        Err(StoreError::Index(error)) => {
            tracing::warn!(%error, "the index cannot be read; rebuilding it");
            let reindex = true;
            open(&parts, &StoreOptions { reindex, ..parts.options })?
        }
        outcome => outcome?,
    };
    let Parts { spec, finality, directory, policy, clock, flow, metrics, progress, .. } = parts;
    let tip = store.tip().expect("genesis is connected").hash;
    let view = tip_view(&tree, &tip, store.commit()?);
    let (log, mempool) = (store.log_reader(), Mempool::new(policy, &spec));
    let published = Published::new(spec.clone(), finality, log, view, mempool, flow);
    let published = Arc::new(published);
    let mut writer = Writer {
        spec,
        store,
        tree,
        published: Arc::clone(&published),
        clock,
        metrics,
        group: Group::default(),
        proposals: Proposals::default(),
        waiting: MempoolFile::new(&directory),
        awaited: None,
        progress,
    };
    if is_rebuilt {
        writer.rebuild(&certified)?;
    } else {
        writer.catch_up(&certified)?;
    }
    writer.progress.send_modify(|progress| progress.phase = Phase::Open);
    let tip = published.tip();
    tracing::info!(
        height = %tip.height, tip = %tip.hash,
        elapsed_ms = started.elapsed().as_millis(),
        "chain open"
    );
    let (jobs, ended) = spawn(writer, directory);
    Ok(Started { published, jobs, ended })
}

/// What a data directory holds.
struct Opened {
    /// Genesis is connected.
    store: ChainStore,
    tree: HeaderTree,
    /// Blocks that certificates made final, above those of the chain up to the index's tip; the
    /// highest first.
    certified: Vec<BlockHash>,
    is_rebuilt: bool,
}

fn open(parts: &Parts, options: &StoreOptions) -> Result<Opened, StoreError> {
    let (mut store, recovery) = ChainStore::open(&parts.directory, options)?;
    if !recovery.is_clean() {
        tracing::warn!(
            torn = ?recovery.torn,
            rebuilt = recovery.rebuilt.map(tracing::field::display),
            blocks_replayed = recovery.blocks_replayed,
            steps_redone = recovery.steps_redone,
            "the last run did not end in good order; the store was mended"
        );
    }
    connect_genesis(&mut store, &parts.spec)?;
    let extent = match recovery.rebuilt {
        Some(_) => Extent::All,
        None => Extent::Last,
    };
    let (tree, certified) = load_tree(&store, &parts.spec, &parts.finality, extent)?;
    Ok(Opened { store, tree, certified, is_rebuilt: recovery.rebuilt.is_some() })
}

fn spawn(
    writer: Writer,
    directory: DataDir,
) -> (mpsc::Sender<Job>, watch::Receiver<Option<Ended>>) {
    // Bounded by the room that every job holds.
    let (jobs, queue) = mpsc::channel();
    let (end, ended) = watch::channel(None);
    let work = move || {
        let outcome = match writer.run(&queue) {
            Ok(()) => Ended::Stopped,
            Err(error) => {
                match &error {
                    StoreError::Index(IndexError::RebuildRequested) => {
                        tracing::warn!("the node ends, and rebuilds its index at the next start");
                    }
                    error => {
                        tracing::error!(%error, "the chain's store failed; the node must stop");
                    }
                }
                if let StoreError::Index(_) = &error
                    && let Err(error) = directory.request_reindex()
                {
                    tracing::error!(%error, "the next start will not know that it should reindex");
                }
                Ended::Failed(error.to_string())
            }
        };
        // Whoever learns of the end may open the directory again.
        drop(directory);
        end.send_replace(Some(outcome));
    };
    thread::Builder::new()
        .name("chain-writer".to_owned())
        .spawn(work)
        .expect("the system has room for one more thread");
    (jobs, ended)
}

fn connect_genesis(store: &mut ChainStore, spec: &ChainSpec) -> Result<(), StoreError> {
    if store.tip().is_some() {
        return Ok(());
    }
    let tree = HeaderTree::new(spec);
    let work = tree.chain_work(&spec.genesis_hash()).expect("genesis is in the tree");
    store.append_block(spec.genesis_block(), BlockHeight::GENESIS, work, None)?;
    let genesis = CheckedBlock::assume_valid(spec.genesis_block().clone());
    store.connect(genesis.block(), genesis.txids(), &[])
}

/// The headers of every stored block, which bodies there are, and what is final beyond the tip.
fn load_tree(
    store: &ChainStore,
    spec: &ChainSpec,
    finality: &Finality,
    extent: Extent,
) -> Result<(HeaderTree, Vec<BlockHash>), StoreError> {
    let mut tree = HeaderTree::new(spec);
    let mut entries = store.entries()?;
    check_stored(store, &entries, finality, extent)?;
    let in_log_order: Vec<_> = entries.iter().map(|(hash, _)| *hash).collect();
    entries.sort_by_key(|(_, entry)| entry.height);
    for (hash, entry) in &entries {
        // It passed the check against the clock when it came.
        if let Err(error) = tree.insert(&entry.header, entry.header.time) {
            tracing::debug!(%hash, %error, "a stored block is out of reach");
        }
    }
    for hash in &in_log_order {
        tree.body_known(hash);
    }
    let tip = store.tip().expect("genesis is connected").hash;
    tree.set_tip(&tip).map_err(|_| StoreError::UnknownBlock(tip))?;
    for (hash, _) in entries.iter().filter(|(_, entry)| entry.is_invalid) {
        tree.mark_invalid(hash);
    }
    // A certificate makes its block final, and with it all below. Elsewhere one is damage.
    let has_validators = finality.membership().is_some();
    let is_certified = |(_, it): &&(BlockHash, BlockEntry)| has_validators && it.has_certificate();
    let certified = entries.iter().rev().filter(is_certified);
    let is_active = |(hash, _): &&(BlockHash, BlockEntry)| tree.is_active(hash);
    if let Some((hash, _)) = certified.clone().find(is_active) {
        tree.finalise(hash).map_err(|_| StoreError::UnknownBlock(*hash))?;
    }
    let beyond = certified.take_while(|(_, entry)| entry.height > tree.final_height());
    let beyond = beyond.map(|(hash, _)| *hash).collect();
    Ok((tree, beyond))
}

impl Writer {
    /// Connects blocks that are in the log and not yet in the index.
    fn catch_up(&mut self, certified: &[BlockHash]) -> Result<(), StoreError> {
        self.restore_finality(certified, Self::move_to)?;
        for (_, refusal) in self.move_to_best()? {
            tracing::warn!(
                reason = refusal.reason,
                "a stored block is invalid: {}",
                refusal.message
            );
        }
        self.finish_group()
    }
}
