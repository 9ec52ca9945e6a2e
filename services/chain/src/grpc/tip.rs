//! Following the tip: the main chain block by block, and the mempool beside it if asked for.

use std::sync::Arc;

use bytes::Bytes;
use pentad_api::chain::v1 as proto;
use pentad_api::chain::v1::follow_tip_response::Event;
use pentad_api::header_message;
use pentad_primitives::encode::Encode as _;
use pentad_primitives::{BlockHash, BlockHeight, Transaction, Txid};
use pentad_store::{BlockEntry, read_block_bytes, read_certificate};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::{mpsc, watch};
use tonic::Status;

use super::events::following;
use crate::error::ChainError;
use crate::follow::{Cursor, Step, newly_final, steps};
use crate::reader::{Reader, View};
use crate::view::{MempoolEvent, TipView};

/// Steps that one read takes: with whole blocks of 4 MB, what a follower may hold in memory.
const STEPS_PER_READ: usize = 8;

type Sender = mpsc::Sender<Result<proto::FollowTipResponse, Status>>;
type Tip = watch::Receiver<Arc<TipView>>;

/// One client's stream.
pub(super) struct Follower {
    reader: Reader,
    sender: Sender,
    cursor: Option<Cursor>,
    /// Up to where the client knows blocks to be final.
    final_height: BlockHeight,
    with_blocks: bool,
    with_mempool: bool,
}

/// The client has gone, or has been told why the stream ends.
struct Gone;

impl Follower {
    pub(super) fn new(
        reader: Reader,
        cursor: Option<Cursor>,
        request: &proto::FollowTipRequest,
        sender: Sender,
    ) -> Self {
        let proto::FollowTipRequest { with_blocks, with_mempool, .. } = *request;
        let final_height = BlockHeight::GENESIS;
        Self { reader, sender, cursor, final_height, with_blocks, with_mempool }
    }

    /// Sends events until the client goes.
    pub(super) async fn run(mut self) {
        let mut tip = self.reader.published().watch_tip();
        let Err(Gone) = match self.with_mempool {
            true => self.follow_both(&mut tip).await,
            false => self.follow(&mut tip).await,
        };
    }

    async fn follow(&mut self, tip: &mut Tip) -> Result<std::convert::Infallible, Gone> {
        loop {
            self.catch_up(tip).await?;
            tokio::select! {
                changed = tip.changed() => changed.map_err(|_| Gone)?,
                () = self.sender.closed() => return Err(Gone),
            }
        }
    }

    async fn follow_both(&mut self, tip: &mut Tip) -> Result<std::convert::Infallible, Gone> {
        self.catch_up(tip).await?;
        let mut changes = self.begin_mempool().await?;
        loop {
            let change = tokio::select! {
                changed = tip.changed() => {
                    changed.map_err(|_| Gone)?;
                    self.catch_up(tip).await?;
                    continue;
                }
                change = changes.recv() => change,
                () = self.sender.closed() => return Err(Gone),
            };
            // A tip is published before what it changes in the mempool: so it is told.
            if tip.has_changed().map_err(|_| Gone)? {
                self.catch_up(tip).await?;
            }
            match change {
                Ok(MempoolEvent::Added { txid, transaction, .. }) => {
                    self.tell_added(txid, &transaction).await?;
                }
                Ok(MempoolEvent::Removed(txid, reason)) => {
                    let (txid, reason) = (txid.to_string(), reason.into());
                    self.send(Event::Removed(proto::MempoolRemoved { txid, reason })).await?;
                }
                Err(RecvError::Lagged(_)) => changes = self.begin_mempool().await?,
                Err(RecvError::Closed) => return Err(Gone),
            }
        }
    }

    /// Tells of the main chain up to the tip.
    async fn catch_up(&mut self, tip: &mut Tip) -> Result<(), Gone> {
        loop {
            tip.borrow_and_update();
            let (cursor, told, with_blocks) = (self.cursor, self.final_height, self.with_blocks);
            let reading = self.reader.read(move |view| look(&view, cursor, told, with_blocks));
            let found = match reading.await {
                Ok(found) => found,
                Err(error) => {
                    self.sender.send(Err(error.into())).await.map_err(|_| Gone)?;
                    return Err(Gone);
                }
            };
            (self.cursor, self.final_height) = (found.cursor, found.final_height);
            if found.events.is_empty() {
                return Ok(());
            }
            for event in found.events {
                self.sender.send(Ok(event)).await.map_err(|_| Gone)?;
            }
        }
    }

    /// Tells what waits now; every change after that comes by the receiver.
    async fn begin_mempool(&mut self) -> Result<broadcast::Receiver<MempoolEvent>, Gone> {
        let (present, changes) = following(self.reader.published());
        let reset = proto::MempoolReset { present: present.len() as u64 };
        self.send(Event::MempoolReset(reset)).await?;
        for (txid, transaction) in present {
            self.tell_added(txid, &transaction).await?;
        }
        Ok(changes)
    }

    async fn tell_added(&mut self, txid: Txid, transaction: &Transaction) -> Result<(), Gone> {
        let traceparent = self.reader.published().traces.traceparent(&txid);
        let (txid, transaction) = (txid.to_string(), transaction.to_bytes().into());
        self.send(Event::Added(proto::MempoolAdded { txid, transaction, traceparent })).await
    }

    /// Sends an event that leaves the client where it stands on the main chain.
    async fn send(&mut self, event: Event) -> Result<(), Gone> {
        let cursor = self.cursor.map(|cursor| cursor.to_string()).unwrap_or_default();
        let message = proto::FollowTipResponse { cursor, event: Some(event) };
        self.sender.send(Ok(message)).await.map_err(|_| Gone)
    }
}

/// What a read found, and where the follower stands after it.
struct Found {
    events: Vec<proto::FollowTipResponse>,
    cursor: Option<Cursor>,
    /// Up to where it knows blocks to be final.
    final_height: BlockHeight,
}

/// The next events of a follower that knows blocks up to `told` to be final.
fn look(
    view: &View<'_>,
    cursor: Option<Cursor>,
    mut told: BlockHeight,
    with_blocks: bool,
) -> Result<Found, ChainError> {
    let (steps, cursor) = steps(view, cursor, STEPS_PER_READ)?;
    if steps.iter().any(|step| matches!(step, Step::Reset(..))) {
        told = BlockHeight::GENESIS;
    }
    let events = steps.into_iter().map(|step| event(view, step, with_blocks));
    let mut events = events.collect::<Result<Vec<_>, _>>()?;
    if let Some(at) = cursor
        && let Some((_, entry)) = newly_final(view, at, told)?
    {
        told = entry.height;
        let depth = view.depth(entry.height);
        let header = header_message(&entry.header, entry.height, &entry.chain_work, depth);
        let event = Event::Final(proto::BlocksFinal { header: Some(header) });
        events.push(proto::FollowTipResponse { cursor: at.to_string(), event: Some(event) });
    }
    Ok(Found { events, cursor, final_height: told })
}

fn event(
    view: &View<'_>,
    step: Step,
    with_blocks: bool,
) -> Result<proto::FollowTipResponse, ChainError> {
    let at = |hash: BlockHash, entry: &BlockEntry| Cursor { height: entry.height, hash };
    let header = |entry: &BlockEntry, confirmations| {
        Some(header_message(&entry.header, entry.height, &entry.chain_work, confirmations))
    };
    let raw = |entry: &BlockEntry| -> Result<Bytes, ChainError> {
        let bytes = with_blocks.then(|| read_block_bytes(&view.published.log, entry.body));
        Ok(bytes.transpose()?.unwrap_or_default().into())
    };
    let (cursor, event) = match step {
        Step::Apply(hash, entry) => {
            let header = header(&entry, view.depth(entry.height));
            let raw = raw(&entry)?;
            let certificate =
                if with_blocks { read_certificate(&view.published.log, &entry)? } else { None };
            let certificate = certificate.unwrap_or_default().into();
            let trace = view.published.traces.of_block(&hash);
            let connected = proto::BlockConnected {
                header,
                raw,
                certificate,
                traceparent: trace.traceparent(),
                transaction_traceparents: trace.transaction_traceparents(),
            };
            (at(hash, &entry), Event::Apply(connected))
        }
        Step::Undo(_, entry) => {
            let height = entry.height.prev().unwrap_or(entry.height);
            let after = Cursor { height, hash: entry.header.prev_block_hash };
            let (header, raw) = (header(&entry, 0), raw(&entry)?);
            (after, Event::Undo(proto::BlockDisconnected { header, raw }))
        }
        Step::Reset(hash, entry) => {
            let header = header(&entry, view.depth(entry.height));
            (at(hash, &entry), Event::Reset(proto::TipReset { header }))
        }
    };
    Ok(proto::FollowTipResponse { cursor: cursor.to_string(), event: Some(event) })
}
