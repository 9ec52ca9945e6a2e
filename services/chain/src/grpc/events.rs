//! `EventService`: what happens on the ledger, as it happens.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use pentad_api::FieldError;
use pentad_api::chain::v1 as proto;
use pentad_api::chain::v1::event_service_server::EventService;
use pentad_api::chain::v1::follow_mempool_response;
use pentad_primitives::encode::Encode as _;
use pentad_primitives::{Script, Transaction, Txid};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::address::{ADDRESSES_MAX, script_of};
use super::{addresses, at_most, tip};
use crate::error::ChainError;
use crate::follow::Cursor;
use crate::reader::Reader;
use crate::view::{MempoolEvent, Published};

/// Events of one follower that wait for its connection.
const EVENTS_IN_FLIGHT: usize = 16;

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
        let follower = tip::Follower::new(self.reader.clone(), cursor, &request, sender);
        tokio::spawn(follower.run());
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

/// Sends the present transactions, then every change, until the client goes.
async fn follow_mempool(
    published: Arc<Published>,
    with_transactions: bool,
    sender: Sender<proto::FollowMempoolResponse>,
) {
    let (mut present, mut changes) = following(&published);
    loop {
        for (txid, transaction) in present.drain(..) {
            let event = added(&published, txid, &transaction, with_transactions);
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
                added(&published, txid, &transaction, with_transactions)
            }
            Ok(MempoolEvent::Removed(txid, reason)) => {
                let (txid, reason) = (txid.to_string(), reason.into());
                follow_mempool_response::Event::Removed(proto::MempoolRemoved { txid, reason })
            }
            Err(RecvError::Lagged(_)) => {
                (present, changes) = following(&published);
                let present = present.len() as u64;
                follow_mempool_response::Event::Reset(proto::MempoolReset { present })
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
    published: &Published,
    txid: Txid,
    transaction: &Transaction,
    with_transactions: bool,
) -> follow_mempool_response::Event {
    let bytes = if with_transactions { transaction.to_bytes() } else { Vec::new() };
    let traceparent = published.traces.traceparent(&txid);
    let (txid, transaction) = (txid.to_string(), bytes.into());
    let added = proto::MempoolAdded { txid, transaction, traceparent };
    follow_mempool_response::Event::Added(added)
}
