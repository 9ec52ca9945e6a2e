//! Bodies: which are wanted, who was asked for them, and their order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pentad_primitives::BlockHash;

use super::{BLOCKS_PER_REQUEST_MAX, Body, Outcome, Output, Refresh, Sync, WANTED_MAX};
use crate::{Offence, PeerId};

/// Bytes of blocks that may wait for their turn or for the chain service, those on their way
/// included as far as their size can be foreseen.
const WINDOW_BYTES: usize = 32 << 20;
/// Bytes that one peer may be asked for at a time: at 100 MB/s and 20 ms it is never idle.
const PEER_WINDOW_BYTES: usize = 4 << 20;
/// Fewest blocks that one peer may be asked for at a time.
const PEER_WINDOW_MIN: usize = 2;
/// Fewest blocks in a share, so that a short chain is not cut into single blocks.
const SHARE_MIN: usize = 8;
/// Size of a block before one was seen.
const BLOCK_BYTES_EXPECTED: usize = 256 << 10;
/// How long one peer may keep what others have sent waiting before the next blocks in order are
/// asked for elsewhere too: it may send just enough not to stall.
const HEAD_PATIENCE: Duration = Duration::from_secs(1);
/// Blocks of one peer with the chain service that nobody asked for.
const PUSHED_MAX: usize = 16;

/// The wanted bodies in the order of the chain.
#[derive(Debug)]
pub(super) struct Bodies {
    slots: BTreeMap<u64, Slot>,
    places: BTreeMap<BlockHash, u64>,
    missing: BTreeSet<u64>,
    requested: usize,
    connecting: usize,
    /// Everything below was handed to the chain service.
    cursor: u64,
    next_place: u64,
    /// Bytes of received blocks that the chain service has not answered.
    buffered: usize,
    /// Size to expect of a block: an average that follows the last ones.
    expected: usize,
    /// The chain service may name more.
    has_more: bool,
    /// The peer that everything waits for, and since when.
    waits_for: Option<(PeerId, Duration)>,
}

#[derive(Debug)]
struct Slot {
    hash: BlockHash,
    state: State,
    /// The last peer that did not send it, or sent a bad one.
    avoid: Option<PeerId>,
}

#[derive(Debug)]
enum State {
    Missing,
    Requested { from: PeerId },
    Received { from: PeerId, body: Body },
    Connecting { bytes: usize },
}

impl State {
    /// Bytes of the block that are held on its account.
    const fn bytes(&self) -> usize {
        match self {
            Self::Missing | Self::Requested { .. } => 0,
            Self::Received { body, .. } => body.len(),
            Self::Connecting { bytes } => *bytes,
        }
    }
}

impl Bodies {
    pub const fn new() -> Self {
        Self {
            slots: BTreeMap::new(),
            places: BTreeMap::new(),
            missing: BTreeSet::new(),
            requested: 0,
            connecting: 0,
            cursor: 0,
            next_place: 0,
            buffered: 0,
            expected: BLOCK_BYTES_EXPECTED,
            has_more: false,
            waits_for: None,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub const fn buffered(&self) -> usize {
        self.buffered
    }

    /// Takes a new list of wanted bodies; what is known of those in it is kept.
    pub fn replace(&mut self, wanted: impl Iterator<Item = BlockHash>, has_more: bool) {
        let mut old = std::mem::replace(self, Self::new());
        (self.expected, self.waits_for) = (old.expected, old.waits_for);
        self.has_more = has_more;
        // What the chain service is busy with is kept until it answers.
        let connecting: Vec<BlockHash> = old
            .slots
            .values()
            .filter(|slot| matches!(slot.state, State::Connecting { .. }))
            .map(|slot| slot.hash)
            .collect();
        for hash in connecting.into_iter().chain(wanted) {
            if self.places.contains_key(&hash) {
                continue;
            }
            let known = old.places.remove(&hash).and_then(|place| old.slots.remove(&place));
            let fresh = || Slot { hash, state: State::Missing, avoid: None };
            self.append(known.unwrap_or_else(fresh));
        }
    }

    fn append(&mut self, slot: Slot) {
        let place = self.next_place;
        self.next_place = place.saturating_add(1);
        self.places.insert(slot.hash, place);
        self.count(place, &slot.state);
        self.slots.insert(place, slot);
    }

    fn count(&mut self, place: u64, state: &State) {
        match state {
            State::Missing => {
                self.missing.insert(place);
            }
            State::Requested { .. } => self.requested = self.requested.saturating_add(1),
            State::Received { .. } => {}
            State::Connecting { .. } => self.connecting = self.connecting.saturating_add(1),
        }
        self.buffered = self.buffered.saturating_add(state.bytes());
    }

    fn uncount(&mut self, place: u64, state: &State) {
        match state {
            State::Missing => {
                self.missing.remove(&place);
            }
            State::Requested { .. } => self.requested = self.requested.saturating_sub(1),
            State::Received { .. } => {}
            State::Connecting { .. } => self.connecting = self.connecting.saturating_sub(1),
        }
        self.buffered = self.buffered.saturating_sub(state.bytes());
    }

    /// Whether a body has not arrived yet.
    pub fn lacks(&self, hash: &BlockHash) -> bool {
        self.slot(hash).is_none() || self.wants(hash)
    }

    /// Whether this body is still waited for.
    fn wants(&self, hash: &BlockHash) -> bool {
        self.slot(hash)
            .is_some_and(|slot| matches!(slot.state, State::Missing | State::Requested { .. }))
    }

    fn slot(&self, hash: &BlockHash) -> Option<&Slot> {
        self.places.get(hash).and_then(|place| self.slots.get(place))
    }

    /// Keeps a body until its turn; one beyond the window is dropped and asked for again later.
    fn store(&mut self, from: PeerId, hash: &BlockHash, body: Body) {
        let Some(place) = self.places.get(hash).copied() else {
            return;
        };
        let full = self.buffered.saturating_add(body.len()) > WINDOW_BYTES;
        // Up at once, down by quarters.
        let mean = self.expected.saturating_mul(3).saturating_add(body.len()) / 4;
        self.expected = mean.max(body.len());
        // Without the next one in order nothing would move, unless something moves already.
        let is_urgent = place == self.cursor && self.connecting == 0;
        if full && !is_urgent {
            self.set(place, State::Missing);
        } else {
            self.set(place, State::Received { from, body });
        }
    }

    /// Changes a slot's state and keeps the counts in step.
    fn set(&mut self, place: u64, state: State) {
        if matches!(state, State::Missing) {
            self.cursor = self.cursor.min(place);
        }
        let Some(slot) = self.slots.get_mut(&place) else {
            return;
        };
        let old = std::mem::replace(&mut slot.state, State::Missing);
        self.uncount(place, &old);
        self.count(place, &state);
        if let Some(slot) = self.slots.get_mut(&place) {
            slot.state = state;
        }
    }

    /// `from` will not send these.
    pub fn release(&mut self, from: PeerId, hashes: &[BlockHash]) {
        for hash in hashes {
            let Some(place) = self.places.get(hash).copied() else {
                continue;
            };
            let Some(slot) = self.slots.get_mut(&place) else {
                continue;
            };
            if matches!(slot.state, State::Requested { from: asked } if asked == from) {
                slot.avoid = Some(from);
                self.set(place, State::Missing);
            }
        }
    }

    /// A body was no good, or came too early.
    fn reject(&mut self, from: PeerId, hash: &BlockHash) {
        let Some(place) = self.places.get(hash).copied() else {
            return;
        };
        if let Some(slot) = self.slots.get_mut(&place) {
            slot.avoid = Some(from);
        }
        self.set(place, State::Missing);
    }

    /// The body is part of the ledger.
    fn finish(&mut self, hash: &BlockHash) {
        let Some(place) = self.places.remove(hash) else {
            return;
        };
        if let Some(slot) = self.slots.remove(&place) {
            self.uncount(place, &slot.state);
        }
    }

    /// The next bodies in order, for the chain service.
    fn hand_over(&mut self, outputs: &mut Vec<Output>) {
        while let Some((place, slot)) = self.slots.range(self.cursor..).next() {
            let place = *place;
            match &slot.state {
                State::Received { from, body } => {
                    let (peer, hash, body) = (*from, slot.hash, body.clone());
                    self.set(place, State::Connecting { bytes: body.len() });
                    outputs.push(Output::Connect { peer, hash, body });
                }
                State::Connecting { .. } => {}
                State::Missing | State::Requested { .. } => break,
            }
            self.cursor = place.saturating_add(1);
        }
    }

    /// The peer that has kept what others sent waiting for too long.
    fn dawdler(&mut self, now: Duration) -> Option<PeerId> {
        let head = self.slots.get(&self.cursor).filter(|_| self.buffered > 0);
        let peer = match head?.state {
            State::Requested { from } => Some(from),
            _ => None,
        };
        let since = self.waits_for.filter(|(waited, _)| Some(*waited) == peer);
        self.waits_for = since.or_else(|| Some((peer?, now)));
        let (peer, since) = self.waits_for.filter(|_| peer.is_some())?;
        (now.saturating_sub(since) >= HEAD_PATIENCE).then_some(peer)
    }

    /// Gives the next blocks in order that `from` was asked for to another peer.
    fn reassign(&mut self, from: PeerId, to: PeerId, count: usize) -> Vec<BlockHash> {
        let held: Vec<(u64, BlockHash)> = self
            .slots
            .range(self.cursor..)
            .take_while(
                |(_, slot)| matches!(slot.state, State::Requested { from: it } if it == from),
            )
            .take(count)
            .map(|(place, slot)| (*place, slot.hash))
            .collect();
        for (place, _) in &held {
            self.set(*place, State::Requested { from: to });
        }
        self.waits_for = None;
        held.into_iter().map(|(_, hash)| hash).collect()
    }

    /// Most blocks to have asked one peer for.
    fn peer_window(&self) -> usize {
        PEER_WINDOW_BYTES
            .checked_div(self.expected)
            .unwrap_or(BLOCKS_PER_REQUEST_MAX)
            .clamp(PEER_WINDOW_MIN, BLOCKS_PER_REQUEST_MAX)
    }

    /// Picks at most `count` missing bodies, lowest first, to ask `peer` for.
    fn assign(&mut self, peer: PeerId, count: usize, alone: bool) -> Vec<BlockHash> {
        let on_the_way = self.requested.saturating_mul(self.expected);
        let free = WINDOW_BYTES.saturating_sub(self.buffered).saturating_sub(on_the_way);
        let room = free.checked_div(self.expected).unwrap_or(count);
        // The next one in order is asked for in any case, unless something moves already.
        let urgent = (self.connecting == 0).then_some(self.cursor);
        let picked: Vec<(u64, BlockHash)> = self
            .missing
            .iter()
            .filter_map(|place| self.slots.get(place).map(|slot| (*place, slot)))
            .filter(|(_, slot)| alone || slot.avoid != Some(peer))
            .take(count)
            .enumerate()
            .take_while(|(index, (place, _))| *index < room || Some(*place) == urgent)
            .map(|(_, (place, slot))| (place, slot.hash))
            .collect();
        for (place, _) in &picked {
            self.set(*place, State::Requested { from: peer });
        }
        picked.into_iter().map(|(_, hash)| hash).collect()
    }
}

impl Sync {
    pub(super) fn on_block(
        &mut self,
        now: Duration,
        peer: PeerId,
        hash: BlockHash,
        body: Body,
        outputs: &mut Vec<Output>,
    ) {
        let asked = self.on_delivery(now, peer, &hash, body.len(), outputs);
        let Some(source) = self.sources.get_mut(&peer) else {
            return;
        };
        if asked {
            source.on_success();
        }
        if self.bodies.wants(&hash) {
            self.bodies.store(peer, &hash, body);
        } else if !asked
            && !self.connected.contains(hash.as_bytes())
            && self.bodies.slot(&hash).is_none()
            && source.pushed.len() < PUSHED_MAX
            && source.pushed.insert(hash)
        {
            outputs.push(Output::Connect { peer, hash, body });
        }
    }

    pub(super) fn on_not_found(
        &mut self,
        now: Duration,
        peer: PeerId,
        hash: BlockHash,
        outputs: &mut Vec<Output>,
    ) {
        if self.on_delivery(now, peer, &hash, 0, outputs) {
            self.bodies.release(peer, &[hash]);
            if let Some(source) = self.sources.get_mut(&peer) {
                source.on_miss(now);
            }
        }
    }

    /// True if the block was asked for. Answers come in the order of the requests: what the peer
    /// has skipped it withholds.
    fn on_delivery(
        &mut self,
        now: Duration,
        peer: PeerId,
        hash: &BlockHash,
        bytes: usize,
        outputs: &mut Vec<Output>,
    ) -> bool {
        let Some(source) = self.sources.get_mut(&peer) else {
            return false;
        };
        let Some(skipped) = source.answer(now, hash, bytes) else {
            return false;
        };
        if !skipped.is_empty() {
            self.bodies.release(peer, &skipped);
            outputs.push(Output::Penalize { peer, offence: Offence::WithheldBlock });
        }
        true
    }

    pub(super) fn on_answer(
        &mut self,
        now: Duration,
        peer: PeerId,
        hash: BlockHash,
        outcome: Outcome,
        outputs: &mut Vec<Output>,
    ) {
        let pushed = self.sources.get_mut(&peer).is_some_and(|source| source.pushed.remove(&hash));
        let wanted = !pushed
            && self
                .bodies
                .slot(&hash)
                .is_some_and(|slot| matches!(slot.state, State::Connecting { .. }));
        match outcome {
            Outcome::Kept => {
                self.connected.insert(hash.as_bytes());
                self.bodies.finish(&hash);
            }
            Outcome::Orphan | Outcome::Refused(_) if wanted => {
                self.bodies.reject(peer, &hash);
                // If the chain service still wants it, the header is good and this body was not.
                self.refresh = Refresh::Due;
                if let Some(source) = self.sources.get_mut(&peer) {
                    source.on_miss(now);
                }
            }
            Outcome::Orphan => self.follow(now, peer, outputs),
            Outcome::Refused(_) => {}
        }
        if let Outcome::Refused(score) = outcome {
            outputs.push(Output::Penalize { peer, offence: Offence::Refused(score) });
        }
    }

    /// Asks the chain service for the next wanted bodies before the present ones run out.
    pub(super) fn seek_wanted(&mut self, now: Duration, outputs: &mut Vec<Output>) {
        let low = self.bodies.has_more && self.bodies.slots.len() < WANTED_MAX / 2;
        let due = self.refresh == Refresh::Due || (low && self.refresh == Refresh::Idle);
        if due {
            self.refresh = Refresh::Asked { since: now };
            outputs.push(Output::RefreshWanted);
        }
    }

    /// Hands over what is complete and spreads what is missing over the peers that are ahead.
    pub(super) fn seek_bodies(&mut self, now: Duration, outputs: &mut Vec<Output>) {
        self.bodies.hand_over(outputs);
        if !self.bodies.missing.is_empty() {
            self.spread_missing(now, outputs);
        }
        if let Some(dawdler) = self.bodies.dawdler(now) {
            self.take_from(dawdler, now, outputs);
        }
    }

    /// Asks the idlest other peer for the blocks that all wait for. What comes first counts.
    fn take_from(&mut self, dawdler: PeerId, now: Duration, outputs: &mut Vec<Output>) {
        let window = self.bodies.peer_window();
        let head = self.bodies.slots.get(&self.bodies.cursor).map(|slot| slot.hash);
        let idlest = self
            .sources
            .iter()
            .filter(|(peer, _)| **peer != dawdler)
            .filter(|(_, source)| source.can_serve_beyond(&self.own, now))
            .filter(|(_, source)| head.is_some_and(|head| !source.is_asked(&head)))
            .filter(|(_, source)| source.has_room(window))
            .map(|(peer, source)| (source.in_flight(), *peer))
            .min();
        let Some((_, peer)) = idlest else {
            return;
        };
        let hashes = self.bodies.reassign(dawdler, peer, window / 2);
        if let Some(source) = self.sources.get_mut(&peer)
            && !hashes.is_empty()
        {
            source.request(now, &hashes);
            outputs.push(Output::RequestBlocks { peer, hashes });
        }
    }

    fn spread_missing(&mut self, now: Duration, outputs: &mut Vec<Output>) {
        let mut ready: Vec<(usize, PeerId)> = self
            .sources
            .iter()
            .filter(|(_, source)| source.can_serve_beyond(&self.own, now))
            .map(|(peer, source)| (source.in_flight(), *peer))
            .collect();
        ready.sort_unstable();
        let share = self.bodies.missing.len().div_ceil(ready.len().max(1)).max(SHARE_MIN);
        let alone = ready.len() == 1;
        for (in_flight, peer) in ready {
            let window = self.bodies.peer_window();
            if self.sources.get(&peer).is_none_or(|source| !source.has_room(window)) {
                continue;
            }
            let count = window.saturating_sub(in_flight).min(share);
            let hashes = self.bodies.assign(peer, count, alone);
            if hashes.is_empty() {
                continue;
            }
            if let Some(source) = self.sources.get_mut(&peer) {
                source.request(now, &hashes);
                outputs.push(Output::RequestBlocks { peer, hashes });
            }
        }
    }
}
