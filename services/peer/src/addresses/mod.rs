//! Whom to dial, and when: added nodes, bootstrap nodes and anchors from before the last restart,
//! and hints from discovery.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use pentad_primitives::hash::sha256;
use pentad_service_kit::Backoff;
use pentad_wire::StaticKey;
use pentad_wire::address::subnet;
use thiserror::Error;

use crate::shares::Shares;

/// Most addresses added by hand; each is dialled for ever.
pub(crate) const ADDED_MAX: usize = 64;
/// Most other addresses; the oldest hint gives way.
const HINTS_MAX: usize = 256;
/// Of those, addresses of one subnet: who rents one subnet does not own the table.
const HINTS_PER_SUBNET_MAX: usize = 16;
/// Links opened by hints to one subnet, though others are asked first.
const OUTBOUND_PER_SUBNET_MAX: usize = 4;
/// Dials at once.
const DIALING_MAX: usize = 8;
/// Failures in a row after which a hint is forgotten.
const HINT_FAILURES_MAX: u32 = 4;
/// Pauses between dials of a node that is to be kept.
const KEPT_PAUSE_MIN: Duration = Duration::from_millis(250);
const KEPT_PAUSE_MAX: Duration = Duration::from_secs(8);
/// Pauses between dials of a hint.
const HINT_PAUSE_MIN: Duration = Duration::from_secs(2);
const HINT_PAUSE_MAX: Duration = Duration::from_secs(120);
/// Pause after a node said that it will never do.
const FINAL_PAUSE: Duration = Duration::from_secs(60);
/// Longest `host:port`: a DNS name has 253 characters.
const ADDRESS_LEN_MAX: usize = 260;

/// Where an address comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// From discovery, or of a node that dialled this one.
    Hint,
    /// A good outbound peer before the last restart.
    Anchor,
    /// From the configuration.
    Bootstrap,
    /// By hand.
    Added,
}

impl Origin {
    /// Dialled for ever, in slots of its own.
    const fn is_kept(self) -> bool {
        matches!(self, Self::Bootstrap | Self::Added)
    }
}

/// An address that cannot be dialled.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AddressError {
    /// Not `host:port`.
    #[error("{address:?} is not of the form host:port")]
    Malformed {
        /// As it was given.
        address: String,
    },
    /// There are too many.
    #[error("{ADDED_MAX} nodes have been added already")]
    TooMany,
}

/// The addresses of this node. Times count from any fixed start.
#[derive(Debug)]
pub(crate) struct Addresses {
    entries: BTreeMap<String, Entry>,
    outbound_max: usize,
    /// Which addresses count by subnet.
    shares: Shares,
    /// Ranks hints, so that nobody can choose addresses that come first.
    secret: u64,
    /// Numbers hints, to tell the oldest.
    next_number: u64,
}

#[derive(Debug)]
struct Entry {
    origin: Origin,
    number: u64,
    rank: [u8; 32],
    /// The subnet that it counts for.
    subnet: Option<IpAddr>,
    /// When a node of this network was found there last.
    seen: Option<Duration>,
    state: State,
    backoff: Backoff,
    /// The static key found there last.
    key: Option<StaticKey>,
    /// It is this node itself.
    is_self: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting {
        until: Duration,
    },
    Dialing,
    /// Dialled only to see who is there.
    Testing,
    Connected,
}

impl Addresses {
    /// `outbound_max`: how many nodes are dialled besides those that are kept.
    pub(crate) const fn new(outbound_max: usize, shares: Shares, secret: u64) -> Self {
        Self { entries: BTreeMap::new(), outbound_max, shares, secret, next_number: 0 }
    }

    /// Takes an address; a known one gets the higher origin and is dialled at once.
    pub(crate) fn insert(&mut self, address: &str, origin: Origin) -> Result<(), AddressError> {
        let malformed = || AddressError::Malformed { address: address.to_owned() };
        let (host, port) = address.rsplit_once(':').ok_or_else(malformed)?;
        let is_port = port.parse::<u16>().is_ok_and(|port| port != 0);
        let odd = |character: char| character.is_whitespace() || character.is_control();
        if host.is_empty() || !is_port || address.len() > ADDRESS_LEN_MAX || host.contains(odd) {
            return Err(malformed());
        }
        let known = self.entries.get_mut(address);
        if origin == Origin::Added
            && known.as_ref().is_none_or(|entry| entry.origin != Origin::Added)
            && self.entries.values().filter(|entry| entry.origin == Origin::Added).count()
                >= ADDED_MAX
        {
            return Err(AddressError::TooMany);
        }
        if let Some(entry) = self.entries.get_mut(address) {
            if origin > entry.origin {
                entry.raise(origin);
            }
            return Ok(());
        }
        let subnet = self.subnet_of(address);
        if !origin.is_kept() {
            self.make_room(subnet);
        }
        let number = self.next_number;
        self.next_number += 1;
        let entry = Entry {
            origin,
            number,
            rank: sha256(format!("{:016x} {address}", self.secret).as_bytes()),
            subnet,
            seen: None,
            state: State::Waiting { until: Duration::ZERO },
            backoff: backoff(origin),
            key: None,
            is_self: false,
        };
        self.entries.insert(address.to_owned(), entry);
        Ok(())
    }

    /// None: a name, or within a range that many nodes share.
    fn subnet_of(&self, address: &str) -> Option<IpAddr> {
        let ip = address.parse::<SocketAddr>().ok()?.ip();
        self.shares.counts(ip).then(|| subnet(ip))
    }

    /// Lets a hint go if a newcomer finds the table, or the share of its subnet, full: first those
    /// where nobody was seen, the oldest of them.
    fn make_room(&mut self, subnet: Option<IpAddr>) {
        let hints = self.entries.iter().filter(|(_, entry)| !entry.origin.is_kept());
        let neighbours = hints.clone().filter(|(_, it)| subnet.is_some() && it.subnet == subnet);
        let is_crowded = neighbours.count() >= HINTS_PER_SUBNET_MAX;
        if !is_crowded && hints.clone().count() < HINTS_MAX {
            return;
        }
        let waiting = hints
            .filter(|(_, it)| !is_crowded || it.subnet == subnet)
            .filter(|(_, entry)| matches!(entry.state, State::Waiting { .. }) && !entry.is_self);
        let oldest =
            waiting.min_by_key(|(_, entry)| (entry.origin, entry.seen.is_some(), entry.number));
        if let Some(address) = oldest.map(|(address, _)| address.clone()) {
            self.entries.remove(&address);
        }
    }

    /// Forgets an address; true if it was there.
    pub(crate) fn remove(&mut self, address: &str) -> bool {
        self.entries.remove(address).is_some()
    }

    /// The addresses to dial now; they count as being dialled. `connected` are the static keys
    /// there are links to, `outbound` the number of links opened from here.
    pub(crate) fn due(
        &mut self,
        now: Duration,
        connected: &BTreeSet<StaticKey>,
        outbound: usize,
    ) -> Vec<String> {
        let is_dialing = |entry: &&Entry| entry.state == State::Dialing;
        let dialing = self.entries.values().filter(is_dialing).count();
        let mut slots = self.outbound_max.saturating_sub(outbound + dialing);
        let mut addresses = Vec::new();
        for _ in dialing..DIALING_MAX {
            let Some(address) = self.next_due(now, connected, slots > 0) else {
                break;
            };
            slots = slots.saturating_sub(1);
            addresses.push(address);
        }
        addresses
    }

    /// The next address to dial; it counts as being dialled.
    fn next_due(
        &mut self,
        now: Duration,
        connected: &BTreeSet<StaticKey>,
        with_hints: bool,
    ) -> Option<String> {
        let subnets = self.linked_subnets();
        let links = |entry: &Entry| {
            entry.subnet.and_then(|subnet| subnets.get(&subnet)).copied().unwrap_or(0)
        };
        let may_be_dialed = |entry: &Entry| {
            entry.origin.is_kept() || (with_hints && links(entry) < OUTBOUND_PER_SUBNET_MAX)
        };
        let due = self.entries.iter_mut();
        let due = due.filter(|(_, entry)| entry.is_due(now, connected) && may_be_dialed(entry));
        let (address, entry) = due.min_by_key(|(_, entry)| {
            let failures = entry.backoff.failures();
            (Reverse(entry.origin), links(entry), failures, entry.rank)
        })?;
        entry.state = State::Dialing;
        Some(address.clone())
    }

    /// How many links there are to each subnet, or on their way.
    fn linked_subnets(&self) -> BTreeMap<IpAddr, usize> {
        let mut subnets = BTreeMap::new();
        let linked = |entry: &&Entry| matches!(entry.state, State::Dialing | State::Connected);
        for subnet in self.entries.values().filter(linked).filter_map(|entry| entry.subnet) {
            *subnets.entry(subnet).or_insert(0) += 1;
        }
        subnets
    }

    /// The hint to test now, if there is one: where nobody was seen yet, or longest ago. It counts
    /// as being tested.
    pub(crate) fn due_feeler(
        &mut self,
        now: Duration,
        connected: &BTreeSet<StaticKey>,
    ) -> Option<String> {
        let hints = self.entries.iter_mut().filter(|(_, entry)| !entry.origin.is_kept());
        let due = hints.filter(|(_, entry)| entry.is_due(now, connected));
        let (address, entry) = due.min_by_key(|(_, entry)| (entry.seen, entry.rank))?;
        entry.state = State::Testing;
        Some(address.clone())
    }

    /// A test found a node of this network.
    pub(crate) fn on_tested(&mut self, address: &str, now: Duration, key: StaticKey) {
        self.on_found(address, now, key);
        if let Some(entry) = self.entries.get_mut(address) {
            entry.backoff.reset();
            entry.state = State::Waiting { until: now };
        }
    }

    /// A dial led to a node, whether or not the link stays.
    pub(crate) fn on_found(&mut self, address: &str, now: Duration, key: StaticKey) {
        if let Some(entry) = self.entries.get_mut(address) {
            (entry.key, entry.seen) = (Some(key), Some(now));
        }
    }

    /// The node of this key is reached at this address, or says so.
    pub(crate) fn on_named(&mut self, address: &str, key: StaticKey) {
        if let Some(entry) = self.entries.get_mut(address) {
            entry.key = Some(key);
        }
    }

    /// A dial led to a link.
    pub(crate) fn on_connected(&mut self, address: &str) {
        if let Some(entry) = self.entries.get_mut(address) {
            entry.state = State::Connected;
        }
    }

    /// A dial led to this node itself.
    pub(crate) fn on_self(&mut self, address: &str) {
        if let Some(entry) = self.entries.get_mut(address) {
            entry.is_self = true;
        }
    }

    /// A dial failed, or a link that was dialled ended.
    pub(crate) fn on_end(&mut self, address: &str, now: Duration, how: Ending) {
        let Some(entry) = self.entries.get_mut(address) else {
            return;
        };
        let pause = match how {
            Ending::AfterGoodTime => {
                entry.backoff.reset();
                entry.backoff.next_pause()
            }
            Ending::Early => entry.backoff.next_pause(),
            Ending::Final => entry.backoff.next_pause().max(FINAL_PAUSE),
        };
        entry.state = State::Waiting { until: now.saturating_add(pause) };
        let hopeless = entry.backoff.failures() > HINT_FAILURES_MAX || how == Ending::Final;
        if !entry.origin.is_kept() && hopeless && !entry.is_self {
            self.entries.remove(address);
        }
    }

    /// Whether an address was added by hand.
    pub(crate) fn is_added(&self, address: &str) -> bool {
        self.entries.get(address).is_some_and(|entry| entry.origin == Origin::Added)
    }

    /// The addresses added by hand, and those of present links that were dialled.
    pub(crate) fn to_keep(&self) -> impl Iterator<Item = (&str, Origin)> {
        self.entries.iter().filter_map(|(address, entry)| match (entry.origin, entry.state) {
            (Origin::Added, _) => Some((address.as_str(), Origin::Added)),
            (_, State::Connected) => Some((address.as_str(), Origin::Anchor)),
            _ => None,
        })
    }
}

impl Entry {
    /// Whether it is worth a dial.
    fn is_due(&self, now: Duration, connected: &BTreeSet<StaticKey>) -> bool {
        let is_waiting = matches!(self.state, State::Waiting { until } if until <= now);
        let is_linked = self.key.is_some_and(|key| connected.contains(&key));
        is_waiting && !is_linked && !self.is_self
    }

    fn raise(&mut self, origin: Origin) {
        self.origin = origin;
        self.backoff = backoff(origin);
        if matches!(self.state, State::Waiting { .. }) {
            self.state = State::Waiting { until: Duration::ZERO };
        }
    }
}

/// How a dial or a dialled link ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It had been good for a while.
    AfterGoodTime,
    /// It failed, or ended at once.
    Early,
    /// The node there is of no use.
    Final,
}

const fn backoff(origin: Origin) -> Backoff {
    if origin.is_kept() {
        Backoff::new(KEPT_PAUSE_MIN, KEPT_PAUSE_MAX)
    } else {
        Backoff::new(HINT_PAUSE_MIN, HINT_PAUSE_MAX)
    }
}

#[cfg(test)]
mod tests;
