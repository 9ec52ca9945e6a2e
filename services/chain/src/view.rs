//! What the writer publishes and everybody else reads.
//!
//! The writer never makes readers wait: a [`TipView`] is an immutable snapshot of the index at one
//! tip, replaced as a whole. The mempool is behind a lock that the writer holds for writing only
//! while entries move, never while something is checked. Both change together under that lock, so
//! that whoever holds it for reading sees a mempool that belongs to the tip.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::time::Instant;

use pentad_ledger::mempool::Entry;
use pentad_ledger::verify::contextual::BlockContext;
use pentad_ledger::{ChainSpec, Mempool};
use pentad_primitives::pow::Work;
use pentad_primitives::{BlockHash, BlockHeader, BlockHeight, Transaction, TxOut, Txid};
use pentad_store::log::LogReader;
use pentad_store::{IndexError, Snapshot};
use tokio::sync::{broadcast, watch};
use tokio::time::timeout;

use pentad_api::chain::v1::RemovalReason;

use crate::backlog::{self, Backlog};
use crate::departures::Departures;
use crate::finality::Finality;
use crate::flow::Flow;
use crate::signature_cache::SignatureCache;
use crate::traces::Traces;

/// Events that wait for a follower of the mempool; one that falls further behind starts over. More
/// than the largest block confirms at once.
pub(crate) const MEMPOOL_EVENTS_MAX: usize = 1 << 15;

/// The main chain at one tip.
#[derive(Clone, Debug)]
pub struct TipView {
    /// Hash of the tip.
    pub hash: BlockHash,
    /// Height of the tip.
    pub height: BlockHeight,
    /// Header of the tip.
    pub header: BlockHeader,
    /// Work of the main chain.
    pub chain_work: Work,
    /// Median time of the last eleven blocks, Unix seconds.
    pub median_time_past: u32,
    /// Height of the last final block; genesis under proof of work.
    pub final_height: BlockHeight,
    /// What the chain demands of the next block; `None` at the last height there is.
    pub next: Option<BlockContext>,
    /// The index at this tip.
    pub snapshot: Snapshot,
}

/// A change of the mempool.
#[derive(Clone, Debug)]
pub enum MempoolEvent {
    /// A transaction entered.
    Added {
        /// Its id.
        txid: Txid,
        /// The transaction.
        transaction: Arc<Transaction>,
        /// The outputs that its inputs name, in order.
        spent: Arc<[TxOut]>,
    },
    /// A transaction left.
    Removed(Txid, RemovalReason),
}

impl MempoolEvent {
    /// The event of an entry that has just come.
    pub(crate) fn added(entry: &Entry) -> Self {
        let transaction = Arc::clone(entry.transaction());
        Self::Added { txid: entry.txid(), transaction, spent: entry.spent().into() }
    }
}

/// What readers share with the writer.
#[derive(Debug)]
pub struct Published {
    /// The network.
    pub spec: ChainSpec,
    /// What makes its blocks final.
    pub finality: Finality,
    /// The blocks.
    pub log: LogReader,
    tip: watch::Sender<Arc<TipView>>,
    mempool: RwLock<Mempool>,
    mempool_events: broadcast::Sender<MempoolEvent>,
    mempool_changes: AtomicU64,
    backlog: Backlog,
    /// Calls that wait for transactions to leave the mempool.
    pub(crate) departures: Departures,
    /// Transactions whose signatures need not be verified again.
    pub(crate) signatures: SignatureCache,
    /// What is traced.
    pub(crate) traces: Traces,
    /// Counts what comes and goes.
    pub(crate) flow: Flow,
    /// The first failure of the index that a reader met.
    index_failure: OnceLock<String>,
}

impl Published {
    pub(crate) fn new(
        spec: ChainSpec,
        finality: Finality,
        log: LogReader,
        tip: TipView,
        mempool: Mempool,
        flow: Flow,
    ) -> Self {
        Self {
            spec,
            finality,
            log,
            tip: watch::Sender::new(Arc::new(tip)),
            mempool: RwLock::new(mempool),
            mempool_events: broadcast::Sender::new(MEMPOOL_EVENTS_MAX),
            mempool_changes: AtomicU64::new(0),
            backlog: Backlog::default(),
            departures: Departures::default(),
            signatures: SignatureCache::new(),
            traces: Traces::default(),
            flow,
            index_failure: OnceLock::new(),
        }
    }

    /// The main chain as it is now.
    #[must_use]
    pub fn tip(&self) -> Arc<TipView> {
        Arc::clone(&self.tip.borrow())
    }

    /// Notices every later change of the tip.
    #[must_use]
    pub fn watch_tip(&self) -> watch::Receiver<Arc<TipView>> {
        self.tip.subscribe()
    }

    /// The mempool, which stays as it is, and the tip with it, while the guard lives: be brief.
    pub fn mempool(&self) -> RwLockReadGuard<'_, Mempool> {
        self.mempool.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits, where blocks are final at once, while more transactions wait for a block than became
    /// final lately; for a moment at most.
    pub(crate) async fn room_for_more(&self) {
        if !self.finality.is_instant() {
            return;
        }
        let has_room = || self.mempool().len() <= self.backlog.limit(Instant::now());
        if has_room() {
            return;
        }
        self.flow.held_back.inc();
        let mut tip = self.watch_tip();
        let drained = async {
            while !has_room() {
                // Nobody makes tips any more at the end of the chain.
                if tip.changed().await.is_err() {
                    return;
                }
            }
        };
        if timeout(backlog::PATIENCE, drained).await.is_err() {
            tracing::debug!("transactions wait for a block as long as ever");
        }
    }

    /// What `gather` takes from the mempool, and the tip it belongs to.
    pub fn with_mempool<M>(&self, gather: impl FnOnce(&Mempool) -> M) -> (Arc<TipView>, M) {
        let mempool = self.mempool();
        (self.tip(), gather(&mempool))
    }

    /// What `gather` takes from the mempool, and every change after that.
    pub fn follow_mempool<M>(
        &self,
        gather: impl FnOnce(&Mempool) -> M,
    ) -> (M, broadcast::Receiver<MempoolEvent>) {
        let mempool = self.mempool();
        (gather(&mempool), self.mempool_events.subscribe())
    }

    /// Tells the writer that the index cannot be read: it will end, so that the node starts anew
    /// and rebuilds the index.
    pub(crate) fn report_index_failure(&self, error: &IndexError) {
        self.index_failure.get_or_init(|| error.to_string());
    }

    /// What a reader has reported.
    pub(crate) fn index_failure(&self) -> Option<&str> {
        self.index_failure.get().map(String::as_str)
    }

    /// How many transactions have entered or left the mempool so far.
    pub(crate) fn mempool_changes(&self) -> u64 {
        self.mempool_changes.load(Ordering::SeqCst)
    }

    /// Changes the mempool, and the tip if `change` returns a new one, in one step.
    pub(crate) fn change<T>(
        &self,
        change: impl FnOnce(&mut Mempool) -> (T, Option<TipView>, Vec<MempoolEvent>),
    ) -> T {
        let mut mempool = self.mempool.write().unwrap_or_else(PoisonError::into_inner);
        let (outcome, tip, events) = change(&mut mempool);
        if let Some(tip) = tip {
            let is_final = |it: &&MempoolEvent| {
                matches!(it, MempoolEvent::Removed(_, RemovalReason::Confirmed))
            };
            self.backlog.on_final(events.iter().filter(is_final).count(), Instant::now());
            self.tip.send_replace(Arc::new(tip));
        }
        self.mempool_changes.fetch_add(events.len() as u64, Ordering::SeqCst);
        for event in events {
            if let MempoolEvent::Removed(txid, reason) = &event {
                self.departures.tell(txid, *reason);
                self.flow.on_removed(*reason);
                self.traces.remove(txid);
            }
            // An error says that nobody follows.
            drop(self.mempool_events.send(event));
        }
        outcome
    }
}
