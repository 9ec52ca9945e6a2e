//! Puts the peer service together.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pentad_api::Connection;
use pentad_api::peer::v1::peer_service_server::PeerServiceServer;
use pentad_service_kit::{Metrics, Server, Supervisor, health, sized};
use pentad_wire::handshake::{Hello, VERSIONS};
use pentad_wire::kademlia::{NetworkId, node_id};
use thiserror::Error;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::addresses::{Addresses, Origin};
use crate::addresses_file::AddressesFile;
use crate::backoff::Backoff;
use crate::chain::{
    Chain, Network, Pump, follow_mempool, follow_tip, pump_blocks, pump_transactions,
};
use crate::config::PeerConfig;
use crate::discovery::{self, Advertised, Discovery, Handle, signing_key};
use crate::door::Door;
use crate::grpc::PeerApi;
use crate::hub::{BLOCK_BYTES_MAX, EVENTS_MAX, Event, Hub, Parts, TRANSACTION_BYTES_MAX};
use crate::identity::{Identity, IdentityError};
use crate::link::Local;
use crate::listener::accept;
use crate::metrics::PeerMetrics;

/// What the chain service is asked for its health by.
const CHAIN_SERVICE: &str = "pentad.chain.v1.ChainService";
/// File of the Kademlia contacts in the data directory.
const CONTACTS_FILE: &str = "contacts";
/// Pauses while the chain service has not been reached.
const CHAIN_PAUSE_MIN: Duration = Duration::from_millis(50);
const CHAIN_PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long links may take to say goodbye at the end.
const FAREWELL_TIME_MAX: Duration = Duration::from_secs(3);

/// The peer service of a node.
#[derive(Clone, Debug)]
pub struct Peer {
    pub(crate) api: PeerApi,
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
        let failed = |address, protocol| {
            move |source| StartError::Listen {
                address,
                protocol,
                source,
            }
        };
        let tcp = TcpListener::bind(address)
            .await
            .map_err(failed(address, "TCP"))?;
        let bound = tcp.local_addr().map_err(StartError::Address)?;
        let udp = UdpSocket::bind(bound).await.map_err(failed(bound, "UDP"))?;
        Ok(Self { tcp, udp })
    }
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
        let identity = Identity::load_or_create(data_dir)?;
        let listen = sockets.tcp.local_addr().map_err(StartError::Address)?;
        let (events, received) = mpsc::channel(EVENTS_MAX);
        let (ready, is_ready) = watch::channel(None);
        let api = PeerApi {
            key: identity.public(),
            node_id: node_id(&signing_key(identity.private()).public_key()),
            listen,
            events: events.clone(),
            running: is_ready,
        };
        tracing::info!(key = %identity.public(), %listen, "this node");
        let mut instance = [0; 8];
        getrandom::fill(&mut instance).map_err(StartError::Entropy)?;
        let startup = Startup {
            config,
            data_dir: data_dir.to_owned(),
            identity,
            instance: u64::from_be_bytes(instance),
            chain: Chain::new(&chain),
            sockets,
            listen,
            metrics: PeerMetrics::register(metrics),
            events,
            ready,
        };
        supervisor.spawn("peer", startup.run(received, shutdown));
        Ok(Self { api, chain })
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
        server.service(
            sized!(PeerServiceServer::new(self.api.clone())),
            [links, chain],
        )
    }

    /// Where other nodes reach this one.
    #[must_use]
    pub const fn listen_address(&self) -> SocketAddr {
        self.api.listen
    }
}

/// What runs once the chain service answers.
struct Startup {
    config: PeerConfig,
    data_dir: PathBuf,
    identity: Identity,
    instance: u64,
    chain: Chain,
    sockets: Sockets,
    listen: SocketAddr,
    metrics: PeerMetrics,
    events: mpsc::Sender<Event>,
    ready: watch::Sender<Option<Handle>>,
}

impl Startup {
    async fn run(
        self,
        received: mpsc::Receiver<Event>,
        shutdown: CancellationToken,
    ) -> Result<(), discovery::SpawnError> {
        let reaching = reach(&self.chain);
        let Some(network) = shutdown.run_until_cancelled(reaching).await else {
            return Ok(());
        };
        tracing::info!(network = network.name, height = %network.claim.height, "chain reached");

        let discovery_config = self.discovery_config(&network);
        let Self {
            config,
            data_dir,
            identity,
            chain,
            sockets,
            events,
            metrics,
            ..
        } = self;
        let discovery = Discovery::spawn(sockets.udp, discovery_config, shutdown.clone())?;
        let (claim, claims) = watch::channel(network.claim);
        let local = Arc::new(Local {
            identity,
            hello: Hello {
                network: network.name,
                versions: VERSIONS,
                genesis: network.genesis,
                instance: self.instance,
            },
            listen_port: Some(self.listen.port()),
            claim: claims,
            handshake_time_max: config.handshake_time_max(),
            write_time_max: config.write_time_max(),
            chain: chain.clone(),
            events: events.clone(),
            totals: metrics.totals.clone(),
        });
        let blocks = Pump::new(BLOCK_BYTES_MAX);
        let transactions = Pump::new(TRANSACTION_BYTES_MAX);
        let tasks = TaskTracker::new();
        let stop = || shutdown.clone();
        tasks.spawn(pump_blocks(
            chain.clone(),
            blocks.clone(),
            events.clone(),
            stop(),
        ));
        tasks.spawn(pump_transactions(
            chain.clone(),
            transactions.clone(),
            events.clone(),
            stop(),
        ));
        tasks.spawn(follow_tip(chain.clone(), events.clone(), stop()));
        tasks.spawn(follow_mempool(chain, events.clone(), stop()));
        tasks.spawn(forward_hints(discovery.subscribe(), events, stop()));
        let door = Door::new(config.strict_loopback);
        let listening = accept(
            sockets.tcp,
            Arc::clone(&local),
            door,
            metrics.clone(),
            tasks.clone(),
            stop(),
        );
        tasks.spawn(listening);

        let (addresses, file) = addresses(&config, &data_dir);
        let parts = Parts {
            local,
            config,
            claim,
            blocks,
            transactions,
            addresses,
            file,
            metrics,
            tasks: tasks.clone(),
        };
        self.ready.send_replace(Some(discovery.clone()));
        Hub::new(parts).run(received, shutdown).await;
        tasks.close();
        let ended = async {
            tasks.wait().await;
            discovery.stopped().await;
        };
        if timeout(FAREWELL_TIME_MAX, ended).await.is_err() {
            tracing::debug!(tasks = tasks.len(), "some links did not end in time");
        }
        Ok(())
    }

    fn discovery_config(&self, network: &Network) -> discovery::Config {
        let [a, b, c, d, e, f, g, h, ..] = network.genesis.to_bytes();
        let advertised = self.config.advertise.or_else(|| {
            // Everywhere is nowhere in particular.
            (!self.listen.ip().is_unspecified()).then_some(self.listen)
        });
        discovery::Config {
            key: signing_key(self.identity.private()),
            network: NetworkId([a, b, c, d, e, f, g, h]),
            bootstrap: self.config.bootstrap.clone(),
            contacts_file: Some(self.data_dir.join(CONTACTS_FILE)),
            advertised: advertised.map(|endpoint| Advertised {
                endpoint,
                noise_key: *self.identity.public().as_bytes(),
            }),
        }
    }
}

/// Asks the chain service for its network until it answers.
async fn reach(chain: &Chain) -> Network {
    let mut backoff = Backoff::new(CHAIN_PAUSE_MIN, CHAIN_PAUSE_MAX);
    loop {
        match chain.network().await {
            Ok(network) => return network,
            Err(error) => tracing::debug!(%error, "the chain service does not answer yet"),
        }
        tokio::time::sleep(backoff.next()).await;
    }
}

/// The addresses of the configuration and those that were kept.
fn addresses(config: &PeerConfig, data_dir: &Path) -> (Addresses, AddressesFile) {
    let mut addresses = Addresses::new(config.outbound_max);
    let mut file = AddressesFile::new(data_dir);
    file.load(&mut addresses);
    for address in &config.bootstrap {
        if let Err(error) = addresses.insert(address, Origin::Bootstrap) {
            tracing::warn!(%error, "configuration field peer.bootstrap");
        }
    }
    (addresses, file)
}

/// Contacts of discovery may take links, too.
async fn forward_hints(
    mut contacts: broadcast::Receiver<pentad_wire::kademlia::Contact>,
    events: mpsc::Sender<Event>,
    shutdown: CancellationToken,
) {
    let forwarding = async {
        loop {
            match contacts.recv().await {
                Ok(contact) => {
                    let address = contact.endpoint.to_string();
                    if events.send(Event::Hint { address }).await.is_err() {
                        return;
                    }
                }
                // Hints are only hints: some may be missed.
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    };
    shutdown.run_until_cancelled(forwarding).await;
}
