//! `RelayService`: the consensus service's messages to and from other replicas.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, stream};
use pentad_api::Failure;
use pentad_api::peer::v1 as proto;
use pentad_api::peer::v1::relay_service_server::RelayService;
use pentad_wire::PeerId;
use pentad_wire::consensus::{PAYLOAD_MAX, PROOF_MAX, TRACES_MAX};
use pentad_wire::inbox::{Delivery, Parcel};
use thiserror::Error;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::exchange::{Attachment, Exchange, Inbound};

/// Answers `RelayService`.
#[derive(Clone, Debug)]
pub(crate) struct RelayApi {
    pub(crate) exchange: Exchange,
}

/// Why a stream ended.
#[derive(Debug, Error)]
enum ExchangeError {
    #[error("a message of {0} bytes: 1 to {PAYLOAD_MAX} can be relayed")]
    Length(usize),
    #[error("a link of {0} bytes: 8, as it came with a message, or none")]
    Link(usize),
    #[error("a proof of {0} bytes: {PROOF_MAX} at most")]
    Proof(usize),
    #[error("another stream takes this one's place")]
    Replaced,
    #[error("the task that takes messages failed")]
    Failed,
}

impl From<ExchangeError> for Status {
    fn from(error: ExchangeError) -> Self {
        let message = error.to_string();
        match error {
            ExchangeError::Length(_) => Failure::invalid_field("messages.payload", message),
            ExchangeError::Link(_) => Failure::invalid_field("messages.link", message),
            ExchangeError::Proof(_) => Failure::invalid_field("validator_proof", message),
            ExchangeError::Replaced => Failure::new(Code::Aborted, "REPLACED", message)
                .with_hint("one consensus service at a time exchanges messages"),
            ExchangeError::Failed => Failure::new(Code::Internal, "TASK_FAILED", message),
        }
        .into()
    }
}

type Responses = Pin<Box<dyn Stream<Item = Result<proto::ExchangeResponse, Status>> + Send>>;

#[tonic::async_trait]
impl RelayService for RelayApi {
    type ExchangeStream = Responses;

    async fn exchange(
        &self,
        request: Request<Streaming<proto::ExchangeRequest>>,
    ) -> Result<Response<Responses>, Status> {
        let attachment = Arc::new(self.exchange.attach());
        // A task of its own: whether the caller reads is no concern of what it sends.
        let sending = tokio::spawn(send(Arc::clone(&attachment), request.into_inner()));
        let sending = Some(AbortOnDropHandle::new(sending));
        let responses = stream::unfold((attachment, sending), async |(attachment, sending)| {
            let mut sending = sending?;
            tokio::select! {
                sent = &mut sending => match sent {
                    Ok(Ok(())) => None,
                    Ok(Err(status)) => Some((Err(status), (attachment, None))),
                    Err(_) => Some((Err(ExchangeError::Failed.into()), (attachment, None))),
                },
                batch = attachment.next() => Some(match batch {
                    Some(batch) => (Ok(response(batch)), (attachment, Some(sending))),
                    None => (Err(ExchangeError::Replaced.into()), (attachment, None)),
                }),
            }
        });
        Ok(Response::new(Box::pin(responses)))
    }
}

/// Queues what the consensus service sends until it ends its half of the stream.
async fn send(
    attachment: Arc<Attachment>,
    mut requests: Streaming<proto::ExchangeRequest>,
) -> Result<(), Status> {
    while let Some(request) = requests.message().await? {
        let length = request.validator_proof.len();
        if length > PROOF_MAX {
            return Err(ExchangeError::Proof(length).into());
        }
        if length > 0 {
            attachment.show(request.validator_proof);
        }
        for standing in request.standings {
            if let Some(peer) = link(&standing.link)? {
                attachment.judge(peer, standing.is_replica);
            }
        }
        for message in request.messages {
            let length = message.payload.len();
            if length == 0 || length > PAYLOAD_MAX {
                return Err(ExchangeError::Length(length).into());
            }
            let to = link(&message.link)?;
            let proto::OutboundMessage { payload, traceparent, .. } = message;
            // What is longer is none, as from another node.
            let traces = Some(message.transaction_traces).filter(|it| it.len() <= TRACES_MAX);
            let traces = traces.unwrap_or_default();
            if let Err(error) = attachment.send(Parcel { payload, traceparent, traces }, to) {
                tracing::error!(%error, "a message that no frame can carry");
            }
        }
    }
    Ok(())
}

/// The link of an answer; `None` for all of them.
fn link(bytes: &[u8]) -> Result<Option<PeerId>, ExchangeError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let number = bytes.try_into().map_err(|_| ExchangeError::Link(bytes.len()))?;
    Ok(Some(PeerId(u64::from_be_bytes(number))))
}

fn response(batch: Vec<Inbound>) -> proto::ExchangeResponse {
    proto::ExchangeResponse { events: batch.into_iter().map(Into::into).collect() }
}

impl From<Inbound> for proto::InboundEvent {
    fn from(inbound: Inbound) -> Self {
        use proto::inbound_event::Event;
        let mut transaction_traces = Bytes::new();
        let (event, traceparent) = match inbound.delivery {
            Delivery::Opened => {
                let known = inbound.key.map(|(key, proof)| (key.as_bytes().to_vec(), proof));
                let (static_key, validator_proof) = known.unwrap_or_default();
                let opened = proto::LinkOpened { static_key: static_key.into(), validator_proof };
                (Event::Opened(opened), String::new())
            }
            Delivery::Message(Parcel { payload, traceparent, traces }) => {
                transaction_traces = traces;
                (Event::Payload(payload), traceparent)
            }
            Delivery::Closed => (Event::Closed(proto::LinkClosed {}), String::new()),
        };
        let link = Bytes::copy_from_slice(&inbound.peer.0.to_be_bytes());
        Self { link, event: Some(event), traceparent, transaction_traces }
    }
}
