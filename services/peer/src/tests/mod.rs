//! Whole peer services over loopback, each with a chain service of a few lines.

mod certificates;
mod compact;
mod consensus;
mod fake_chain;
mod finality;
mod golden;
mod hostile;
mod links;
mod operator;
mod relay;
mod sync;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pentad_api::Connection;
use pentad_api::peer::v1 as proto;
use pentad_api::peer::v1::peer_service_client::PeerServiceClient;
use pentad_api::peer::v1::peer_service_server::PeerServiceServer;
use pentad_primitives::{BlockHash, BlockHeight, Work};
use pentad_service_kit::{Metrics, Supervisor};
use pentad_wire::handshake::{Claim, Hello, VERSIONS};
use pentad_wire::{Chunker, Class, Direction, Frame};
use tempfile::TempDir;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;

use crate::identity::Identity;
use crate::link::counters::Counters;
use crate::link::transport::{self, FrameReader, FrameWriter, LinkError};
use crate::message::{Handshake, Message};
use crate::{Peer, PeerConfig, Sockets};
use fake_chain::FakeChain;

/// Conditions are polled until then: generous, because two cores are shared with other tests.
const DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

/// Waits until `condition` holds.
async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < DEADLINE, "in vain for {DEADLINE:?}: {what}");
        sleep(POLL).await;
    }
}

/// A message between replicas that is not traced.
fn consensus(payload: &'static [u8]) -> Message {
    Message::Consensus { payload: Bytes::from_static(payload), traces: Bytes::new() }
}

fn config() -> PeerConfig {
    PeerConfig {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        heartbeat_ms: 200,
        ..PeerConfig::default()
    }
}

/// A running peer service; it stops when dropped, or orderly by [`Node::stop`].
struct Node {
    chain: FakeChain,
    peer: Peer,
    metrics: Metrics,
    address: SocketAddr,
    directory: Arc<TempDir>,
    supervisor: Supervisor,
    shutdown: CancellationToken,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Node {
    async fn start(network: &str, bootstrap: &[&Node]) -> Self {
        let bootstrap = bootstrap.iter().map(|node| node.address.to_string()).collect();
        let config = PeerConfig { bootstrap, ..config() };
        Self::start_with(FakeChain::new(network), config).await
    }

    async fn start_with(chain: FakeChain, config: PeerConfig) -> Self {
        let directory = Arc::new(tempfile::tempdir().expect("a directory"));
        Self::start_in(directory, chain, config).await
    }

    async fn start_in(directory: Arc<TempDir>, chain: FakeChain, config: PeerConfig) -> Self {
        let shutdown = CancellationToken::new();
        let supervisor = Supervisor::new(TaskTracker::new(), shutdown.clone());
        let sockets = Sockets::bind(config.listen).await.expect("a free port");
        let metrics = Metrics::new();
        let peer = Peer::start(
            config,
            directory.path(),
            chain.connection(),
            sockets,
            &metrics,
            &supervisor,
            shutdown.clone(),
        )
        .expect("started");
        let address = peer.listen_address();
        Self { chain, peer, metrics, address, directory, supervisor, shutdown }
    }

    fn client(&self) -> PeerServiceClient<Connection> {
        let server = PeerServiceServer::new(self.peer.api.clone());
        PeerServiceClient::new(Connection::in_process(Routes::new(server)))
    }

    async fn peers(&self) -> Vec<proto::Peer> {
        match self.client().list_peers(proto::ListPeersRequest {}).await {
            Ok(answer) => answer.into_inner().peers,
            Err(status) if status.code() == tonic::Code::Unavailable => Vec::new(),
            Err(status) => panic!("{status}"),
        }
    }

    /// A counter, by its name and labels as they are exported.
    fn counter(&self, name: &str) -> u64 {
        let text = self.metrics.encode().expect("text");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.expect("a counter of this name").parse().expect("a number")
    }

    async fn is_linked_to(&self, other: &Node) -> bool {
        let key = other.peer.api.key.to_string();
        self.peers().await.iter().any(|peer| peer.static_key == key)
    }

    async fn add(&self, other: &Node) {
        let address = other.address.to_string();
        let added = async || {
            let request = proto::AddPeerRequest { address: address.clone() };
            self.client().add_peer(request).await.is_ok()
        };
        until("the service takes a peer", added).await;
    }

    /// Ends the service as SIGTERM does.
    async fn stop(self) {
        self.shutdown.cancel();
        self.supervisor.finish(DEADLINE).await.expect("no task failed");
    }
}

async fn until_linked(one: &Node, other: &Node) {
    until("a link", async || one.is_linked_to(other).await && other.is_linked_to(one).await).await;
}

async fn until_tip(node: &Node, tip: BlockHash) {
    until("the tip", async || node.chain.tip() == tip).await;
}

/// Another implementation, played by a test.
struct Stranger {
    identity: Identity,
    hello: Hello,
    claim: Claim,
    listen_port: Option<u16>,
    consensus: Option<Bytes>,
    compact: bool,
}

impl Stranger {
    fn new(chain: &FakeChain, network: &str) -> Self {
        let mut instance = [0; 8];
        getrandom::fill(&mut instance).expect("entropy");
        Self {
            identity: Identity::generate().expect("entropy"),
            hello: Hello {
                network: network.to_owned(),
                versions: VERSIONS,
                genesis: chain.genesis(),
                instance: u64::from_be_bytes(instance),
            },
            claim: Claim {
                work: Work::default(),
                height: BlockHeight::GENESIS,
                tip: chain.genesis(),
                final_height: None,
            },
            listen_port: None,
            consensus: None,
            compact: false,
        }
    }

    fn claiming(mut self, height: u32) -> Self {
        let mut work = [0; 32];
        work[28..].copy_from_slice(&height.to_be_bytes());
        self.claim.height = BlockHeight::new(height);
        self.claim.work = Work::from_be_bytes(work);
        self
    }

    fn handshake(&self) -> Handshake {
        Handshake {
            hello: self.hello.clone(),
            claim: self.claim,
            listen_port: self.listen_port,
            heartbeat: 0,
            echo: 0,
            consensus: self.consensus.clone(),
            compact: self.compact,
        }
    }

    /// Noise and the handshake message, nothing of the answer read yet.
    async fn connect(&self, to: SocketAddr) -> Session {
        self.open(TcpStream::connect(to).await.expect("it listens")).await
    }

    /// The same from another address of this machine.
    async fn connect_from(&self, ip: IpAddr, to: SocketAddr) -> Session {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::new(ip, 0)).expect("an address of this machine");
        self.open(socket.connect(to).await.expect("it listens")).await
    }

    async fn open(&self, stream: TcpStream) -> Session {
        let mut session = self.noise(stream, Direction::Outbound).await;
        session.send(&Message::Handshake(self.handshake())).await;
        session
    }
}

impl Stranger {
    fn key(&self) -> String {
        self.identity.public().to_string()
    }

    /// Noise only.
    async fn noise(&self, stream: TcpStream, direction: Direction) -> Session {
        let counters = Arc::new(Counters::default());
        let opening = transport::open(stream, direction, &self.identity, DEADLINE, counters);
        let (reader, writer, _) = opening.await.expect("noise");
        Session { reader, writer, frames: Vec::new() }
    }
}

struct Session {
    reader: FrameReader,
    writer: FrameWriter,
    frames: Vec<Frame>,
}

impl Session {
    async fn send(&mut self, message: &Message) {
        let is_handshake = matches!(message, Message::Handshake(_));
        let class = if is_handshake { Class::Consensus } else { Class::Bulk };
        self.send_in(class, message).await;
    }

    async fn send_in(&mut self, class: Class, message: &Message) {
        let mut chunker = Chunker::new();
        let frame = message.to_frame(Bytes::new()).encode().expect("within the frame's limits");
        chunker.push(class, frame).expect("room");
        let mut plaintext = Vec::new();
        chunker.next_message(&mut plaintext);
        while !plaintext.is_empty() {
            // The other side may have closed already: then reading tells.
            drop(self.writer.send(&plaintext).await);
            chunker.next_message(&mut plaintext);
        }
    }

    async fn receive(&mut self) -> Result<Message, LinkError> {
        while self.frames.is_empty() {
            let receiving = self.reader.receive(&mut self.frames);
            timeout(DEADLINE, receiving).await.expect("an answer or an end")?;
        }
        Ok(Message::from_frame(self.frames.remove(0)).expect("well-formed"))
    }

    /// Reads to the end; the reason of the farewell, if there was one.
    async fn end(&mut self) -> Option<String> {
        let mut farewell = None;
        while let Ok(message) = self.receive().await {
            if let Message::Goodbye { reason, .. } = message {
                farewell = Some(reason);
            }
        }
        farewell
    }
}
