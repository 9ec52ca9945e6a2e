//! Puts the peer service together.

use std::net::SocketAddr;
use std::path::Path;

use pentad_api::Connection;
use pentad_api::peer::v1::peer_service_server::PeerServiceServer;
use pentad_api::peer::v1::relay_service_server::RelayServiceServer;
use pentad_service_kit::{Metrics, Server, Supervisor, health, sized};
use pentad_wire::kademlia::node_id;
use thiserror::Error;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::chain::Chain;
use crate::config::PeerConfig;
use crate::discovery::signing_key;
use crate::exchange::Exchange;
use crate::grpc::PeerApi;
use crate::hub::EVENTS_MAX;
use crate::identity::{Identity, IdentityError};
use crate::metrics::PeerMetrics;
use crate::relay_service::RelayApi;
use crate::startup::Startup;

/// What the chain service is asked for its health by.
const CHAIN_SERVICE: &str = "pentad.chain.v1.ChainService";

/// The peer service of a node.
#[derive(Clone, Debug)]
pub struct Peer {
    pub(crate) api: PeerApi,
    pub(crate) relay: RelayApi,
    chain: Connection,
}

/// Where other nodes reach this one: one port number for both.
#[derive(Debug)]
pub struct Sockets {
    /// Links.
    pub tcp: TcpListener,
    /// Discovery.
    pub udp: UdpSocket,
}

/// Why the peer service cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// It has no static key.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// It cannot listen.
    #[error("cannot listen for other nodes on {address} ({protocol}): {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// TCP or UDP.
        protocol: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The system does not tell where it listens.
    #[error("cannot tell the listening address: {0}")]
    Address(std::io::Error),
    /// A configured static key is none.
    #[error("configuration field peer.allowed_keys: {0}")]
    AllowedKeys(String),
    /// The system gives no random numbers.
    #[error("no entropy: {0}")]
    Entropy(getrandom::Error),
}

impl Sockets {
    /// Listens on `address`, TCP and UDP. With port 0 the system chooses one that is free for both.
    ///
    /// # Errors
    /// When the port is taken or the system refuses.
    pub async fn bind(address: SocketAddr) -> Result<Self, StartError> {
        let failed =
            |address, protocol| move |source| StartError::Listen { address, protocol, source };
        let tcp = TcpListener::bind(address).await.map_err(failed(address, "TCP"))?;
        let bound = tcp.local_addr().map_err(StartError::Address)?;
        let udp = UdpSocket::bind(bound).await.map_err(failed(bound, "UDP"))?;
        Ok(Self { tcp, udp })
    }
}

fn random() -> Result<u64, StartError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(StartError::Entropy)?;
    Ok(u64::from_be_bytes(bytes))
}

impl Peer {
    /// Starts the peer service. The chain service need not be there yet: links are opened once it
    /// answers. Ends with `shutdown`.
    ///
    /// # Errors
    /// When the static key cannot be read or made.
    pub fn start(
        config: PeerConfig,
        data_dir: &Path,
        chain: Connection,
        sockets: Sockets,
        metrics: &Metrics,
        supervisor: &Supervisor,
        shutdown: CancellationToken,
    ) -> Result<Self, StartError> {
        let allowed = config.allowed().map_err(StartError::AllowedKeys)?;
        let identity = Identity::load_or_create(data_dir)?;
        let listen = sockets.tcp.local_addr().map_err(StartError::Address)?;
        let (events, received) = mpsc::channel(EVENTS_MAX);
        let (running, is_running) = watch::channel(None);
        let api = PeerApi {
            key: identity.public(),
            node_id: node_id(&signing_key(identity.private()).public_key()),
            listen,
            advertised: config.advertise,
            events: events.clone(),
            running: is_running,
        };
        tracing::info!(key = %identity.public(), %listen, "this node");
        let [instance, secret] = [random()?, random()?];
        let metrics = PeerMetrics::register(metrics);
        let exchange = Exchange::new(metrics.dropped_consensus.clone());
        let relay = RelayApi { exchange: exchange.clone() };
        let startup = Startup {
            config,
            allowed,
            data_dir: data_dir.to_owned(),
            identity,
            instance,
            secret,
            chain: Chain::new(&chain),
            listen,
            metrics,
            events,
            exchange,
            running,
            supervisor: supervisor.clone(),
            shutdown,
        };
        supervisor.spawn("peer", startup.run(sockets, received));
        Ok(Self { api, relay, chain })
    }

    /// Adds the service to a server; it is healthy while it takes links and the chain service is.
    #[must_use]
    pub fn add_to(&self, server: Server) -> Server {
        let running = self.api.running.clone();
        let links = health::probe("peer", move || {
            let up = running.borrow().is_some() && running.has_changed().is_ok();
            async move {
                if up {
                    Ok(())
                } else {
                    Err("the chain service has not been reached yet".to_owned())
                }
            }
        });
        let chain = health::remote("chain", self.chain.clone(), CHAIN_SERVICE);
        let relay = sized!(RelayServiceServer::new(self.relay.clone()));
        server
            .service(
                sized!(PeerServiceServer::new(self.api.clone())),
                [links.clone(), chain.clone()],
            )
            .service(relay, [links, chain])
    }

    /// Where other nodes reach this one.
    #[must_use]
    pub const fn listen_address(&self) -> SocketAddr {
        self.api.listen
    }
}
