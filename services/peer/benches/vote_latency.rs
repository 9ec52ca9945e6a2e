//! How long a vote takes from one replica to the next: from the gRPC stream of one peer service,
//! over an encrypted link, to the gRPC stream of the other, all over loopback TCP. Idle, and while
//! the second node catches up over the same link.
//!
//! `cargo bench -p pentad-peer` prints the figures.

#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../src/tests/fake_chain/mod.rs"]
mod fake_chain;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use fake_chain::FakeChain;
use pentad_api::Connection;
use pentad_api::peer::v1 as proto;
use pentad_api::peer::v1::inbound_event::Event;
use pentad_api::peer::v1::peer_service_client::PeerServiceClient;
use pentad_api::peer::v1::relay_service_client::RelayServiceClient;
use pentad_peer::{Peer, PeerConfig, Sockets};
use pentad_service_kit::{Cookie, Gate, Metrics, Server, Supervisor, sized};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::{interval, sleep};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Streaming;

/// Votes of the idle run.
const VOTES: u64 = 2_000;
/// Bytes of a vote: signature, digest, numbers.
const VOTE_LEN: usize = 200;
/// Between two votes.
const PAUSE: Duration = Duration::from_millis(1);
/// The chain that the second node lacks: blocks, and bytes of each.
const BLOCKS: usize = 100;
const BLOCK_LEN: usize = 1_000_000;

struct Node {
    chain: FakeChain,
    link: SocketAddr,
    peers: PeerServiceClient<Connection>,
    relay: RelayServiceClient<Connection>,
    shutdown: CancellationToken,
    _directory: TempDir,
}

impl Node {
    async fn start() -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let chain = FakeChain::new("bench");
        let shutdown = CancellationToken::new();
        let supervisor = Supervisor::new(TaskTracker::new(), shutdown.clone());
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let config = PeerConfig { listen, outbound_max: 0, ..PeerConfig::default() };
        let peer = Peer::start(
            config,
            directory.path(),
            chain.connection(),
            Sockets::bind(listen).await.expect("a free port"),
            &Metrics::new(),
            &supervisor,
            shutdown.clone(),
        )
        .expect("started");
        let cookie_file = directory.path().join("cookie");
        let cookie = Cookie::load_or_create(&cookie_file).expect("a cookie");
        let token = cookie.reveal().to_owned();
        let server = peer.add_to(Server::new(Gate::new(cookie, &cookie_file), Metrics::new()));
        let listener = TcpListener::bind(listen).await.expect("a free port");
        let grpc = listener.local_addr().expect("bound");
        tokio::spawn(server.serve(listener, shutdown.clone()));
        let connection = Connection::lazy(&format!("http://{grpc}")).expect("an address");
        let connection = connection.with_credential(&token).expect("a token");
        Self {
            chain,
            link: peer.listen_address(),
            peers: sized!(PeerServiceClient::new(connection.clone())),
            relay: sized!(RelayServiceClient::new(connection)),
            shutdown,
            _directory: directory,
        }
    }

    async fn attach(&self) -> Replica {
        let (requests, receiver) = mpsc::channel(64);
        let exchange = self.relay.clone().exchange(ReceiverStream::new(receiver)).await;
        Replica { requests, responses: exchange.expect("attached").into_inner() }
    }

    async fn add(&self, other: &Self) {
        let request = proto::AddPeerRequest { address: other.link.to_string() };
        while self.peers.clone().add_peer(request.clone()).await.is_err() {
            sleep(Duration::from_millis(10)).await;
        }
    }
}

struct Replica {
    requests: mpsc::Sender<proto::ExchangeRequest>,
    responses: Streaming<proto::ExchangeResponse>,
}

impl Replica {
    async fn next(&mut self) -> Vec<Event> {
        let response = self.responses.message().await.expect("a stream").expect("no end");
        response.events.into_iter().filter_map(|event| event.event).collect()
    }

    async fn opened(&mut self) {
        while !self.next().await.iter().any(|event| matches!(event, Event::Opened(_))) {}
    }
}

/// Sends votes, a pause after the other, until `more` says no; returns how long each took.
async fn votes(
    from: &Replica,
    to: &mut Replica,
    start: Instant,
    mut more: impl FnMut(u64) -> bool,
) -> Vec<Duration> {
    let mut ticks = interval(PAUSE);
    let (mut sent, mut latencies) = (0, Vec::new());
    loop {
        let is_done = !more(sent);
        if is_done && latencies.len() as u64 == sent {
            return latencies;
        }
        tokio::select! {
            _ = ticks.tick(), if !is_done => {
                let now = u64::try_from(start.elapsed().as_nanos()).expect("a short run");
                let mut payload = vec![0; VOTE_LEN];
                payload[..8].copy_from_slice(&now.to_be_bytes());
                let payload = payload.into();
                let message = proto::OutboundMessage { payload, ..Default::default() };
                let messages = vec![message];
                let request = proto::ExchangeRequest { messages, ..Default::default() };
                from.requests.send(request).await.expect("attached");
                sent += 1;
            }
            events = to.next() => for event in events {
                let Event::Payload(payload) = event else { continue };
                let nanos = u64::from_be_bytes(payload[..8].try_into().expect("8 bytes"));
                latencies.push(start.elapsed().saturating_sub(Duration::from_nanos(nanos)));
            }
        }
    }
}

fn print(what: &str, mut latencies: Vec<Duration>) {
    latencies.sort_unstable();
    let at = |percent: usize| latencies[(latencies.len() - 1) * percent / 100];
    println!(
        "{what:<44} {:>6} votes   p50 {:>9.3?}   p99 {:>9.3?}   max {:>9.3?}",
        latencies.len(),
        at(50),
        at(99),
        at(100)
    );
}

#[tokio::main]
async fn main() {
    if cfg!(debug_assertions) {
        eprintln!("a debug build: the figures below say little");
    }
    let [one, two] = [Node::start().await, Node::start().await];
    one.add(&two).await;
    let (mut first, mut second) = (one.attach().await, two.attach().await);
    tokio::join!(first.opened(), second.opened());
    let start = Instant::now();
    votes(&first, &mut second, start, |sent| sent < 100).await;
    let idle = votes(&first, &mut second, start, |sent| sent < VOTES).await;
    print("a vote, idle", idle);
    one.chain.mine(BLOCKS, 0, BLOCK_LEN);
    let began = Instant::now();
    let busy = votes(&first, &mut second, start, |_| two.chain.height() < BLOCKS).await;
    let took = began.elapsed();
    print("a vote towards a node that syncs 100 MB", busy);
    println!("the sync took {took:.2?}");
    one.shutdown.cancel();
    two.shutdown.cancel();
}
