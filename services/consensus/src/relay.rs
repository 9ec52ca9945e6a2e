//! Messages to and from other replicas, by way of the peer service.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use pentad_api::Connection;
use pentad_api::peer::v1::inbound_event::Event as PeerEvent;
use pentad_api::peer::v1::peer_service_client::PeerServiceClient;
use pentad_api::peer::v1::relay_service_client::RelayServiceClient;
use pentad_api::peer::v1::{
    ExchangeRequest, ExchangeResponse, GetSelfRequest, InboundEvent, LinkOpened, LinkStanding,
    OutboundMessage,
};
use pentad_pbft::Message;
use pentad_pbft::link_proof::LinkProofs;
use pentad_service_kit::sized;
use pentad_service_kit::telemetry::BlockTrace;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::backoff::backoff;
use crate::body;
use crate::event::{Event, Inbound};
use crate::metrics::ConsensusMetrics;
use crate::subject::Subject;
use crate::vitals::Vitals;
use pentad_service_kit::Backoff;

/// Bytes of messages that wait for the peer service: a few of the largest proposals. Beyond that
/// the oldest go; the core sends again what matters.
const OUTBOX_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes of one request, below the limit of a gRPC message.
const REQUEST_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Requests between the queue and the transport.
const STREAM_BUFFER: usize = 4;
/// What a message takes besides its payload.
const OVERHEAD: usize = size_of::<OutboundMessage>();

/// What waits to be sent; cheap to clone. A std mutex is right: it is held for a few
/// instructions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outbox(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    filled: Notify,
    waiting_bytes: Gauge,
}

#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<OutboundMessage>,
    bytes: usize,
}

impl Outbox {
    /// `waiting_bytes` shows how much waits.
    pub(crate) fn new(waiting_bytes: Gauge) -> Self {
        Self(Arc::new(Shared { waiting_bytes, ..Shared::default() }))
    }

    /// Queues a message; how many older ones had to go for it.
    pub(crate) fn push(&self, message: OutboundMessage) -> u64 {
        let mut queue = self.lock();
        queue.bytes += message.payload.len() + OVERHEAD;
        queue.messages.push_back(message);
        let mut dropped = 0;
        while queue.bytes > OUTBOX_BYTES_MAX
            && let Some(oldest) = queue.messages.pop_front()
        {
            queue.bytes -= oldest.payload.len() + OVERHEAD;
            dropped += 1;
        }
        self.show(&queue);
        drop(queue);
        self.0.filled.notify_one();
        dropped
    }

    /// All that waits, as far as it fits one request.
    async fn pop(&self) -> ExchangeRequest {
        loop {
            let messages = self.pop_waiting();
            if !messages.is_empty() {
                return ExchangeRequest { messages, ..Default::default() };
            }
            self.0.filled.notified().await;
        }
    }

    fn pop_waiting(&self) -> Vec<OutboundMessage> {
        let mut queue = self.lock();
        let (mut messages, mut bytes) = (Vec::new(), 0);
        while let Some(next) = queue.messages.front() {
            let length = next.payload.len() + OVERHEAD;
            if !messages.is_empty() && bytes + length > REQUEST_BYTES_MAX {
                break;
            }
            bytes += length;
            messages.extend(queue.messages.pop_front());
        }
        queue.bytes -= bytes;
        self.show(&queue);
        messages
    }

    fn show(&self, queue: &Queue) {
        self.0.waiting_bytes.set(i64::try_from(queue.bytes).unwrap_or(i64::MAX));
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The stream to the peer service, kept open.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) subject: Subject,
    pub(crate) peer: Connection,
    pub(crate) outbox: Outbox,
    pub(crate) proofs: LinkProofs,
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) vitals: Vitals,
    pub(crate) metrics: ConsensusMetrics,
}

impl Relay {
    /// Runs until the driver is gone.
    pub(crate) async fn run(self) {
        let mut backoff = backoff();
        while !self.events.is_closed() {
            let status = self.exchange(&mut backoff).await;
            self.vitals.set_relay_up(false);
            let reason = status.as_ref().map_or("the stream ended", Status::message);
            tracing::debug!(reason, "the stream to the peer service broke");
            backoff.pause().await;
        }
    }

    /// One life of the stream; the reason for its end, if the peer service gave one.
    async fn exchange(&self, backoff: &mut Backoff) -> Option<Status> {
        let proof = match self.own_proof().await {
            Ok(proof) => proof,
            Err(status) => return Some(status),
        };
        let (requests, receiver) = mpsc::channel(STREAM_BUFFER);
        let first = ExchangeRequest { validator_proof: proof, ..Default::default() };
        // There is room for the first.
        requests.try_send(first).ok()?;
        let mut client = sized!(RelayServiceClient::new(self.peer.clone()));
        let mut responses = match client.exchange(ReceiverStream::new(receiver)).await {
            Ok(responses) => responses.into_inner(),
            Err(status) => return Some(status),
        };
        backoff.reset();
        self.vitals.set_relay_up(true);
        let sending = async {
            // A permit first: what was taken from the queue is never dropped on the way.
            while let Ok(permit) = requests.reserve().await {
                permit.send(self.outbox.pop().await);
            }
            None
        };
        tokio::select! {
            ended = sending => ended,
            ended = self.receive(&mut responses, &requests) => ended,
        }
    }

    /// What shows others that this node is a validator's.
    async fn own_proof(&self) -> Result<Bytes, Status> {
        let mut client = sized!(PeerServiceClient::new(self.peer.clone()));
        let own = client.get_self(GetSelfRequest {}).await?.into_inner();
        let static_key = hex::decode(&own.static_key)
            .map_err(|_| Status::internal("the peer service has a static key that is no hex"))?;
        Ok(self.proofs.make(&static_key).unwrap_or_default().into())
    }

    /// Whether a link leads to a validator.
    fn judge(&self, link: &Bytes, opened: &LinkOpened) -> ExchangeRequest {
        let signer = self.proofs.check(&opened.static_key, &opened.validator_proof);
        match signer {
            Some(replica) => tracing::debug!(%replica, "a link to a validator"),
            None => tracing::debug!("a link to a node that shows no validator's key"),
        }
        let standing = LinkStanding { link: link.clone(), is_replica: signer.is_some() };
        ExchangeRequest { standings: vec![standing], ..Default::default() }
    }

    async fn receive(
        &self,
        responses: &mut Streaming<ExchangeResponse>,
        requests: &mpsc::Sender<ExchangeRequest>,
    ) -> Option<Status> {
        loop {
            let events = match responses.message().await {
                Ok(Some(response)) => response.events,
                Ok(None) => return None,
                Err(status) => return Some(status),
            };
            let mut inbound = Vec::new();
            for InboundEvent { link, event, traceparent, transaction_traces } in events {
                let event = match event {
                    Some(PeerEvent::Payload(payload)) => {
                        if let Some(message) = self.read(&payload) {
                            let traces = BlockTrace::from_packed(&transaction_traces);
                            let traces = traces.transactions().to_vec();
                            inbound.push(Inbound { link, message, traceparent, traces });
                        }
                        continue;
                    }
                    Some(PeerEvent::Opened(opened)) => {
                        let standing = self.judge(&link, &opened);
                        let is_replica = standing.standings.iter().any(|it| it.is_replica);
                        requests.send(standing).await.ok()?;
                        if !is_replica {
                            continue;
                        }
                        Event::LinkOpened
                    }
                    Some(PeerEvent::Closed(_)) => Event::LinkClosed { link },
                    None => continue,
                };
                let before = std::mem::take(&mut inbound);
                if self.pass_on(before).await.is_none() || self.events.send(event).await.is_err() {
                    return None;
                }
            }
            self.pass_on(inbound).await?;
        }
    }

    async fn pass_on(&self, inbound: Vec<Inbound>) -> Option<()> {
        if inbound.is_empty() {
            return Some(());
        }
        self.events.send(Event::Inbound(inbound)).await.ok()
    }

    /// What a stranger sent, if it is a message whose body is what it says.
    fn read(&self, payload: &Bytes) -> Option<Message> {
        let message = match Message::from_bytes(payload) {
            Ok(message) => message,
            Err(error) => {
                self.metrics.on_dropped("malformed");
                tracing::debug!(%error, "a malformed consensus message");
                return None;
            }
        };
        self.metrics.on_received(message.name());
        if body::is_sound(&message, self.subject) {
            return Some(message);
        }
        self.metrics.on_dropped("body");
        tracing::debug!(message = message.name(), "a body that is not the block it is said to be");
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: usize, first: u8) -> OutboundMessage {
        let mut payload = vec![0; bytes];
        payload[0] = first;
        OutboundMessage { payload: payload.into(), ..OutboundMessage::default() }
    }

    fn firsts(messages: &[OutboundMessage]) -> Vec<u8> {
        messages.iter().map(|message| message.payload[0]).collect()
    }

    #[test]
    fn a_full_outbox_loses_the_oldest() {
        let outbox = Outbox::default();
        for first in 0..4 {
            assert_eq!(outbox.push(message(7 << 20, first)), 0);
        }
        assert_eq!(outbox.push(message(7 << 20, 4)), 1);
        assert_eq!(outbox.push(message(1, 5)), 0);
        assert!(outbox.0.waiting_bytes.get() > 4 * (7 << 20));
        let mut sent = Vec::new();
        loop {
            let batch = outbox.pop_waiting();
            if batch.is_empty() {
                break;
            }
            let bytes: usize = batch.iter().map(|message| message.payload.len()).sum();
            assert!(bytes <= REQUEST_BYTES_MAX);
            sent.extend(firsts(&batch));
        }
        assert_eq!(sent, [1, 2, 3, 4, 5]);
        assert_eq!(outbox.lock().bytes, 0);
        assert_eq!(outbox.0.waiting_bytes.get(), 0);
    }
}
