//! What runs once the chain service answers.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pentad_service_kit::Supervisor;
use pentad_wire::StaticKey;
use pentad_wire::handshake::{Claim, Hello, VERSIONS};
use pentad_wire::kademlia::{Contact, NetworkId};
use tokio::net::TcpListener;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::addresses::{Addresses, Origin};
use crate::addresses_file::AddressesFile;
use crate::ban_list::BanList;
use crate::chain::{
    Chain, Network, Pump, follow_mempool, follow_tip, pump_blocks, pump_transactions,
};
use crate::config::PeerConfig;
use crate::discovery::{self, Advertised, Discovery, Handle, signing_key};
use crate::door::Door;
use crate::exchange::Exchange;
use crate::hub::{BLOCK_BYTES_MAX, Event, Hub, Parts, TRANSACTION_BYTES_MAX};
use crate::identity::Identity;
use crate::link::Local;
use crate::listener::accept;
use crate::metrics::PeerMetrics;
use crate::service::Sockets;
use pentad_service_kit::Backoff;

/// File of the Kademlia contacts in the data directory.
const CONTACTS_FILE: &str = "contacts";
/// Pauses while the chain service has not been reached.
const CHAIN_PAUSE_MIN: Duration = Duration::from_millis(50);
const CHAIN_PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long links may take to say goodbye at the end.
const FAREWELL_TIME_MAX: Duration = Duration::from_secs(3);

/// All that is needed but the chain service's answer.
pub(crate) struct Startup {
    pub(crate) config: PeerConfig,
    /// The static keys that may be peers; `None`: all.
    pub(crate) allowed: Option<BTreeSet<StaticKey>>,
    pub(crate) data_dir: PathBuf,
    pub(crate) identity: Identity,
    pub(crate) instance: u64,
    /// See [`Parts::secret`].
    pub(crate) secret: u64,
    pub(crate) chain: Chain,
    pub(crate) listen: SocketAddr,
    pub(crate) metrics: PeerMetrics,
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) exchange: Exchange,
    pub(crate) running: watch::Sender<Option<Handle>>,
    pub(crate) supervisor: Supervisor,
    pub(crate) shutdown: CancellationToken,
}

impl Startup {
    /// Runs the service to its end.
    pub(crate) async fn run(
        self,
        sockets: Sockets,
        received: mpsc::Receiver<Event>,
    ) -> Result<(), discovery::SpawnError> {
        let reaching = reach(&self.chain);
        let Some(network) = self.shutdown.run_until_cancelled(reaching).await else {
            return Ok(());
        };
        tracing::info!(network = network.name, height = %network.claim.height, "chain reached");
        let discovery_config = self.discovery_config(&network);
        let discovery = Discovery::spawn(sockets.udp, discovery_config, self.shutdown.clone())?;
        let (claim, claims) = watch::channel(network.claim);
        let local = Arc::new(self.local(network, claims));
        let links = TaskTracker::new();
        let hub = Hub::new(self.parts(Arc::clone(&local), claim, links.clone()));
        self.listen(sockets.tcp, local, links.clone());
        self.mind("hints", forward_hints(discovery.subscribe(), self.events.clone()));

        self.running.send_replace(Some(discovery.clone()));
        hub.run(received, self.shutdown.clone()).await;
        links.close();
        let ended = async {
            links.wait().await;
            discovery.stopped().await;
        };
        if timeout(FAREWELL_TIME_MAX, ended).await.is_err() {
            tracing::debug!(links = links.len(), "some links did not end in time");
        }
        Ok(())
    }

    fn local(&self, network: Network, claim: watch::Receiver<Claim>) -> Local {
        Local {
            identity: self.identity.clone(),
            hello: Hello {
                network: network.name,
                versions: VERSIONS,
                genesis: network.genesis,
                instance: self.instance,
            },
            listen_port: Some(self.reached_at().port()),
            claim,
            handshake_time_max: self.config.handshake_time_max(),
            write_time_max: self.config.write_time_max(),
            chain: self.chain.clone(),
            events: self.events.clone(),
            exchange: self.exchange.clone(),
            totals: self.metrics.totals.clone(),
        }
    }

    /// What the hub is made of; the streams to and from the chain service run from now on.
    fn parts(&self, local: Arc<Local>, claim: watch::Sender<Claim>, links: TaskTracker) -> Parts {
        let blocks = Pump::new(BLOCK_BYTES_MAX);
        let transactions = Pump::new(TRANSACTION_BYTES_MAX);
        let (chain, events) = (|| self.chain.clone(), || self.events.clone());
        self.mind("block pump", pump_blocks(chain(), blocks.clone(), events()));
        self.mind("transaction pump", pump_transactions(chain(), transactions.clone(), events()));
        self.mind("tip", follow_tip(chain(), events()));
        self.mind("mempool", follow_mempool(chain(), events()));
        let (file, writing) = AddressesFile::new(&self.data_dir);
        self.finish("kept peers", writing);
        let addresses = addresses(&self.config, self.secret, &file);
        let (bans, writing) = BanList::load(&self.data_dir);
        self.finish("bans", writing);
        Parts {
            local,
            config: self.config.clone(),
            claim,
            blocks,
            transactions,
            addresses,
            file,
            bans,
            allowed: self.allowed.clone(),
            metrics: self.metrics.clone(),
            secret: self.secret,
            links,
        }
    }

    fn listen(&self, listener: TcpListener, local: Arc<Local>, links: TaskTracker) {
        let door = Door::new(&self.config);
        let accepting = accept(listener, local, door, self.metrics.clone(), links);
        self.mind("listener", accepting);
    }

    /// Runs a task to its end, which comes with the hub's.
    fn finish(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.supervisor.spawn(name, async move {
            task.await;
            Ok::<(), Infallible>(())
        });
    }

    /// Runs a task until shutdown; the service does not outlive its panic.
    fn mind(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let shutdown = self.shutdown.clone();
        self.supervisor.spawn(name, async move {
            shutdown.run_until_cancelled(task).await;
            Ok::<(), Infallible>(())
        });
    }

    /// Where others reach this node, as it tells them.
    fn reached_at(&self) -> SocketAddr {
        self.config.advertise.unwrap_or(self.listen)
    }

    fn discovery_config(&self, network: &Network) -> discovery::Config {
        let [a, b, c, d, e, f, g, h, ..] = network.genesis.to_bytes();
        // Everywhere is nowhere in particular.
        let advertised = Some(self.reached_at()).filter(|at| !at.ip().is_unspecified());
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
        backoff.pause().await;
    }
}

/// The addresses of the configuration and those that were kept.
fn addresses(config: &PeerConfig, secret: u64, file: &AddressesFile) -> Addresses {
    let mut addresses = Addresses::new(config.outbound_max, config.shares(), secret);
    file.load(&mut addresses);
    for address in &config.bootstrap {
        if let Err(error) = addresses.insert(address, Origin::Bootstrap) {
            tracing::warn!(%error, "configuration field peer.bootstrap");
        }
    }
    addresses
}

/// Contacts of discovery may take links, too.
async fn forward_hints(mut contacts: broadcast::Receiver<Contact>, events: mpsc::Sender<Event>) {
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
}
