//! What the peer services of a network do for consensus: pass messages on, or not.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use pentad_api::peer::v1::inbound_event::Event;
use pentad_api::peer::v1::relay_service_server::{RelayService, RelayServiceServer};
use pentad_api::peer::v1::{ExchangeRequest, ExchangeResponse, InboundEvent, LinkOpened};
use pentad_fakes::peer::v1::peer_service_server::PeerServiceServer;
use pentad_service_kit::{Server, sized};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};

use crate::identity::{Identity, static_key};

/// Messages on their way to one replica; more are lost, as from a full link.
const QUEUE_MAX: usize = 1024;

type Sender = mpsc::Sender<Result<ExchangeResponse, Status>>;

/// Connects the replicas of one process.
#[derive(Clone, Default)]
pub struct Switch {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    ports: Vec<Option<(Sender, Bytes)>>,
    /// How often each replica has come, again after a restart.
    arrivals: Vec<usize>,
    /// Nothing goes in or out.
    cut: BTreeSet<usize>,
}

/// One replica's end of it.
#[derive(Clone)]
struct Port {
    switch: Switch,
    number: usize,
}

impl Switch {
    pub fn add_to(&self, number: usize, server: Server) -> Server {
        let port = Port { switch: self.clone(), number };
        server
            .service(sized!(RelayServiceServer::new(port)), [])
            .service(sized!(PeerServiceServer::new(Identity(number))), [])
    }

    /// Cuts a replica off.
    pub fn cut(&self, number: usize) {
        self.state().cut.insert(number);
    }

    /// Connects it again.
    pub fn mend(&self, number: usize) {
        self.state().cut.remove(&number);
    }

    /// How often a replica has come: from then on it misses nothing.
    pub fn arrivals(&self, number: usize) -> usize {
        self.state().arrivals.get(number).copied().unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics with the lock")
    }

    /// A replica comes, with the proof of who it is.
    fn attach(&self, number: usize, sender: Sender, proof: Bytes) {
        let mut state = self.state();
        if state.ports.len() <= number {
            state.ports.resize(number + 1, None);
            state.arrivals.resize(number + 1, 0);
        }
        for (other, port) in state.ports.iter().enumerate() {
            if let Some((port, proof_of_other)) = port.as_ref().filter(|_| other != number) {
                // Whoever is slow or gone misses it, as over a link.
                port.try_send(Ok(response(number, opened(number, &proof)))).ok();
                sender.try_send(Ok(response(other, opened(other, proof_of_other)))).ok();
            }
        }
        state.ports[number] = Some((sender, proof));
        state.arrivals[number] += 1;
    }

    fn send(&self, from: usize, payload: &Bytes, link: &[u8]) {
        let state = self.state();
        let only = link.try_into().ok().map(u64::from_be_bytes);
        for (to, port) in state.ports.iter().enumerate() {
            let is_meant = only.is_none_or(|only| only == to as u64);
            if to == from || !is_meant || state.cut.contains(&from) || state.cut.contains(&to) {
                continue;
            }
            if let Some((port, _)) = port {
                port.try_send(Ok(response(from, Event::Payload(payload.clone())))).ok();
            }
        }
    }
}

fn opened(number: usize, proof: &Bytes) -> Event {
    let static_key = static_key(number).to_vec().into();
    Event::Opened(LinkOpened { static_key, validator_proof: proof.clone() })
}

fn response(from: usize, event: Event) -> ExchangeResponse {
    let link = Bytes::copy_from_slice(&(from as u64).to_be_bytes());
    let event = InboundEvent { link, event: Some(event), ..InboundEvent::default() };
    ExchangeResponse { events: vec![event] }
}

#[tonic::async_trait]
impl RelayService for Port {
    type ExchangeStream =
        Pin<Box<dyn Stream<Item = Result<ExchangeResponse, Status>> + Send + 'static>>;

    async fn exchange(
        &self,
        request: Request<Streaming<ExchangeRequest>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        let Self { switch, number } = self.clone();
        let mut requests = request.into_inner();
        tokio::spawn(async move {
            if let Some(Ok(first)) = requests.next().await {
                switch.attach(number, sender, first.validator_proof);
            }
            while let Some(Ok(request)) = requests.next().await {
                for message in request.messages {
                    switch.send(number, &message.payload, &message.link);
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}
