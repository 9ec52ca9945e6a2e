//! Consensus messages that wait for this node's replica: bounded for each link, and no link's
//! messages keep another's waiting.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use bytes::Bytes;

use crate::consensus::{PAYLOAD_MAX, TRACES_MAX};
use crate::{Class, PeerId};

/// Most bytes of urgent messages that wait on one link's account.
const URGENT_BYTES_MAX: usize = 512 << 10;
/// Most bytes of large messages that wait on one link's account: two of the largest.
const LARGE_BYTES_MAX: usize = 2 * (PAYLOAD_MAX + TRACES_MAX + PARCEL_OVERHEAD);
/// Most bytes of large messages in all; the link with the most of them loses its oldest.
const LARGE_TOTAL_MAX: usize = 64 << 20;
/// What a message takes besides its bytes.
const PARCEL_OVERHEAD: usize = 256;
/// Most urgent messages in a batch.
const BATCH_URGENT_MAX: usize = 64;

/// A message of another replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// In its own encoding.
    pub payload: Bytes,
    /// The span to continue (W3C traceparent); empty: none.
    pub traceparent: String,
    /// Spans of transactions of a proposal, in their packed form (24 bytes each).
    pub traces: Bytes,
}

/// What the replica is told of a link, in this order: opened, messages, closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The link is there, and the other side takes part in consensus.
    Opened,
    /// A message.
    Message(Parcel),
    /// The link is gone, or the other side takes part no longer.
    Closed,
}

/// The messages of all links.
#[derive(Debug, Default)]
pub struct Inbox {
    links: BTreeMap<PeerId, Link>,
    /// The link that was served last.
    last: Option<PeerId>,
}

#[derive(Debug, Default)]
struct Link {
    is_told: bool,
    is_closed: bool,
    urgent: Queue,
    large: Queue,
}

#[derive(Debug, Default)]
struct Queue {
    parcels: VecDeque<Parcel>,
    bytes: usize,
}

impl Inbox {
    /// No links.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A link is there. One that was closed and of which that was not told yet stays open.
    pub fn open(&mut self, peer: PeerId) {
        self.links.entry(peer).or_default().is_closed = false;
    }

    /// A link is there that shows itself in another light: it is told of once more.
    pub fn reopen(&mut self, peer: PeerId) {
        self.open(peer);
        if let Some(link) = self.links.get_mut(&peer) {
            link.is_told = false;
        }
    }

    /// A link is gone. What came over it before is still delivered.
    pub fn close(&mut self, peer: PeerId) {
        if let Some(link) = self.links.get_mut(&peer) {
            link.is_closed = true;
            // Nobody has heard of it: so links that come and go take no room.
            if !link.is_told {
                self.links.remove(&peer);
            }
        }
    }

    /// Keeps a message of an open link; returns how many were dropped for it, the oldest first.
    pub fn push(&mut self, peer: PeerId, class: Class, parcel: Parcel) -> u64 {
        let Some(link) = self.links.get_mut(&peer) else {
            return 1;
        };
        match class {
            Class::Consensus => link.urgent.push(parcel, URGENT_BYTES_MAX),
            Class::Announcements | Class::Bulk => {
                let dropped = link.large.push(parcel, LARGE_BYTES_MAX);
                dropped.saturating_add(self.shed())
            }
        }
    }

    /// Bytes of messages that wait.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let queues = self.links.values().flat_map(|link| [&link.urgent, &link.large]);
        queues.map(|queue| queue.bytes).fold(0, usize::saturating_add)
    }

    /// Takes what is to be delivered next: urgent messages of all links in turn, and one large one.
    pub fn next_batch(&mut self) -> Vec<(PeerId, Delivery)> {
        let mut batch = Vec::new();
        while batch.len() < BATCH_URGENT_MAX {
            let Some(next) = self.next(Link::take_urgent) else {
                break;
            };
            batch.push(next);
        }
        batch.extend(self.next(Link::take_large));
        batch
    }

    /// What the next link in turn has for `take`.
    fn next(&mut self, take: fn(&mut Link) -> Option<Delivery>) -> Option<(PeerId, Delivery)> {
        let last = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let after = self.links.range((last, Bound::Unbounded)).map(|(peer, _)| *peer);
        // Once around, ending with the one that was served last.
        let around: Vec<PeerId> = after.chain(self.links.keys().copied()).collect();
        for peer in around {
            let Some(delivery) = self.links.get_mut(&peer).and_then(take) else {
                continue;
            };
            self.last = Some(peer);
            if delivery == Delivery::Closed {
                self.links.remove(&peer);
            }
            return Some((peer, delivery));
        }
        None
    }

    /// Drops large messages while all links together hold too many bytes of them.
    fn shed(&mut self) -> u64 {
        let mut dropped = 0_u64;
        while self.large_bytes() > LARGE_TOTAL_MAX {
            let fullest = self.links.values_mut().max_by_key(|link| link.large.bytes);
            if fullest.and_then(|link| link.large.pop()).is_none() {
                break;
            }
            dropped = dropped.saturating_add(1);
        }
        dropped
    }

    fn large_bytes(&self) -> usize {
        self.links.values().map(|link| link.large.bytes).fold(0, usize::saturating_add)
    }
}

impl Link {
    fn take_urgent(&mut self) -> Option<Delivery> {
        if !self.is_told {
            self.is_told = true;
            return Some(Delivery::Opened);
        }
        if let Some(parcel) = self.urgent.pop() {
            return Some(Delivery::Message(parcel));
        }
        (self.is_closed && self.large.parcels.is_empty()).then_some(Delivery::Closed)
    }

    fn take_large(&mut self) -> Option<Delivery> {
        self.is_told.then(|| self.large.pop()).flatten().map(Delivery::Message)
    }
}

impl Queue {
    fn push(&mut self, parcel: Parcel, bytes_max: usize) -> u64 {
        let mut dropped = 0_u64;
        while self.bytes.saturating_add(parcel.weight()) > bytes_max && self.pop().is_some() {
            dropped = dropped.saturating_add(1);
        }
        self.bytes = self.bytes.saturating_add(parcel.weight());
        self.parcels.push_back(parcel);
        dropped
    }

    fn pop(&mut self) -> Option<Parcel> {
        let parcel = self.parcels.pop_front()?;
        self.bytes = self.bytes.saturating_sub(parcel.weight());
        Some(parcel)
    }
}

impl Parcel {
    const fn weight(&self) -> usize {
        let bytes = self.payload.len().saturating_add(self.traces.len());
        bytes.saturating_add(PARCEL_OVERHEAD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANNA: PeerId = PeerId(1);
    const BERT: PeerId = PeerId(2);

    fn parcel(number: u8, length: usize) -> Parcel {
        let payload = vec![number; length].into();
        Parcel { payload, traceparent: String::new(), traces: Bytes::new() }
    }

    fn message(number: u8, length: usize) -> Delivery {
        Delivery::Message(parcel(number, length))
    }

    /// However often it changes its mind, it is told of once at a time.
    #[test]
    fn a_link_that_shows_another_proof_is_told_of_again() {
        let mut inbox = inbox();
        inbox.push(ANNA, Class::Consensus, parcel(1, 1));
        for _ in 0..100 {
            inbox.reopen(ANNA);
        }
        assert_eq!(inbox.next_batch(), [(ANNA, Delivery::Opened), (ANNA, message(1, 1))]);
        inbox.reopen(ANNA);
        inbox.close(ANNA);
        assert!(inbox.next_batch().is_empty(), "its end was not told: {inbox:?}");
    }

    fn inbox() -> Inbox {
        let mut inbox = Inbox::new();
        inbox.open(ANNA);
        inbox.open(BERT);
        assert_eq!(inbox.next_batch(), [(ANNA, Delivery::Opened), (BERT, Delivery::Opened)]);
        inbox
    }

    #[test]
    fn votes_come_before_bodies_and_links_take_turns() {
        let mut inbox = inbox();
        assert_eq!(inbox.push(ANNA, Class::Announcements, parcel(9, 100_000)), 0);
        for number in 0..3 {
            assert_eq!(inbox.push(ANNA, Class::Consensus, parcel(number, 10)), 0);
        }
        assert_eq!(inbox.push(BERT, Class::Consensus, parcel(7, 10)), 0);
        let expected = [
            (ANNA, message(0, 10)),
            (BERT, message(7, 10)),
            (ANNA, message(1, 10)),
            (ANNA, message(2, 10)),
            (ANNA, message(9, 100_000)),
        ];
        assert_eq!(inbox.next_batch(), expected);
        assert!(inbox.next_batch().is_empty());
    }

    #[test]
    fn a_link_is_closed_after_its_messages() {
        let mut inbox = inbox();
        for number in 0..2 {
            assert_eq!(inbox.push(ANNA, Class::Announcements, parcel(number, 50_000)), 0);
        }
        assert_eq!(inbox.bytes(), 2 * (50_000 + PARCEL_OVERHEAD));
        inbox.close(ANNA);
        assert_eq!(inbox.next_batch(), [(ANNA, message(0, 50_000))]);
        assert_eq!(inbox.next_batch(), [(ANNA, message(1, 50_000))]);
        assert_eq!(inbox.next_batch(), [(ANNA, Delivery::Closed)]);
        assert_eq!(inbox.bytes(), 0);
        assert_eq!(inbox.push(ANNA, Class::Consensus, parcel(0, 1)), 1, "nobody is there");
        inbox.open(ANNA);
        assert_eq!(inbox.next_batch(), [(ANNA, Delivery::Opened)]);
    }

    #[test]
    fn links_that_come_and_go_unnoticed_take_no_room() {
        let mut inbox = Inbox::new();
        for number in 0..1000 {
            inbox.open(PeerId(number));
            assert_eq!(inbox.push(PeerId(number), Class::Consensus, parcel(1, 100)), 0);
            inbox.close(PeerId(number));
        }
        assert!(inbox.links.is_empty() && inbox.next_batch().is_empty());
    }

    /// Attack 36: a flood of messages stays on its sender's account.
    #[test]
    fn a_flood_drops_the_oldest_of_its_own_link_only() {
        let mut inbox = inbox();
        assert_eq!(inbox.push(BERT, Class::Consensus, parcel(7, 10)), 0);
        let mut dropped = 0;
        for number in 0..10_000_u32 {
            let payload = number.to_be_bytes().to_vec().into();
            let vote = Parcel { payload, traceparent: String::new(), traces: Bytes::new() };
            dropped += inbox.push(ANNA, Class::Consensus, vote);
            assert!(inbox.links.values().all(|link| link.urgent.bytes <= URGENT_BYTES_MAX));
        }
        let mut received = Vec::new();
        loop {
            let batch = inbox.next_batch();
            if batch.is_empty() {
                break;
            }
            received.extend(batch);
        }
        assert!(dropped > 0 && received.len() as u64 == 10_001 - dropped);
        assert!(received[..2].contains(&(BERT, message(7, 10))), "Bert waits for nobody");
        let last = received.pop().map(|(_, delivery)| delivery);
        let Some(Delivery::Message(last)) = last else { panic!("a message") };
        assert_eq!(last.payload[..], 9_999_u32.to_be_bytes());
    }

    #[test]
    fn large_messages_of_many_links_are_bounded_together() {
        let mut inbox = Inbox::new();
        let mut dropped = 0;
        for number in 0..40 {
            inbox.open(PeerId(number));
            for _ in 0..3 {
                let large = parcel(1, PAYLOAD_MAX);
                dropped += inbox.push(PeerId(number), Class::Announcements, large);
                assert!(inbox.large_bytes() <= LARGE_TOTAL_MAX);
            }
        }
        assert!(inbox.links.values().all(|link| link.large.bytes <= LARGE_BYTES_MAX));
        let kept = inbox.links.values().map(|link| link.large.parcels.len() as u64);
        assert_eq!(kept.sum::<u64>() + dropped, 120);
    }
}
