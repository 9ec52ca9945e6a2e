//! Peers come and go: slots, duplicates, bans, heartbeats.

use std::time::Duration;

use bytes::Bytes;
use pentad_wire::budget::{self, ANSWER_BYTES_MAX, ARRIVING_BYTES_MAX, Holding};
use pentad_wire::eviction::{self, Resident};
use pentad_wire::handshake::{self, Link, Reason, Survivor};
use pentad_wire::sync::Input;
use pentad_wire::{Class, Direction, Offence, PeerId, StaticKey};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Hub;
use super::peer::Peer;
use crate::addresses::{Ending, Origin};
use crate::link::outbox::Refused;
use crate::link::serve::Job;
use crate::link::{Candidate, End, Verdict};
use crate::message::{Handshake, Message};
use crate::trace;

/// Tip changes are told at once, but no more often than this: a node that catches up has thousands
/// of them a second.
const TIP_PAUSE: Duration = Duration::from_millis(50);
/// Those who take part in consensus as this node does learn of a tip from that. Told of it as well
/// while they are about to reach it themselves, they would fetch it.
const FELLOW_TIP_PAUSE: Duration = Duration::from_secs(1);
/// A link that was up for this long was a good one.
const GOOD_TIME: Duration = Duration::from_secs(10);

impl Hub {
    pub(super) fn on_opened(&mut self, candidate: Candidate, verdict: oneshot::Sender<Verdict>) {
        if let Some(address) = &candidate.dialed {
            let now = self.now();
            self.parts.addresses.on_found(address, now, candidate.key);
        }
        let answer = self.judge(&candidate);
        let Ok(peer) = answer else {
            self.parts.metrics.refused.inc();
            // A failed send: the connection is gone already.
            drop(verdict.send(answer));
            return;
        };
        if verdict.send(answer).is_err() {
            return;
        }
        self.welcome(peer, candidate);
    }

    /// Whether a node may become a peer. A link that gives way to it is closed.
    fn judge(&mut self, candidate: &Candidate) -> Verdict {
        if self.parts.allowed.as_ref().is_some_and(|keys| !keys.contains(&candidate.key)) {
            let message = "only known static keys may connect here";
            return Err((Reason::NotAllowed, message.to_owned()));
        }
        if self.parts.bans.contains(&candidate.key) {
            return Err((Reason::Banned, "this static key is banned here".to_owned()));
        }
        let existing = self.peers.iter().find(|(_, peer)| peer.key == candidate.key);
        if let Some((id, peer)) = existing.map(|(id, peer)| (*id, peer)) {
            let old = Link { direction: peer.direction, instance: peer.hello.instance };
            let instance = candidate.handshake.hello.instance;
            let new = Link { direction: candidate.direction, instance };
            let ours = self.parts.local.identity.public();
            match handshake::survivor(&ours, &candidate.key, old, new) {
                Survivor::Existing => {
                    return Err((Reason::Duplicate, "these two are connected already".to_owned()));
                }
                Survivor::New => self.close(id, Reason::Duplicate, "another link takes its place"),
            }
        }
        if candidate.direction == Direction::Inbound {
            let inbound = |peer: &&Peer| peer.direction == Direction::Inbound;
            let inbound = self.peers.values().filter(inbound).map(|peer| peer.address.ip());
            let count = inbound.clone().count();
            if !self.parts.config.shares().admit(candidate.address.ip(), inbound) {
                let message = "the inbound slots of this address or subnet are taken";
                return Err((Reason::Full, message.to_owned()));
            }
            if count >= self.parts.config.inbound_max && !self.make_room() {
                return Err((Reason::Full, "all inbound slots are taken".to_owned()));
            }
        }
        self.next_peer += 1;
        Ok(PeerId(self.next_peer))
    }

    /// Closes the inbound link that is of least use; false if all are worth their slots.
    fn make_room(&mut self) -> bool {
        let inbound = |peer: &Peer| peer.direction == Direction::Inbound;
        let residents: Vec<Resident> = self
            .peers
            .iter()
            .filter(|(_, peer)| inbound(peer))
            .map(|(id, peer)| peer.resident(*id, self.parts.local.exchange.is_proven(*id)))
            .collect();
        let Some(victim) = eviction::victim(&residents, self.parts.secret, self.now()) else {
            return false;
        };
        self.parts.metrics.evicted.inc();
        self.close(victim, Reason::Full, "it gives way to a newcomer");
        true
    }

    fn welcome(&mut self, id: PeerId, candidate: Candidate) {
        let (key, address, direction) = (candidate.key, candidate.address, candidate.direction);
        let claim = candidate.handshake.claim;
        if self.may_log(direction) {
            let height = claim.height;
            tracing::info!(peer = %id, %address, ?direction, %key, %height, "connected");
        }
        match (&candidate.dialed, candidate.handshake.listen_port) {
            (Some(dialed), _) => {
                self.parts.addresses.on_connected(dialed);
                self.parts.file.save(&self.parts.addresses);
            }
            (None, Some(port)) => {
                let listener = std::net::SocketAddr::new(address.ip(), port).to_string();
                self.on_hint(&listener);
                self.parts.addresses.on_named(&listener, key);
            }
            (None, None) => {}
        }
        let peer = Peer::new(candidate, self.own(), self.now());
        // The queue is empty, so there is room.
        if peer.jobs.try_send(Job::Inventory).is_err() {
            tracing::debug!(peer = %id, "gone before it was told of the mempool");
        }
        self.peers.insert(id, peer);
        self.relay.connect(id);
        self.certificates.machine.connect(id, claim.final_height);
        self.step(Input::Connected { peer: id, direction, claim });
    }

    /// A connection is over, whoever ended it.
    pub(super) fn on_ended(
        &mut self,
        peer: Option<PeerId>,
        dialed: Option<&str>,
        lived: Duration,
        end: &End,
    ) {
        if let Some(peer) = peer {
            self.on_peer_ended(peer, end);
        }
        let Some(address) = dialed else { return };
        let was_good = peer.is_some() && lived >= GOOD_TIME;
        self.on_dial_ended(address, was_good, end);
    }

    /// What an address led to is over.
    fn on_dial_ended(&mut self, address: &str, was_good: bool, end: &End) {
        let how = match end {
            End::Incompatible(handshake::Incompatible::OneSelf) => {
                tracing::debug!(address, "this is the node itself");
                self.parts.addresses.on_self(address);
                Ending::Final
            }
            end if end.is_final() => {
                tracing::warn!(address, %end, "not a peer");
                Ending::Final
            }
            _ if was_good => Ending::AfterGoodTime,
            end => {
                tracing::debug!(address, %end, "no link");
                Ending::Early
            }
        };
        let now = self.now();
        self.parts.addresses.on_end(address, now, how);
    }

    /// A feeler is back.
    pub(super) fn on_felt(&mut self, address: &str, outcome: Result<StaticKey, End>) {
        let now = self.now();
        match outcome {
            Ok(key) => {
                tracing::debug!(address, %key, "a feeler found a node");
                self.parts.metrics.feelers.inc();
                self.parts.addresses.on_tested(address, now, key);
            }
            Err(end) => self.on_dial_ended(address, false, &end),
        }
    }

    fn on_peer_ended(&mut self, id: PeerId, end: &End) {
        // A peer that was closed from here is gone already.
        let Some(peer) = self.forget(id) else { return };
        let may_log = self.may_log(peer.direction);
        if let End::Link(error) = end
            && error.is_offence()
        {
            if may_log {
                tracing::warn!(peer = %id, address = %peer.address, %error, "banned");
            }
            self.parts.bans.punish(peer.key, &error.to_string());
            self.parts.metrics.bans.inc();
        } else if may_log {
            tracing::info!(peer = %id, address = %peer.address, %end, "disconnected");
        }
    }

    /// Ends a link with a farewell.
    pub(super) fn close(&mut self, id: PeerId, reason: Reason, message: &str) {
        let Some(peer) = self.forget(id) else { return };
        if self.may_log(peer.direction) {
            let why = reason.name();
            tracing::info!(peer = %id, address = %peer.address, reason = why, "closing: {message}");
        }
        let farewell = Message::goodbye(reason, message).to_frame(trace::current());
        peer.outbox.close(farewell.encode().ok());
    }

    /// Ends the links that hold most of this node's memory for longest, if all hold too much.
    pub(super) fn close_hoarders(&mut self) {
        let (now, started) = (self.now(), self.started);
        let holding = |id: PeerId, (bytes, since): (usize, Instant)| Holding {
            peer: id,
            bytes,
            since: since.saturating_duration_since(started),
        };
        let arriving = |(id, peer): (&PeerId, &Peer)| Some(holding(*id, peer.counters.arriving()?));
        let arriving: Vec<Holding> = self.peers.iter().filter_map(arriving).collect();
        let answers = |(id, peer): (&PeerId, &Peer)| holding(*id, peer.outbox.waiting_answers());
        let answers: Vec<Holding> = self.peers.iter().map(answers).collect();
        for (holdings, limit) in [(arriving, ARRIVING_BYTES_MAX), (answers, ANSWER_BYTES_MAX)] {
            for id in budget::overdrawn(holdings, limit, now) {
                self.parts.metrics.slow.inc();
                self.close(id, Reason::TooSlow, "it holds too much memory for too long");
            }
        }
    }

    /// Whether a line about a link may be written: others decide how many come.
    fn may_log(&self, direction: Direction) -> bool {
        direction == Direction::Outbound || self.log.take(Instant::now())
    }

    fn forget(&mut self, id: PeerId) -> Option<Peer> {
        let peer = self.peers.remove(&id)?;
        self.relay.disconnect(id);
        self.certificates.machine.disconnect(id);
        self.drafts.disconnect(id);
        self.step(Input::Disconnected { peer: id });
        Some(peer)
    }

    pub(super) fn penalize(&mut self, id: PeerId, offence: Offence) {
        if offence.score() == 0 {
            return;
        }
        let now = self.now();
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let over = peer.score.add(offence, now);
        tracing::debug!(peer = %id, ?offence, score = peer.score.at(now), "misbehaviour");
        self.parts.metrics.on_offence(offence);
        if over {
            let (key, address, direction) = (peer.key, peer.address, peer.direction);
            if self.may_log(direction) {
                tracing::warn!(peer = %id, %address, ?offence, "banned");
            }
            self.parts.bans.punish(key, &format!("{offence:?}"));
            self.parts.metrics.bans.inc();
            self.close(id, Reason::Misbehavior, "too much misbehaviour");
        }
    }

    /// Sends to one peer; one whose queue is full reads too slowly to be of use.
    pub(super) fn send(&mut self, id: PeerId, class: Class, message: &Message) {
        let Some(peer) = self.peers.get(&id) else {
            return;
        };
        self.on_sent(id, peer.send(class, message, trace::current()));
    }

    /// Queues a message within a trace.
    pub(super) fn send_within(
        &mut self,
        id: PeerId,
        class: Class,
        message: &Message,
        context: Bytes,
    ) {
        if let Some(peer) = self.peers.get(&id) {
            self.on_sent(id, peer.send(class, message, context));
        }
    }

    pub(super) fn on_sent(&mut self, id: PeerId, outcome: Result<(), Refused>) {
        match outcome {
            Ok(()) | Err(Refused::Closing) => {}
            Err(Refused::Full) => {
                self.parts.metrics.slow.inc();
                self.close(id, Reason::TooSlow, "its queue is full");
            }
        }
    }

    pub(super) fn on_heartbeat(&mut self, id: PeerId, handshake: &Handshake) {
        let now = self.now();
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        if handshake.hello != peer.hello {
            self.penalize(id, Offence::Malformed);
            return;
        }
        if handshake.echo == peer.heartbeat.sent && !peer.heartbeat.answered {
            peer.heartbeat.answered = true;
            let round_trip = now.saturating_sub(peer.heartbeat.sent_at);
            peer.round_trip = Some(round_trip);
            let nearest = peer.merits.nearest.unwrap_or(round_trip);
            peer.merits.nearest = Some(nearest.min(round_trip));
        }
        peer.claim = handshake.claim;
        let wants_answer = handshake.heartbeat != 0;
        if wants_answer {
            peer.heartbeat.received = handshake.heartbeat;
        }
        if wants_answer {
            self.tell(id, Class::Consensus, 0);
        }
        self.certificates.machine.on_claim(id, handshake.claim.final_height);
        self.step(Input::Claimed { peer: id, claim: handshake.claim });
    }

    /// Heartbeats that are due, and tips that were held back.
    pub(super) fn send_heartbeats(&mut self) {
        let now = self.now();
        let interval = self.parts.config.heartbeat();
        let due: Vec<(PeerId, u64)> = self
            .peers
            .iter_mut()
            .filter_map(|(id, peer)| {
                let beat = &mut peer.heartbeat;
                if beat.sent == 0 || now.saturating_sub(beat.sent_at) >= interval {
                    beat.sent += 1;
                    (beat.sent_at, beat.answered) = (now, false);
                    Some((*id, beat.sent))
                } else {
                    None
                }
            })
            .collect();
        for (id, number) in due {
            self.tell(id, Class::Consensus, number);
        }
        self.announce_tip();
    }

    /// Tells a new tip to everybody, behind the block itself.
    pub(super) fn announce_tip(&mut self) {
        let (now, own) = (self.now(), self.own());
        let is_due = |(id, peer): &(&PeerId, &Peer)| {
            let pause = if self.is_fellow(**id) { FELLOW_TIP_PAUSE } else { TIP_PAUSE };
            now.saturating_sub(peer.heartbeat.told_at) >= pause
        };
        let told_otherwise = self.peers.iter().filter(|(_, peer)| peer.heartbeat.told != own);
        let due: Vec<PeerId> = told_otherwise.filter(is_due).map(|(id, _)| *id).collect();
        for id in due {
            self.tell(id, Class::Announcements, 0);
        }
    }

    /// Whether a peer has its blocks from consensus, as this node has: it has shown to be a
    /// validator, and validators make the blocks.
    pub(super) fn is_fellow(&self, id: PeerId) -> bool {
        let is_validator = self.parts.local.exchange.is_proven(id);
        is_validator && self.consensus.borrow().is_some() && !self.is_hybrid()
    }

    /// Tells everybody at once that this node takes part in consensus now, or no longer.
    pub(super) fn announce_consensus(&mut self) {
        let own = self.consensus.borrow().clone();
        let is_news = |peer: &Peer| peer.heartbeat.told_consensus != own;
        let due = self.peers.iter().filter(|(_, peer)| is_news(peer)).map(|(id, _)| *id);
        for id in due.collect::<Vec<_>>() {
            self.tell(id, Class::Consensus, 0);
        }
    }

    /// Tells one peer where this node stands; `number` 0 wants no answer.
    fn tell(&mut self, id: PeerId, class: Class, number: u64) {
        let (now, own) = (self.now(), self.own());
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let consensus = self.consensus.borrow().clone();
        (peer.heartbeat.told, peer.heartbeat.told_at) = (own, now);
        peer.heartbeat.told_consensus.clone_from(&consensus);
        let message = Message::Handshake(Handshake {
            hello: self.parts.local.hello.clone(),
            claim: own,
            listen_port: self.parts.local.listen_port,
            heartbeat: number,
            echo: peer.heartbeat.received,
            consensus,
            compact: true,
        });
        self.send(id, class, &message);
    }

    pub(super) fn on_hint(&mut self, address: &str) {
        if let Err(error) = self.parts.addresses.insert(address, Origin::Hint) {
            tracing::debug!(%error, "a hint that leads nowhere");
        }
    }
}
