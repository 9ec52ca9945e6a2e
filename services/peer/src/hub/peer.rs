use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pentad_primitives::BlockHeight;
use pentad_wire::eviction::Resident;
use pentad_wire::handshake::{Claim, Hello};
use pentad_wire::penalty::Score;
use pentad_wire::{Class, Direction, PeerId, StaticKey};
use tokio::sync::mpsc;

use crate::link::Candidate;
use crate::link::counters::Counters;
use crate::link::outbox::{Outbox, Refused};
use crate::link::serve::Job;
use crate::message::Message;

/// A connected node.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(super) key: StaticKey,
    pub(super) address: SocketAddr,
    pub(crate) direction: Direction,
    /// As it was dialled.
    pub(super) dialed: Option<String>,
    pub(super) hello: Hello,
    /// It takes compact blocks.
    pub(super) takes_compact: bool,
    /// Where it says it stands.
    pub(super) claim: Claim,
    /// Height of the last block pushed to it.
    pub(super) pushed: BlockHeight,
    pub(super) opened: Duration,
    pub(super) score: Score,
    pub(super) heartbeat: Heartbeat,
    pub(super) round_trip: Option<Duration>,
    /// What speaks for keeping it.
    pub(super) merits: Merits,
    pub(super) counters: Arc<Counters>,
    pub(super) outbox: Outbox,
    pub(super) jobs: mpsc::Sender<Job>,
}

/// What makes an inbound peer worth its slot.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Merits {
    /// Its shortest round trip.
    pub(super) nearest: Option<Duration>,
    /// When it last brought a block, and a transaction, that was new.
    pub(super) block: Option<Duration>,
    pub(super) transaction: Option<Duration>,
}

/// What this node told the peer of itself, and when.
#[derive(Debug)]
pub(super) struct Heartbeat {
    /// The tip it was told last.
    pub(super) told: Claim,
    pub(super) told_at: Duration,
    /// What it was told of this node's part in consensus.
    pub(super) told_consensus: Option<Bytes>,
    /// Number of the last one that wants an answer, and when it was sent.
    pub(super) sent: u64,
    pub(super) sent_at: Duration,
    pub(super) answered: bool,
    /// Number of the peer's last one.
    pub(super) received: u64,
}

impl Peer {
    /// `told` is what this node said of itself in the handshake, or newer.
    pub(super) fn new(candidate: Candidate, told: Claim, now: Duration) -> Self {
        Self {
            key: candidate.key,
            address: candidate.address,
            direction: candidate.direction,
            dialed: candidate.dialed,
            takes_compact: candidate.handshake.compact,
            hello: candidate.handshake.hello,
            claim: candidate.handshake.claim,
            pushed: BlockHeight::GENESIS,
            opened: now,
            score: Score::default(),
            heartbeat: Heartbeat {
                told,
                told_at: now,
                told_consensus: candidate.told_consensus,
                sent: 0,
                // The first one is due at once: it measures the round trip.
                sent_at: Duration::ZERO,
                answered: true,
                received: 0,
            },
            round_trip: None,
            merits: Merits::default(),
            counters: candidate.counters,
            outbox: candidate.outbox,
            jobs: candidate.jobs,
        }
    }

    /// Queues a message within a trace.
    pub(super) fn send(
        &self,
        class: Class,
        message: &Message,
        context: Bytes,
    ) -> Result<(), Refused> {
        match message.to_frame(context).encode() {
            Ok(frame) => self.outbox.push(class, frame),
            Err(error) => {
                tracing::error!(%error, "a message that no frame can carry");
                Ok(())
            }
        }
    }

    /// As the choice of who gives way to a newcomer sees it.
    pub(super) const fn resident(&self, peer: PeerId, is_kept: bool) -> Resident {
        let Merits { nearest, block, transaction } = self.merits;
        Resident {
            peer,
            address: self.address.ip(),
            opened: self.opened,
            round_trip: nearest,
            block,
            transaction,
            is_kept,
        }
    }

    /// Whether little waits in a class.
    pub(super) fn has_room(&self, class: Class) -> bool {
        self.outbox.has_room(class)
    }

    /// Queues an encoded frame, shared with other peers.
    pub(super) fn send_frame(&self, class: Class, frame: Bytes) -> Result<(), Refused> {
        self.outbox.push(class, frame)
    }
}
