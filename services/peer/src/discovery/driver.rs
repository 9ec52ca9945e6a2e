//! The task behind a [`Handle`](super::Handle).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use pentad_service_kit::since_1970;
use pentad_wire::kademlia::{
    BucketView, Contact, Dht, EndpointRecord, Input, MAX_DATAGRAM_BYTES, NetworkId, NodeId,
    Outcome, Output, Settings, Ticket, Wish, node_id, record_key,
};
use tokio::net::UdpSocket;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::names;
use super::saved::ContactsFile;
use super::{Advertised, Config, SpawnError};

/// The resolution of all timeouts of the protocol.
const TICK: Duration = Duration::from_millis(200);
/// How often contacts are saved, if they have changed.
const SAVE_INTERVAL: Duration = Duration::from_secs(30);
/// When the record is published first. The interval then doubles: a young table finds better
/// places for the record again and again.
const PUBLISH_PAUSE_MIN: Duration = Duration::from_secs(2);
/// The interval in the long run; holders keep a record for a week.
const PUBLISH_PAUSE: Duration = Duration::from_secs(3_600);
/// Pause after the socket failed to receive, so that a broken one does not spin.
const RECEIVE_PAUSE: Duration = Duration::from_millis(100);

/// What a handle asks for.
#[derive(Debug)]
pub(super) enum Command {
    Wish(Wish, oneshot::Sender<Outcome>),
    RoutingTable(oneshot::Sender<Vec<BucketView>>),
}

pub(super) struct Driver {
    socket: UdpSocket,
    local_addr: SocketAddr,
    dht: Dht,
    started: Instant,
    hints: broadcast::Sender<Contact>,
    /// Who waits for which wish; bounded by the searches that the node makes at once.
    waiting: HashMap<Ticket, oneshot::Sender<Outcome>>,
    next_ticket: u64,
    bootstrap: Vec<String>,
    resolving: JoinSet<Vec<SocketAddr>>,
    saved: Option<ContactsFile>,
    save_at: Duration,
    publication: Option<Publication>,
}

/// The record of this node and when it is due.
struct Publication {
    key: pentad_crypto::SecretKey,
    network: NetworkId,
    advertised: Advertised,
    at: Duration,
    pause: Duration,
}

impl Driver {
    pub fn new(
        socket: UdpSocket,
        local_addr: SocketAddr,
        config: Config,
        hints: broadcast::Sender<Contact>,
    ) -> Result<Self, SpawnError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(SpawnError::Entropy)?;
        let saved = config.contacts_file.map(ContactsFile::new);
        let remembered = saved.as_ref().map(ContactsFile::load).unwrap_or_default();
        let settings = Settings {
            own_id: node_id(&config.key.public_key()),
            network: config.network,
            seed,
            remembered: remembered.iter().map(|contact| contact.endpoint).collect(),
        };
        let (key, network) = (config.key, config.network);
        let publication = config.advertised.map(|advertised| Publication {
            key,
            network,
            advertised,
            at: PUBLISH_PAUSE_MIN,
            pause: PUBLISH_PAUSE_MIN,
        });
        Ok(Self {
            socket,
            local_addr,
            dht: Dht::new(settings, Duration::ZERO),
            started: Instant::now(),
            hints,
            waiting: HashMap::new(),
            next_ticket: 0,
            bootstrap: config.bootstrap,
            resolving: JoinSet::new(),
            saved,
            save_at: SAVE_INTERVAL,
            publication,
        })
    }

    pub fn own_id(&self) -> &NodeId {
        self.dht.own_id()
    }

    /// Runs until `shutdown`. Ends by dropping `commands`, which handles wait for.
    pub async fn run(mut self, mut commands: mpsc::Receiver<Command>, shutdown: CancellationToken) {
        info!(id = %self.own_id(), address = %self.local_addr, "discovery runs");
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        // One byte more than any valid datagram, so that longer ones are seen to be longer.
        let mut buffer = vec![0; MAX_DATAGRAM_BYTES + 1];
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                received = self.socket.recv_from(&mut buffer) => match received {
                    Ok((len, from)) => {
                        let bytes = buffer[..len].to_vec();
                        self.step(Input::Datagram { from, bytes });
                    }
                    Err(error) => {
                        warn!(%error, "discovery cannot receive");
                        sleep(RECEIVE_PAUSE).await;
                    }
                },
                _ = ticks.tick() => self.on_tick().await,
                Some(command) = commands.recv() => self.on_command(command),
                Some(resolved) = self.resolving.join_next() => match resolved {
                    Ok(endpoints) => self.step(Input::Bootstrap(endpoints)),
                    Err(error) => warn!(%error, "bootstrap names were not resolved"),
                },
            }
        }
        self.save().await;
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    async fn on_tick(&mut self) {
        self.step(Input::Tick);
        self.publish();
        if self.save_at <= self.now() {
            self.save_at = self.now() + SAVE_INTERVAL;
            self.save().await;
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Wish(wish, reply) => {
                let ticket = self.ticket();
                self.waiting.insert(ticket, reply);
                self.step(Input::Wish(ticket, wish));
            }
            Command::RoutingTable(reply) => {
                if reply.send(self.dht.table().buckets()).is_err() {
                    debug!("nobody waits for the routing table any more");
                }
            }
        }
    }

    fn step(&mut self, input: Input) {
        for output in self.dht.step(self.now(), input) {
            match output {
                Output::Send { to, bytes } => self.send(to, &bytes),
                Output::Discovered(contact) => {
                    debug!(id = %contact.id, endpoint = %contact.endpoint, "contact discovered");
                    // An error only says that nobody subscribes at the moment.
                    self.hints.send(contact).ok();
                }
                Output::Bootstrap => self.resolve(),
                Output::Done(ticket, outcome) => {
                    // Tickets of publications have nobody waiting, nor have cancelled callers.
                    if let Some(reply) = self.waiting.remove(&ticket) {
                        reply.send(outcome).ok();
                    }
                }
            }
        }
    }

    /// Datagrams that the socket does not take at once are lost, as on the way; what matters is
    /// sent again.
    fn send(&self, to: SocketAddr, bytes: &[u8]) {
        let to = match (self.local_addr, to) {
            (SocketAddr::V6(_), SocketAddr::V4(v4)) => {
                SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port())
            }
            _ => to,
        };
        if let Err(error) = self.socket.try_send_to(bytes, to) {
            debug!(%to, %error, "a datagram was not sent");
        }
    }

    fn resolve(&mut self) {
        if self.resolving.is_empty() && !self.bootstrap.is_empty() {
            self.resolving.spawn(names::resolve(self.bootstrap.clone()));
        }
    }

    fn publish(&mut self) {
        let now = self.now();
        let due = |publication: &&mut Publication| publication.at <= now;
        let Some(publication) = self.publication.as_mut().filter(due) else {
            return;
        };
        publication.at = now + publication.pause;
        publication.pause = (publication.pause * 2).min(PUBLISH_PAUSE);
        // A clock before 1970 would make every record the oldest; it is still a valid one.
        let record = EndpointRecord {
            network: publication.network,
            endpoint: publication.advertised.endpoint,
            noise_key: publication.advertised.noise_key,
            sequence: since_1970().as_secs(),
        };
        let key = record_key(publication.network, self.dht.own_id());
        let value = record.sign(&publication.key);
        let ticket = self.ticket();
        self.step(Input::Wish(ticket, Wish::Store(key, value)));
    }

    fn ticket(&mut self) -> Ticket {
        self.next_ticket = self.next_ticket.wrapping_add(1);
        Ticket(self.next_ticket)
    }

    async fn save(&mut self) {
        let contacts: Vec<Contact> = self.dht.table().contacts().copied().collect();
        if let Some(saved) = &mut self.saved {
            saved.save(contacts).await;
        }
    }
}
