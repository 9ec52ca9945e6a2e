//! Finding other nodes by UDP: the Kademlia of `pentad_wire` on a socket.
//!
//! Everything that is decided is decided there, in
//! [`Dht`](pentad_wire::kademlia::Dht). Here are the socket, the clock,
//! entropy, name resolution and the file that carries the table over a restart.

mod driver;
mod names;
mod saved;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use pentad_crypto::SecretKey;
use pentad_primitives::hash::sha256;
use pentad_wire::kademlia::{
    BucketView, Contact, NetworkId, NodeId, Outcome, Value, VerifiedRecord, Wish,
};
use thiserror::Error;
use tokio::net::UdpSocket;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use self::driver::{Command, Driver};

/// Commands that wait for the driver.
const COMMANDS_MAX: usize = 64;
/// Hints that a slow subscriber may fall behind; it then misses the oldest ones.
const HINTS_MAX: usize = 256;
/// Separates the discovery key from other uses of the node's static secret.
const KEY_DOMAIN: &[u8] = b"pentad discovery key";

/// How a node takes part in discovery.
#[derive(Clone, Debug)]
pub struct Config {
    /// Signs the endpoint record; the node's Kademlia id is the hash of its public key. See
    /// [`signing_key`].
    pub key: SecretKey,
    /// The network whose nodes are looked for.
    pub network: NetworkId,
    /// Nodes to join through, each `host:port`.
    pub bootstrap: Vec<String>,
    /// Carries the contacts over a restart.
    pub contacts_file: Option<PathBuf>,
    /// What others are told about this node; without it, no record is published.
    pub advertised: Option<Advertised>,
}

/// Where others reach this node by TCP.
#[derive(Clone, Copy, Debug)]
pub struct Advertised {
    /// The TCP endpoint; its port is also the UDP port.
    pub endpoint: SocketAddr,
    /// The X25519 public key of its Noise links.
    pub noise_key: [u8; 32],
}

/// The key that signs a node's endpoint record, derived from the secret of its static link key:
/// one secret to keep, one identity in both protocols.
pub fn signing_key(static_secret: &[u8; 32]) -> SecretKey {
    let scalar = sha256(&[KEY_DOMAIN, static_secret].concat());
    SecretKey::from_bytes(scalar)
        .expect("a hash is out of the scalar range with probability below 2^-127")
}

/// Why discovery could not start.
#[derive(Debug, Error)]
pub enum SpawnError {
    /// The socket has no address.
    #[error("discovery socket: {0}")]
    Socket(#[from] io::Error),
    /// The system gives no random numbers.
    #[error("no entropy for discovery: {0}")]
    Entropy(getrandom::Error),
}

/// Why discovery has no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum DiscoveryError {
    /// It has been shut down.
    #[error("discovery has stopped")]
    Stopped,
    /// Too many searches are under way; try again later.
    #[error("too many lookups are under way")]
    Busy,
}

/// Starts discovery.
#[derive(Clone, Copy, Debug)]
pub struct Discovery;

impl Discovery {
    /// Runs discovery on `socket` in a task of its own until `shutdown`. The contacts are saved
    /// once more before it ends.
    ///
    /// # Errors
    /// See [`SpawnError`].
    pub fn spawn(
        socket: UdpSocket,
        config: Config,
        shutdown: CancellationToken,
    ) -> Result<Handle, SpawnError> {
        let local_addr = socket.local_addr()?;
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let (hints, _) = broadcast::channel(HINTS_MAX);
        let driver = Driver::new(socket, local_addr, config, hints.clone())?;
        let own_id = *driver.own_id();
        tokio::spawn(driver.run(receiver, shutdown));
        Ok(Handle { local_addr, own_id, commands, hints })
    }
}

/// Talks to running discovery. Clones talk to the same one.
#[derive(Clone, Debug)]
pub struct Handle {
    local_addr: SocketAddr,
    own_id: NodeId,
    commands: mpsc::Sender<Command>,
    hints: broadcast::Sender<Contact>,
}

impl Handle {
    /// Where the socket is bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The node's Kademlia id.
    pub fn own_id(&self) -> NodeId {
        self.own_id
    }

    /// Contacts from now on, as they first answer. An endpoint is a hint where a node may accept
    /// TCP links too: only the handshake there tells whether it is a peer.
    pub fn subscribe(&self) -> broadcast::Receiver<Contact> {
        self.hints.subscribe()
    }

    /// All contacts, closest to the own id first.
    ///
    /// # Errors
    /// [`DiscoveryError::Stopped`].
    pub async fn contacts(&self) -> Result<Vec<Contact>, DiscoveryError> {
        let mut contacts: Vec<Contact> =
            self.routing_table().await?.into_iter().flat_map(|bucket| bucket.contacts).collect();
        contacts.sort_by_key(|contact| contact.id.distance(&self.own_id));
        Ok(contacts)
    }

    /// The contacts by bucket, in the order of the key space.
    ///
    /// # Errors
    /// [`DiscoveryError::Stopped`].
    pub async fn routing_table(&self) -> Result<Vec<BucketView>, DiscoveryError> {
        self.ask(Command::RoutingTable).await
    }

    /// Searches the overlay for the contacts closest to `target`, at most 20, closest first.
    /// Takes one round trip to each of a few nodes, and seconds where nodes are gone.
    ///
    /// # Errors
    /// See [`DiscoveryError`].
    pub async fn lookup(&self, target: NodeId) -> Result<Vec<Contact>, DiscoveryError> {
        match self.wish(Wish::Contacts(target)).await? {
            Outcome::Contacts(contacts) => Ok(contacts),
            _ => Err(DiscoveryError::Busy),
        }
    }

    /// Searches the overlay for the value under `key`. Anybody can store anything: the value
    /// proves nothing.
    ///
    /// # Errors
    /// See [`DiscoveryError`].
    pub async fn value(&self, key: NodeId) -> Result<Option<Value>, DiscoveryError> {
        match self.wish(Wish::Value(key)).await? {
            Outcome::Value(value) => Ok(value),
            _ => Err(DiscoveryError::Busy),
        }
    }

    /// Stores a scalar `value` under `key` for a week; returns how many nodes took it.
    ///
    /// # Errors
    /// See [`DiscoveryError`].
    pub async fn store(&self, key: NodeId, value: Value) -> Result<usize, DiscoveryError> {
        match self.wish(Wish::Store(key, value)).await? {
            Outcome::Stored(copies) => Ok(copies),
            _ => Err(DiscoveryError::Busy),
        }
    }

    /// Searches for the record that the node `id` signed for this network.
    ///
    /// # Errors
    /// See [`DiscoveryError`].
    pub async fn record(&self, id: NodeId) -> Result<Option<VerifiedRecord>, DiscoveryError> {
        match self.wish(Wish::Record(id)).await? {
            Outcome::Record(record) => Ok(record.map(|record| *record)),
            _ => Err(DiscoveryError::Busy),
        }
    }

    /// Waits until discovery has ended and its contacts are saved.
    pub async fn stopped(&self) {
        self.commands.closed().await;
    }

    async fn wish(&self, wish: Wish) -> Result<Outcome, DiscoveryError> {
        self.ask(|reply| Command::Wish(wish, reply)).await
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, DiscoveryError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| DiscoveryError::Stopped)?;
        answer.await.map_err(|_| DiscoveryError::Stopped)
    }
}
