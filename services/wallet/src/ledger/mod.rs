//! The coins of all wallets, kept in memory as the chain service tells of blocks and of the
//! mempool; on disk, what it would take long to ask for again.
//!
//! One task follows the chain and is the only one to change what the chain has changed; payments
//! claim coins and give them back. A std mutex is right for both: it is never held across an await.

mod coin;
mod error;
mod follow;
mod history;
mod holding;
mod rows;
mod scan;
mod state;
mod store;
#[cfg(test)]
mod tests;
mod touch;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pentad_crypto::Address;
use pentad_keystore::{Chain, Wallet, WalletName};
use pentad_primitives::{OutPoint, Transaction, Txid};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::timeout;

pub(crate) use coin::{Class, Coin, SPENDABLE};
pub use error::LedgerError;
pub(crate) use error::ledger_failure;
pub(crate) use follow::follow;
pub(crate) use history::{Direction, Entry};
pub(crate) use holding::{Holding, Shelf};
pub(crate) use state::{Place, State, Whereabouts};
use store::Store;
pub(crate) use touch::{Touch, TouchPlace};

/// How long a call waits for the ledger to come to where the chain is, or to hear of a payment.
const PATIENCE: Duration = Duration::from_secs(5);

/// The coins of all wallets.
#[derive(Debug)]
pub(crate) struct Ledger {
    state: Mutex<State>,
    store: Store,
    /// Wallets whose coins and history have to be looked for in all blocks, and how often that was
    /// asked for: a scan that began before the last time does not count.
    pending: Mutex<BTreeMap<WalletName, u64>>,
    is_pending: Notify,
    progress: watch::Sender<Progress>,
    /// Payments that wait to be heard of.
    expected: Mutex<HashMap<Txid, Vec<oneshot::Sender<()>>>>,
}

/// How far the ledger has come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// The block that all coins belong to.
    pub(crate) place: Option<Place>,
    /// Whether the chain service is heard, and what waits is known.
    pub(crate) is_live: bool,
    pub(crate) scan: Option<ScanProgress>,
}

/// How far a scan of all blocks has come.
#[derive(Clone, Debug)]
pub(crate) struct ScanProgress {
    pub(crate) wallets: BTreeSet<WalletName>,
    /// The last block that was read.
    pub(crate) height: u32,
    /// The last one to read.
    pub(crate) to: u32,
    /// Transactions of the wallets so far.
    pub(crate) found: u64,
}

impl Ledger {
    /// Opens or makes the ledger in `directory`.
    pub(crate) fn open(directory: &Path) -> Result<Self, LedgerError> {
        let store = Store::open(directory)?;
        let (place, coins) = match store.load() {
            Err(LedgerError::Damaged) => {
                tracing::warn!("the ledger of the wallets is damaged: made anew from the blocks");
                store.clear()?;
                (None, Vec::new())
            }
            loaded => loaded?,
        };
        let progress = Progress { place, ..Progress::default() };
        Ok(Self {
            state: Mutex::new(State::new(place, coins)),
            store,
            pending: Mutex::default(),
            is_pending: Notify::new(),
            progress: watch::Sender::new(progress),
            expected: Mutex::default(),
        })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pending(&self) -> MutexGuard<'_, BTreeMap<WalletName, u64>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expected(&self) -> MutexGuard<'_, HashMap<Txid, Vec<oneshot::Sender<()>>>> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks after a wallet that was just made: nobody can have paid it.
    pub(crate) fn watch_new(&self, wallet: &Wallet) -> Result<(), LedgerError> {
        self.state().watch(wallet.name(), &wallet.addresses());
        let mut rows = rows::Rows::default();
        rows.put_wallet(wallet.name());
        self.store.write(rows)
    }

    /// Looks after a wallet; the first time, its coins are looked for in all blocks.
    pub(crate) fn watch(&self, wallet: &Wallet) -> Result<(), LedgerError> {
        self.state().watch(wallet.name(), &wallet.addresses());
        if !self.store.is_complete(wallet.name())? {
            self.ask_for_scan(wallet.name());
        }
        Ok(())
    }

    /// Change addresses that no block has paid, of a wallet of which all is known.
    pub(crate) fn unused_change(&self, wallet: &Wallet) -> Result<Vec<Address>, LedgerError> {
        if !self.store.is_complete(wallet.name())? {
            return Ok(Vec::new());
        }
        let is_change =
            |it: &Address| wallet.key_path(it).is_some_and(|path| path.chain == Chain::Change);
        let mut unused = Vec::new();
        for address in wallet.addresses().into_iter().filter(is_change) {
            if !self.store.is_used(&address)? {
                unused.push(address);
            }
        }
        Ok(unused)
    }

    /// Looks after one more address of a wallet. Nobody knows it yet.
    pub(crate) fn watch_address(&self, wallet: &WalletName, address: Address) {
        self.state().watch(wallet, &[address]);
    }

    /// Looks for all coins of a wallet in all blocks again.
    pub(crate) fn rescan(&self, wallet: &Wallet) -> Result<(), LedgerError> {
        let mut rows = rows::Rows::default();
        rows.delete_wallet(wallet.name());
        self.store.write(rows)?;
        self.watch(wallet)
    }

    fn ask_for_scan(&self, wallet: &WalletName) {
        *self.pending().entry(wallet.clone()).or_default() += 1;
        self.is_pending.notify_one();
    }

    pub(crate) fn is_complete(&self, wallet: &WalletName) -> Result<bool, LedgerError> {
        self.store.is_complete(wallet)
    }

    /// How many transactions of the main chain touch a wallet.
    pub(crate) fn count(&self, wallet: &WalletName) -> Result<u64, LedgerError> {
        self.store.count(wallet)
    }

    /// Changes whenever the ledger has come further.
    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Waits, for a while, until all of a wallet is known up to `tip`, where the chain is.
    pub(crate) async fn catch_up(
        &self,
        wallet: &WalletName,
        tip: &crate::chain::Tip,
    ) -> Result<(), LedgerError> {
        let is_there = |place: Place| place.hash == tip.hash || place.height > tip.height;
        let mut progress = self.progress();
        let caught_up = async {
            loop {
                let Progress { place, is_live, .. } = *progress.borrow_and_update();
                if is_live && place.is_some_and(is_there) && self.is_complete(wallet)? {
                    return Ok(());
                }
                if progress.changed().await.is_err() {
                    return Ok(());
                }
            }
        };
        match timeout(PATIENCE, caught_up).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let progress = self.progress.borrow();
                let scanned = progress.scan.as_ref().map(|scan| scan.height);
                let height = scanned.or(progress.place.map(|place| place.height)).unwrap_or(0);
                Err(LedgerError::Behind { height, tip: tip.height })
            }
        }
    }

    /// Completes once the ledger has heard of a transaction; if it has before, or never will
    /// because the transaction touches no wallet here, at once.
    pub(crate) fn hear_of(
        &self,
        transaction: &Transaction,
    ) -> impl Future<Output = ()> + Send + use<> {
        let txid = transaction.txid();
        let (sender, receiver) = oneshot::channel();
        let is_live = self.progress.borrow().is_live;
        // First to wait, then to look: it is not missed in between.
        self.expected().entry(txid).or_default().push(sender);
        let is_waited_for = is_live && {
            let state = self.state();
            state.whereabouts(&txid).is_none() && state.touches(transaction)
        };
        if !is_waited_for {
            self.on_heard(&txid);
        }
        async move {
            if timeout(PATIENCE, receiver).await.is_err() {
                tracing::debug!(%txid, "the chain service does not tell of a payment");
            }
        }
    }

    fn on_heard(&self, txid: &Txid) {
        for waiting in self.expected().remove(txid).into_iter().flatten() {
            // An error says that the call has ended meanwhile.
            waiting.send(()).ok();
        }
    }

    /// Blocks over a transaction of ours, its own counted: 0 in the mempool; `None` when it is
    /// unknown, or was long ago.
    pub(crate) fn confirmations(&self, txid: &Txid) -> Option<u32> {
        let state = self.state();
        let tip = state.place()?.height;
        match state.whereabouts(txid)? {
            Whereabouts::Mempool => Some(0),
            Whereabouts::Block(height) => Some((tip + 1).saturating_sub(height)),
        }
    }

    /// Gives coins back.
    pub(crate) fn release(&self, outpoints: &[OutPoint]) {
        self.state().release(outpoints);
    }

    /// Blocks on the disk.
    pub(crate) fn flush(&self) -> Result<(), LedgerError> {
        let mut rows = rows::Rows::default();
        self.state().put_unwritten_place(&mut rows);
        self.store.write(rows)?;
        self.store.flush()
    }
}
