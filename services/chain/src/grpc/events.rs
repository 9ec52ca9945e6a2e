//! `EventService`: what happens on the ledger, as it happens.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use pentad_api::chain::v1 as proto;
use pentad_api::chain::v1::event_service_server::EventService;
use pentad_api::chain::v1::follow_mempool_response;
use pentad_api::chain::v1::follow_tip_response::Event;
use pentad_api::{FieldError, header_message};
use pentad_primitives::encode::Encode as _;
use pentad_primitives::{BlockHash, BlockHeight, Script, Transaction, Txid};
use pentad_store::{BlockEntry, read_block_bytes, read_certificate};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::address::{ADDRESSES_MAX, script_of};
use super::{addresses, at_most};
use crate::error::ChainError;
use crate::follow::{Cursor, Step, newly_final, steps};
use crate::reader::{Reader, View};
use crate::view::{MempoolEvent, Published};

/// Events of one follower that wait for its connection.
const EVENTS_IN_FLIGHT: usize = 16;
/// Steps that one read takes: with whole blocks of 4 MB, what a follower may hold in memory.
const STEPS_PER_READ: usize = 8;

/// Answers `EventService`.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    pub(crate) reader: Reader,
}

type Stream_<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
type Sender<T> = mpsc::Sender<Result<T, Status>>;

#[tonic::async_trait]
impl EventService for Events {
    type FollowTipStream = Stream_<proto::FollowTipResponse>;
    type FollowMempoolStream = Stream_<proto::FollowMempoolResponse>;
    type FollowAddressesStream = Stream_<proto::FollowAddressesResponse>;

    async fn follow_tip(
        &self,
        request: Request<proto::FollowTipRequest>,
    ) -> Result<Response<Self::FollowTipStream>, Status> {
        let request = request.into_inner();
        let cursor = cursor(&request.cursor)?;
        let (sender, events) = mpsc::channel(EVENTS_IN_FLIGHT);
        let following = follow_tip(self.reader.clone(), cursor, request.with_blocks, sender);
        tokio::spawn(following);
        Ok(Response::new(Box::pin(ReceiverStream::new(events))))
    }

    async fn follow_addresses(
        &self,
        request: Request<proto::FollowAddressesRequest>,
    ) -> Result<Response<Self::FollowAddressesStream>, Status> {
        let request = request.into_inner();
        let cursor = cursor(&request.cursor)?;
        at_most("addresses", request.addresses.len(), ADDRESSES_MAX)?;
        let spec = &self.reader.published().spec;
        let scripts = request.addresses.iter().map(|text| script_of("addresses", text, spec));
        let scripts = scripts.collect::<Result<HashSet<Script>, _>>()?;
        if scripts.is_empty() {
            let problem = "name one at least".to_owned();
            return Err(ChainError::from(FieldError { field: "addresses", problem }).into());
        }
        let (sender, events) = mpsc::channel(EVENTS_IN_FLIGHT);
        let follower = addresses::Follower::new(self.reader.clone(), cursor, scripts, sender);
        tokio::spawn(follower.run());
        Ok(Response::new(Box::pin(ReceiverStream::new(events))))
    }

    async fn follow_mempool(
        &self,
        request: Request<proto::FollowMempoolRequest>,
    ) -> Result<Response<Self::FollowMempoolStream>, Status> {
        let with_transactions = request.into_inner().with_transactions;
        let (sender, events) = mpsc::channel(EVENTS_IN_FLIGHT);
        let published = Arc::clone(self.reader.published());
        tokio::spawn(follow_mempool(published, with_transactions, sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(events))))
    }
}

/// The block that a client names; none at first.
fn cursor(text: &str) -> Result<Option<Cursor>, ChainError> {
    if text.is_empty() { Ok(None) } else { Ok(Some(text.parse::<Cursor>()?)) }
}

/// Sends events until the client goes.
async fn follow_tip(
    reader: Reader,
    mut cursor: Option<Cursor>,
    with_blocks: bool,
    sender: Sender<proto::FollowTipResponse>,
) {
    let mut tip = reader.published().watch_tip();
    let mut told = BlockHeight::GENESIS;
    loop {
        tip.borrow_and_update();
        let events = match reader.read(move |view| look(&view, cursor, told, with_blocks)).await {
            Ok(found) => {
                (cursor, told) = (found.cursor, found.final_height);
                found.events
            }
            Err(error) => {
                drop(sender.send(Err(error.into())).await);
                return;
            }
        };
        let is_at_tip = events.is_empty();
        for event in events {
            if sender.send(Ok(event)).await.is_err() {
                return;
            }
        }
        if is_at_tip {
            tokio::select! {
                changed = tip.changed() => if changed.is_err() { return },
                () = sender.closed() => return,
            }
        }
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
            (at(hash, &entry), Event::Apply(proto::BlockConnected { header, raw, certificate }))
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

/// Sends the present transactions, then every change, until the client goes.
async fn follow_mempool(
    published: Arc<Published>,
    with_transactions: bool,
    sender: Sender<proto::FollowMempoolResponse>,
) {
    let (mut present, mut changes) = following(&published);
    loop {
        for (txid, transaction) in present.drain(..) {
            let event = added(txid, &transaction, with_transactions);
            if send(&sender, event).await.is_err() {
                return;
            }
        }
        let change = tokio::select! {
            change = changes.recv() => change,
            () = sender.closed() => return,
        };
        let event = match change {
            Ok(MempoolEvent::Added { txid, transaction, .. }) => {
                added(txid, &transaction, with_transactions)
            }
            Ok(MempoolEvent::Removed(txid, reason)) => {
                let (txid, reason) = (txid.to_string(), reason.into());
                follow_mempool_response::Event::Removed(proto::MempoolRemoved { txid, reason })
            }
            Err(RecvError::Lagged(_)) => {
                (present, changes) = following(&published);
                follow_mempool_response::Event::Reset(proto::MempoolReset {})
            }
            Err(RecvError::Closed) => return,
        };
        if send(&sender, event).await.is_err() {
            return;
        }
    }
}

async fn send(
    sender: &Sender<proto::FollowMempoolResponse>,
    event: follow_mempool_response::Event,
) -> Result<(), ()> {
    let message = proto::FollowMempoolResponse { event: Some(event) };
    sender.send(Ok(message)).await.map_err(|_| ())
}

/// What waits now, parents first, and every change from now on.
pub(super) fn following(
    published: &Published,
) -> (Vec<(Txid, Arc<Transaction>)>, broadcast::Receiver<MempoolEvent>) {
    let (present, changes) = published.follow_mempool(|mempool| {
        mempool.gather(|entry| (entry.txid(), Arc::clone(entry.transaction())))
    });
    (present.in_topological_order(), changes)
}

fn added(
    txid: Txid,
    transaction: &Transaction,
    with_transactions: bool,
) -> follow_mempool_response::Event {
    let bytes = if with_transactions { transaction.to_bytes() } else { Vec::new() };
    let added = proto::MempoolAdded { txid: txid.to_string(), transaction: bytes.into() };
    follow_mempool_response::Event::Added(added)
}
