//! What the operator wants.

use std::time::Duration;

use pentad_wire::handshake::{Claim, Reason};
use pentad_wire::{Direction, PeerId, StaticKey};
use thiserror::Error;
use tokio::sync::oneshot;

use super::Hub;
use crate::addresses::{AddressError, Origin};

/// A request of the operator.
#[derive(Debug)]
pub(crate) enum Command {
    List { answer: oneshot::Sender<Vec<PeerInfo>> },
    Add { address: String, answer: oneshot::Sender<Result<(), CommandError>> },
    Remove { address: String, answer: oneshot::Sender<Result<(), CommandError>> },
}

/// Why it was not done.
#[derive(Debug, Error)]
pub(crate) enum CommandError {
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error("no peer {address:?}: it was neither added nor is it connected")]
    Unknown { address: String },
}

/// A peer as the operator sees it.
#[derive(Debug)]
pub(crate) struct PeerInfo {
    pub(crate) key: StaticKey,
    /// As it was dialled, or the remote address.
    pub(crate) address: String,
    pub(crate) direction: Direction,
    pub(crate) claim: Claim,
    pub(crate) connected: Duration,
    pub(crate) round_trip: Option<Duration>,
    pub(crate) bytes_received: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) score: u32,
    pub(crate) added: bool,
}

impl Hub {
    pub(super) fn on_command(&mut self, command: Command) {
        // A failed answer: the caller has hung up.
        match command {
            Command::List { answer } => drop(answer.send(self.list())),
            Command::Add { address, answer } => drop(answer.send(self.add(&address))),
            Command::Remove { address, answer } => drop(answer.send(self.remove(&address))),
        }
    }

    fn list(&self) -> Vec<PeerInfo> {
        let now = self.now();
        let info = |peer: &super::Peer| {
            let dialed = peer.dialed.as_deref();
            PeerInfo {
                key: peer.key,
                address: dialed.map_or_else(|| peer.address.to_string(), str::to_owned),
                direction: peer.direction,
                claim: peer.claim,
                connected: now.saturating_sub(peer.opened),
                round_trip: peer.round_trip,
                bytes_received: peer.counters.bytes_received(),
                bytes_sent: peer.counters.bytes_sent(),
                score: peer.score.at(now),
                added: dialed.is_some_and(|address| self.parts.addresses.is_added(address)),
            }
        };
        self.peers.values().map(info).collect()
    }

    fn add(&mut self, address: &str) -> Result<(), CommandError> {
        self.parts.addresses.insert(address, Origin::Added)?;
        self.parts.file.save(&self.parts.addresses);
        self.dial_due();
        Ok(())
    }

    fn remove(&mut self, address: &str) -> Result<(), CommandError> {
        let known = self.parts.addresses.remove(address);
        let linked: Vec<PeerId> = self
            .peers
            .iter()
            .filter(|(_, peer)| {
                peer.dialed.as_deref() == Some(address) || peer.address.to_string() == address
            })
            .map(|(id, _)| *id)
            .collect();
        if !known && linked.is_empty() {
            return Err(CommandError::Unknown { address: address.to_owned() });
        }
        for id in linked {
            self.close(id, Reason::Removed, "removed by the operator");
        }
        self.parts.file.save(&self.parts.addresses);
        Ok(())
    }
}
