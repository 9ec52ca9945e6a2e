//! What the operator wants.

use std::time::Duration;

use pentad_wire::handshake::{Claim, Reason};
use pentad_wire::penalty::Ban;
use pentad_wire::sync::Progress;
use pentad_wire::{Class, Direction, PeerId, StaticKey, Tally};
use thiserror::Error;
use tokio::sync::oneshot;

use super::Hub;
use crate::addresses::{AddressError, Origin};

/// A request of the operator.
#[derive(Debug)]
pub(crate) enum Command {
    List {
        answer: oneshot::Sender<Vec<PeerInfo>>,
    },
    Add {
        address: String,
        answer: oneshot::Sender<Result<(), CommandError>>,
    },
    Remove {
        address: String,
        answer: oneshot::Sender<Result<(), CommandError>>,
    },
    /// Answered by how many links it ended.
    Ban {
        key: StaticKey,
        duration: Duration,
        reason: String,
        answer: oneshot::Sender<usize>,
    },
    Unban {
        key: StaticKey,
        answer: oneshot::Sender<bool>,
    },
    Bans {
        answer: oneshot::Sender<Vec<(StaticKey, Ban)>>,
    },
    Sync {
        answer: oneshot::Sender<SyncStatus>,
    },
}

/// Why it was not done.
#[derive(Debug, Error)]
pub(crate) enum CommandError {
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error("no peer {address:?}: it was neither added nor is it connected")]
    Unknown { address: String },
}

/// What went over a link in one class.
#[derive(Debug)]
pub(crate) struct Traffic {
    pub(crate) class: Class,
    pub(crate) received: Tally,
    pub(crate) sent: Tally,
    /// Messages of replicas that it did not read in time.
    pub(crate) dropped: u64,
}

fn traffic(peer: &super::Peer) -> Vec<Traffic> {
    let traffic = |class| {
        let (sent, dropped) = peer.outbox.sent(class);
        Traffic { class, received: peer.counters.received_in(class), sent, dropped }
    };
    Class::ALL.map(traffic).into()
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
    pub(crate) consensus: bool,
    pub(crate) traffic: Vec<Traffic>,
}

/// How far the node is in catching up.
#[derive(Debug)]
pub(crate) struct SyncStatus {
    pub(crate) progress: Progress,
    pub(crate) blocks_per_second: f64,
    /// Until it has caught up; `None`: it has, or does not get on.
    pub(crate) remaining: Option<Duration>,
}

impl Hub {
    pub(super) fn on_command(&mut self, command: Command) {
        // A failed answer: the caller has hung up.
        match command {
            Command::List { answer } => drop(answer.send(self.list())),
            Command::Add { address, answer } => drop(answer.send(self.add(&address))),
            Command::Remove { address, answer } => drop(answer.send(self.remove(&address))),
            Command::Ban { key, duration, reason, answer } => {
                let ended = self.ban(key, duration, &reason);
                if answer.send(ended).is_err() {
                    tracing::trace!("the caller has hung up");
                }
            }
            Command::Unban { key, answer } => drop(answer.send(self.parts.bans.unban(&key))),
            Command::Bans { answer } => drop(answer.send(self.parts.bans.list())),
            Command::Sync { answer } => drop(answer.send(self.sync_status())),
        }
    }

    fn list(&self) -> Vec<PeerInfo> {
        let now = self.now();
        let info = |(id, peer): (&PeerId, &super::Peer)| {
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
                consensus: self.parts.local.exchange.is_replica(*id),
                traffic: traffic(peer),
                added: dialed.is_some_and(|address| self.parts.addresses.is_added(address)),
            }
        };
        self.peers.iter().map(info).collect()
    }

    fn ban(&mut self, key: StaticKey, duration: Duration, reason: &str) -> usize {
        tracing::info!(%key, ?duration, reason, "banned by the operator");
        self.parts.bans.ban(key, duration, reason);
        self.parts.metrics.bans.inc();
        let linked = self.peers.iter().filter(|(_, peer)| peer.key == key).map(|(id, _)| *id);
        let linked: Vec<PeerId> = linked.collect();
        for id in &linked {
            self.close(*id, Reason::Banned, "banned by the operator");
        }
        linked.len()
    }

    fn sync_status(&self) -> SyncStatus {
        let progress = self.sync.progress();
        let blocks_per_second = self.pace.blocks_per_second();
        SyncStatus { progress, blocks_per_second, remaining: self.pace.remaining(&progress) }
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
