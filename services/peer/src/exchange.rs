//! Between the links and the consensus service of this node: its messages go straight to the
//! links' queues and come straight from their readers, past the [hub](crate::hub), so that a vote
//! waits for nothing but votes.
//!
//! Invariant: what came from one peer goes to the consensus service only, never to another peer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use pentad_wire::consensus::class_of;
use pentad_wire::inbox::{Delivery, Inbox, Parcel};
use pentad_wire::{FrameError, PeerId, StaticKey};
use tokio::sync::{Notify, watch};

use crate::link::outbox::Outbox;
use crate::message::Message;
use crate::metrics::Dropped;
use crate::trace;

/// Cheap to clone. A std mutex is right: it is held while messages are queued, never across an
/// await.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exchange(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// There is something for the consensus service, or another stream took its place.
    filled: Notify,
    /// Whether a consensus service is attached, and what shows which validator it is.
    attached: watch::Sender<Option<Bytes>>,
    dropped: Dropped,
}

#[derive(Debug, Default)]
struct State {
    /// Number of the stream that is attached, if there is one.
    stream: Option<u64>,
    streams: u64,
    links: BTreeMap<PeerId, Link>,
    inbox: Inbox,
}

#[derive(Debug)]
struct Link {
    key: StaticKey,
    outbox: Outbox,
    /// The other side takes part in consensus, and shows this of itself.
    proof: Option<Bytes>,
    /// What the consensus service made of it.
    is_replica: Option<bool>,
}

impl Link {
    /// Messages are exchanged with the other side.
    fn counts(&self) -> bool {
        self.proof.is_some() && self.is_replica != Some(false)
    }
}

/// A link that is up; dropped, it is gone.
#[derive(Debug)]
pub(crate) struct Membership {
    exchange: Exchange,
    peer: PeerId,
}

/// The consensus service's stream; dropped, it is gone.
#[derive(Debug)]
pub(crate) struct Attachment {
    exchange: Exchange,
    number: u64,
}

/// Something for the consensus service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Inbound {
    pub(crate) peer: PeerId,
    /// Present with [`Delivery::Opened`], and what the other side shows of itself.
    pub(crate) key: Option<(StaticKey, Bytes)>,
    pub(crate) delivery: Delivery,
}

impl Exchange {
    pub(crate) fn new(dropped: Dropped) -> Self {
        Self(Arc::new(Shared { dropped, ..Shared::default() }))
    }

    /// Whether a consensus service is attached, and what shows which validator it is, now and
    /// later.
    pub(crate) fn attached(&self) -> watch::Receiver<Option<Bytes>> {
        self.0.attached.subscribe()
    }

    /// A link is up; with a `proof`, perhaps empty, if the other side announced the capability.
    pub(crate) fn join(
        &self,
        peer: PeerId,
        key: StaticKey,
        outbox: Outbox,
        proof: Option<Bytes>,
    ) -> Membership {
        let link = Link { key, outbox, proof: None, is_replica: None };
        self.lock().links.insert(peer, link);
        let membership = Membership { exchange: self.clone(), peer };
        membership.announced(proof);
        membership
    }

    /// Whether the other side of a link takes part in consensus.
    pub(crate) fn is_replica(&self, peer: PeerId) -> bool {
        self.lock().links.get(&peer).is_some_and(Link::counts)
    }

    /// Whether the other side of a link has shown to be a validator.
    pub(crate) fn is_proven(&self, peer: PeerId) -> bool {
        self.lock().links.get(&peer).is_some_and(|link| link.is_replica == Some(true))
    }

    /// The consensus service opens a stream, which takes the place of an older one.
    pub(crate) fn attach(&self) -> Attachment {
        let mut state = self.lock();
        state.streams += 1;
        let number = state.streams;
        state.stream = Some(number);
        state.open_all();
        drop(state);
        self.0.attached.send_replace(Some(Bytes::new()));
        self.0.filled.notify_waiters();
        Attachment { exchange: self.clone(), number }
    }

    /// Bytes of messages that wait for the consensus service.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.lock().inbox.bytes()
    }

    #[cfg(test)]
    pub(crate) fn dropped(&self) -> u64 {
        self.0.dropped.total()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A new stream learns of all links.
    fn open_all(&mut self) {
        self.inbox = Inbox::new();
        for (peer, link) in self.links.iter_mut().filter(|(_, link)| link.proof.is_some()) {
            link.is_replica = None;
            self.inbox.open(*peer);
        }
    }
}

impl Membership {
    /// The other side said whether it takes part in consensus, and what shows which validator it
    /// is.
    pub(crate) fn announced(&self, proof: Option<Bytes>) {
        let mut state = self.exchange.lock();
        let State { stream, links, inbox, .. } = &mut *state;
        let Some(link) = links.get_mut(&self.peer) else { return };
        if link.proof == proof {
            return;
        }
        let is_capable = proof.is_some();
        (link.proof, link.is_replica) = (proof, None);
        if stream.is_none() {
            return;
        }
        if is_capable {
            inbox.reopen(self.peer);
        } else {
            inbox.close(self.peer);
        }
        drop(state);
        self.exchange.0.filled.notify_waiters();
    }

    /// The other side sent a message. This says as much as the capability, which may still be on
    /// its way in another class.
    pub(crate) fn receive(&self, parcel: Parcel) {
        if self.exchange.lock().links.get(&self.peer).is_some_and(|link| link.proof.is_none()) {
            self.announced(Some(Bytes::new()));
        }
        let class = class_of(parcel.payload.len());
        let mut state = self.exchange.lock();
        let counts = state.links.get(&self.peer).is_some_and(Link::counts);
        let dropped = if counts && state.stream.is_some() {
            state.inbox.push(self.peer, class, parcel)
        } else {
            1
        };
        drop(state);
        self.exchange.0.dropped.inbound(class, dropped);
        self.exchange.0.filled.notify_waiters();
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut state = self.exchange.lock();
        state.links.remove(&self.peer);
        state.inbox.close(self.peer);
        drop(state);
        self.exchange.0.filled.notify_waiters();
    }
}

impl Attachment {
    /// Queues a message to one link, or to all whose other sides take part in consensus. What a
    /// link has no room for is dropped, the oldest first.
    pub(crate) fn send(&self, parcel: Parcel, to: Option<PeerId>) -> Result<(), FrameError> {
        let Parcel { payload, traceparent, traces } = parcel;
        let class = class_of(payload.len());
        let context = trace::from_parent(&traceparent);
        // Encoded once: all links share the bytes.
        let frame = Message::Consensus { payload, traces }.to_frame(context).encode()?;
        let mut dropped = 0;
        let state = self.exchange.lock();
        if state.stream == Some(self.number) {
            for (peer, link) in &state.links {
                if to.map_or(link.counts(), |to| to == *peer) {
                    dropped += link.outbox.push_expendable(class, frame.clone());
                }
            }
        }
        drop(state);
        self.exchange.0.dropped.outbound(class, dropped);
        Ok(())
    }

    /// What shows other nodes which validator this node is.
    pub(crate) fn show(&self, proof: Bytes) {
        let state = self.exchange.lock();
        if state.stream == Some(self.number) {
            self.exchange.0.attached.send_replace(Some(proof));
        }
    }

    /// What the consensus service made of what the other side of a link shows.
    pub(crate) fn judge(&self, peer: PeerId, is_replica: bool) {
        let mut state = self.exchange.lock();
        if state.stream == Some(self.number)
            && let Some(link) = state.links.get_mut(&peer)
        {
            link.is_replica = Some(is_replica);
        }
    }

    /// Waits for something to happen; `None` once another stream has taken this one's place.
    pub(crate) async fn next(&self) -> Option<Vec<Inbound>> {
        loop {
            let mut filled = std::pin::pin!(self.exchange.0.filled.notified());
            // Registered before the look, so that nothing is missed between the two.
            filled.as_mut().enable();
            let batch = self.take()?;
            if !batch.is_empty() {
                return Some(batch);
            }
            filled.await;
        }
    }

    fn take(&self) -> Option<Vec<Inbound>> {
        let mut state = self.exchange.lock();
        if state.stream != Some(self.number) {
            return None;
        }
        let batch = state.inbox.next_batch();
        let inbound = |(peer, delivery)| {
            let is_opening = delivery == Delivery::Opened;
            let link = state.links.get(&peer).filter(|_| is_opening);
            let key = link.map(|link| (link.key, link.proof.clone().unwrap_or_default()));
            Inbound { peer, key, delivery }
        };
        Some(batch.into_iter().map(inbound).collect())
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let mut state = self.exchange.lock();
        if state.stream == Some(self.number) {
            state.stream = None;
            state.inbox = Inbox::new();
            drop(state);
            self.exchange.0.attached.send_replace(None);
        }
    }
}
