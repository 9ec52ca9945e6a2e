//! Following addresses: the same cursor as following the tip, and of every block only what
//! touches them; beside it, what touches them in the mempool.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use pentad_api::chain::v1 as proto;
use pentad_api::chain::v1::follow_addresses_response::Event;
use pentad_api::{header_message, transaction_message};
use pentad_ledger::Mempool;
use pentad_primitives::{BlockHeight, Script, Transaction, TxOut, Txid, Utxo};
use pentad_store::{BlockEntry, read_block, read_undo};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::{mpsc, watch};
use tonic::Status;

use crate::error::ChainError;
use crate::follow::{Cursor, Step, newly_final, steps};
use crate::reader::{Reader, View};
use crate::view::{MempoolEvent, TipView};

/// Blocks that one read looks at.
const STEPS_PER_READ: usize = 8;
/// Reads without a find after which the client is told how far the stream has come.
const SILENT_READS_MAX: u32 = 128;

type Sender = mpsc::Sender<Result<proto::FollowAddressesResponse, Status>>;

/// One client's stream.
pub(super) struct Follower {
    reader: Reader,
    scripts: Arc<HashSet<Script>>,
    sender: Sender,
    place: Place,
    silent_reads: u32,
    /// Transactions that the client knows to wait.
    waiting: HashSet<Txid>,
}

/// How far the client has been told of the main chain.
#[derive(Clone, Copy)]
struct Place {
    cursor: Option<Cursor>,
    /// Of the last event.
    height: BlockHeight,
    /// Up to where it knows blocks to be final.
    final_height: BlockHeight,
}

/// What a read found.
struct Found {
    events: Vec<proto::FollowAddressesResponse>,
    place: Place,
    is_at_tip: bool,
}

/// The client has gone, or has been told why the stream ends.
struct Gone;

impl Follower {
    pub(super) fn new(
        reader: Reader,
        cursor: Option<Cursor>,
        scripts: HashSet<Script>,
        sender: Sender,
    ) -> Self {
        let height = cursor.map_or(BlockHeight::GENESIS, |cursor| cursor.height);
        let place = Place { cursor, height, final_height: BlockHeight::GENESIS };
        let scripts = Arc::new(scripts);
        Self { reader, scripts, sender, place, silent_reads: 0, waiting: HashSet::new() }
    }

    /// Sends events until the client goes.
    pub(super) async fn run(mut self) {
        let Err(Gone) = self.follow().await;
    }

    async fn follow(&mut self) -> Result<std::convert::Infallible, Gone> {
        let mut tip = self.reader.published().watch_tip();
        self.catch_up(&mut tip).await?;
        let mut changes = self.begin_mempool().await?;
        loop {
            let change = tokio::select! {
                changed = tip.changed() => {
                    changed.map_err(|_| Gone)?;
                    self.catch_up(&mut tip).await?;
                    continue;
                }
                change = changes.recv() => change,
                () = self.sender.closed() => return Err(Gone),
            };
            // A tip is published before what it changes in the mempool: so it is told.
            if tip.has_changed().map_err(|_| Gone)? {
                self.catch_up(&mut tip).await?;
            }
            match change {
                Ok(change) => self.on_mempool(change).await?,
                Err(RecvError::Lagged(_)) => changes = self.begin_mempool().await?,
                Err(RecvError::Closed) => return Err(Gone),
            }
        }
    }

    /// Tells of the main chain up to the tip.
    async fn catch_up(&mut self, tip: &mut watch::Receiver<Arc<TipView>>) -> Result<(), Gone> {
        loop {
            tip.borrow_and_update();
            let (place, scripts) = (self.place, Arc::clone(&self.scripts));
            let found = match self.reader.read(move |view| look(&view, place, &scripts)).await {
                Ok(found) => found,
                Err(error) => {
                    self.sender.send(Err(error.into())).await.map_err(|_| Gone)?;
                    return Err(Gone);
                }
            };
            self.place = found.place;
            self.silent_reads = if found.events.is_empty() { self.silent_reads + 1 } else { 0 };
            for event in found.events {
                self.sender.send(Ok(event)).await.map_err(|_| Gone)?;
            }
            if self.silent_reads >= SILENT_READS_MAX
                && let Some(cursor) = self.place.cursor
            {
                self.silent_reads = 0;
                let height = cursor.height.get();
                self.send(Event::Pass(proto::AddressesUntouched { height })).await?;
            }
            if found.is_at_tip {
                return Ok(());
            }
        }
    }

    /// Tells what waits now; every change after that comes by the receiver.
    async fn begin_mempool(&mut self) -> Result<broadcast::Receiver<MempoolEvent>, Gone> {
        let scripts = Arc::clone(&self.scripts);
        let published = Arc::clone(self.reader.published());
        let (present, changes) = published.follow_mempool(|mempool| touched(mempool, &scripts));
        self.waiting.clear();
        let reset = proto::MempoolReset { present: present.len() as u64 };
        self.send(Event::MempoolReset(reset)).await?;
        for (txid, transaction) in present {
            self.tell_waiting(txid, &transaction).await?;
        }
        Ok(changes)
    }

    async fn on_mempool(&mut self, change: MempoolEvent) -> Result<(), Gone> {
        match change {
            MempoolEvent::Added { txid, transaction, spent }
                if pays(&transaction.outputs, &self.scripts) || pays(&*spent, &self.scripts) =>
            {
                self.tell_waiting(txid, &transaction).await
            }
            MempoolEvent::Removed(txid, reason) if self.waiting.remove(&txid) => {
                let (txid, reason) = (txid.to_string(), reason.into());
                self.send(Event::Removed(proto::MempoolRemoved { txid, reason })).await
            }
            MempoolEvent::Added { .. } | MempoolEvent::Removed(..) => Ok(()),
        }
    }

    async fn tell_waiting(&mut self, txid: Txid, transaction: &Transaction) -> Result<(), Gone> {
        self.waiting.insert(txid);
        let versions = self.reader.published().spec.address_versions();
        let transaction = Some(transaction_message(transaction, versions));
        self.send(Event::Waiting(proto::AddressesWaiting { transaction })).await
    }

    /// Sends an event that leaves the client where it stands on the main chain.
    async fn send(&mut self, event: Event) -> Result<(), Gone> {
        let cursor = self.place.cursor.map(|cursor| cursor.to_string()).unwrap_or_default();
        let message = proto::FollowAddressesResponse { cursor, event: Some(event) };
        self.sender.send(Ok(message)).await.map_err(|_| Gone)
    }
}

/// What the next steps of a client mean to its addresses.
fn look(view: &View<'_>, mut place: Place, scripts: &HashSet<Script>) -> Result<Found, ChainError> {
    let (steps, next) = steps(view, place.cursor, STEPS_PER_READ)?;
    let is_at_tip = steps.is_empty();
    place.cursor = next;
    let mut events = Vec::new();
    for step in steps {
        if matches!(step, Step::Reset(..)) {
            place.final_height = BlockHeight::GENESIS;
        }
        if let Some((cursor, event)) = event(view, step, scripts)? {
            place.height = cursor.height;
            events.push(message(cursor, event));
        }
    }
    // Final blocks above the last that it was told of mean nothing to the client.
    if let Some(cursor) = next.filter(|_| place.final_height < place.height)
        && let Some((_, entry)) = newly_final(view, cursor, place.final_height)?
    {
        place.final_height = entry.height;
        let header = header(&entry, view.depth(entry.height));
        events.push(message(cursor, Event::Final(proto::BlocksFinal { header })));
    }
    Ok(Found { events, place, is_at_tip })
}

/// What a step means to the addresses, and the cursor behind it; none if nothing.
fn event(
    view: &View<'_>,
    step: Step,
    scripts: &HashSet<Script>,
) -> Result<Option<(Cursor, Event)>, ChainError> {
    let touched = |entry: &BlockEntry, confirmations| {
        let transactions = touching(view, entry, scripts)?;
        let header = header(entry, confirmations);
        let touched = proto::AddressesTouched { header, transactions };
        Ok::<_, ChainError>(Some(touched).filter(|touched| !touched.transactions.is_empty()))
    };
    let (cursor, event) = match step {
        Step::Apply(hash, entry) => {
            let event = touched(&entry, view.depth(entry.height))?.map(Event::Apply);
            (Cursor { height: entry.height, hash }, event)
        }
        Step::Undo(_, entry) => {
            let height = entry.height.prev().unwrap_or(BlockHeight::GENESIS);
            let event = touched(&entry, 0)?.map(Event::Undo);
            (Cursor { height, hash: entry.header.prev_block_hash }, event)
        }
        Step::Reset(hash, entry) => {
            let header = header(&entry, view.depth(entry.height));
            let event = Event::Reset(proto::TipReset { header });
            (Cursor { height: entry.height, hash }, Some(event))
        }
    };
    Ok(event.map(|event| (cursor, event)))
}

fn header(entry: &BlockEntry, confirmations: u32) -> Option<pentad_api::types::v1::BlockHeader> {
    Some(header_message(&entry.header, entry.height, &entry.chain_work, confirmations))
}

fn message(cursor: Cursor, event: Event) -> proto::FollowAddressesResponse {
    proto::FollowAddressesResponse { cursor: cursor.to_string(), event: Some(event) }
}

/// The transactions of a block that pay to the scripts or spend from them. A block that is applied
/// and one that is undone go the same way.
fn touching(
    view: &View<'_>,
    entry: &BlockEntry,
    scripts: &HashSet<Script>,
) -> Result<Vec<pentad_api::types::v1::Transaction>, ChainError> {
    let versions = view.published.spec.address_versions();
    let log = &view.published.log;
    let block = read_block(log, entry.body)?;
    // A block that was on the main chain has undo data.
    let undo = entry.undo.map(|undo| read_undo(log, undo)).transpose()?.unwrap_or_default();
    let mut spent = undo.iter();
    let touching = block.transactions.iter().filter(|transaction| {
        let inputs = if transaction.is_coinbase() { 0 } else { transaction.inputs.len() };
        let spends: Vec<&Utxo> = spent.by_ref().take(inputs).collect();
        pays(&transaction.outputs, scripts) || pays(spends.iter().map(|utxo| &utxo.output), scripts)
    });
    Ok(touching.map(|transaction| transaction_message(transaction, versions)).collect())
}

/// The transactions of the mempool that touch the scripts, parents first.
fn touched(mempool: &Mempool, scripts: &HashSet<Script>) -> Vec<(Txid, Arc<Transaction>)> {
    let mut touched = BTreeMap::new();
    for entry in scripts.iter().flat_map(|script| mempool.by_script(script)) {
        // A transaction has more ancestors than any of its parents.
        let order = (entry.ancestors().count, entry.txid());
        touched.insert(order, Arc::clone(entry.transaction()));
    }
    touched.into_iter().map(|((_, txid), transaction)| (txid, transaction)).collect()
}

fn pays<'a>(outputs: impl IntoIterator<Item = &'a TxOut>, scripts: &HashSet<Script>) -> bool {
    outputs.into_iter().any(|output| scripts.contains(&output.script_pubkey))
}
