//! Whom to dial, and when: added nodes, bootstrap nodes and anchors from before the last restart,
//! and hints from discovery.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pentad_wire::StaticKey;
use thiserror::Error;

use pentad_service_kit::Backoff;

/// Most addresses added by hand; each is dialled for ever.
pub(crate) const ADDED_MAX: usize = 64;
/// Most other addresses; the oldest hint gives way.
const HINTS_MAX: usize = 256;
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
    /// Numbers hints, to tell the oldest.
    next_number: u64,
}

#[derive(Debug)]
struct Entry {
    origin: Origin,
    number: u64,
    state: State,
    backoff: Backoff,
    /// The static key found there last.
    key: Option<StaticKey>,
    /// It is this node itself.
    is_self: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting { until: Duration },
    Dialing,
    Connected,
}

impl Addresses {
    /// `outbound_max`: how many nodes are dialled besides those that are kept.
    pub(crate) const fn new(outbound_max: usize) -> Self {
        Self { entries: BTreeMap::new(), outbound_max, next_number: 0 }
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
        if !origin.is_kept() {
            self.make_room();
        }
        let number = self.next_number;
        self.next_number += 1;
        let entry = Entry {
            origin,
            number,
            state: State::Waiting { until: Duration::ZERO },
            backoff: backoff(origin),
            key: None,
            is_self: false,
        };
        self.entries.insert(address.to_owned(), entry);
        Ok(())
    }

    fn make_room(&mut self) {
        let hints = self.entries.iter().filter(|(_, entry)| !entry.origin.is_kept());
        if hints.clone().count() < HINTS_MAX {
            return;
        }
        let waiting = hints
            .filter(|(_, entry)| matches!(entry.state, State::Waiting { .. }) && !entry.is_self);
        let oldest = waiting.min_by_key(|(_, entry)| (entry.origin, entry.number));
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
        let mut free = DIALING_MAX.saturating_sub(dialing);
        let mut slots = self.outbound_max.saturating_sub(outbound + dialing);
        let mut due: Vec<(&String, &mut Entry)> = self
            .entries
            .iter_mut()
            .filter(|(_, entry)| !entry.is_self)
            .filter(|(_, entry)| matches!(entry.state, State::Waiting { until } if until <= now))
            .filter(|(_, entry)| entry.key.is_none_or(|key| !connected.contains(&key)))
            .collect();
        due.sort_by_key(|(_, entry)| (std::cmp::Reverse(entry.origin), entry.backoff.failures()));
        let mut addresses = Vec::new();
        for (address, entry) in due {
            if free == 0 || (!entry.origin.is_kept() && slots == 0) {
                continue;
            }
            free -= 1;
            slots = slots.saturating_sub(1);
            entry.state = State::Dialing;
            addresses.push(address.clone());
        }
        addresses
    }

    /// A dial led to a node, whether or not the link stays.
    pub(crate) fn on_found(&mut self, address: &str, key: StaticKey) {
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
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1000);
    const KEY: StaticKey = StaticKey::from_bytes([7; 32]);

    fn due(addresses: &mut Addresses, now: Duration) -> Vec<String> {
        addresses.due(now, &BTreeSet::new(), 0)
    }

    #[test]
    fn malformed_addresses_are_refused() {
        let mut addresses = Addresses::new(8);
        for bad in ["", "host", "host:", ":1", "host:0", "host:65536", "a b:1", "host:1\n:2"] {
            let error = addresses.insert(bad, Origin::Added).expect_err(bad);
            assert_eq!(error, AddressError::Malformed { address: bad.to_owned() });
        }
        for good in ["host:1", "127.0.0.1:65535", "[::1]:5678", "peer-1.example:5678"] {
            addresses.insert(good, Origin::Added).expect(good);
        }
    }

    #[test]
    fn kept_nodes_are_dialled_for_ever_and_hints_are_not() {
        let mut addresses = Addresses::new(8);
        addresses.insert("kept:1", Origin::Bootstrap).expect("valid");
        addresses.insert("hint:1", Origin::Hint).expect("valid");
        let mut now = NOW;
        assert_eq!(due(&mut addresses, now), ["kept:1", "hint:1"]);
        assert!(due(&mut addresses, now).is_empty(), "both are being dialled");
        for _ in 0..20 {
            addresses.on_end("kept:1", now, Ending::Early);
            addresses.on_end("hint:1", now, Ending::Early);
            assert!(due(&mut addresses, now).is_empty(), "no dial without a pause");
            now += HINT_PAUSE_MAX;
            assert!(due(&mut addresses, now).contains(&"kept:1".to_owned()));
        }
        assert!(!addresses.entries.contains_key("hint:1"));
    }

    #[test]
    fn a_node_that_is_connected_by_another_address_is_left_alone() {
        let mut addresses = Addresses::new(8);
        addresses.insert("a:1", Origin::Added).expect("valid");
        assert_eq!(due(&mut addresses, NOW), ["a:1"]);
        addresses.on_found("a:1", KEY);
        addresses.on_end("a:1", NOW, Ending::Early);
        let later = NOW + KEPT_PAUSE_MAX;
        assert!(addresses.due(later, &BTreeSet::from([KEY]), 1).is_empty());
        assert_eq!(due(&mut addresses, later), ["a:1"], "the other link is gone");
    }

    #[test]
    fn this_node_itself_is_dialled_once() {
        let mut addresses = Addresses::new(8);
        addresses.insert("me:1", Origin::Bootstrap).expect("valid");
        assert_eq!(due(&mut addresses, NOW).len(), 1);
        addresses.on_self("me:1");
        addresses.on_end("me:1", NOW, Ending::Final);
        assert!(due(&mut addresses, NOW * 2).is_empty());
    }

    /// Attack 44: inbound links and hints cannot take what is for kept nodes.
    #[test]
    fn slots_are_for_hints_and_kept_nodes_need_none() {
        let mut addresses = Addresses::new(2);
        for number in 1..=4 {
            addresses.insert(&format!("hint:{number}"), Origin::Hint).expect("valid");
        }
        addresses.insert("kept:1", Origin::Added).expect("valid");
        assert_eq!(due(&mut addresses, NOW).len(), 2);
        let mut addresses = Addresses::new(0);
        addresses.insert("kept:1", Origin::Added).expect("valid");
        assert_eq!(due(&mut addresses, NOW), ["kept:1"]);
    }

    /// Attack 41: the address table.
    #[test]
    fn the_table_is_bounded() {
        let mut addresses = Addresses::new(8);
        for number in 1..=1000 {
            addresses.insert(&format!("hint:{number}"), Origin::Hint).expect("valid");
        }
        assert_eq!(addresses.entries.len(), HINTS_MAX);
        assert!(!addresses.entries.contains_key("hint:1"));
        for number in 1..=ADDED_MAX {
            addresses.insert(&format!("kept:{number}"), Origin::Added).expect("room");
        }
        let error = addresses.insert("kept:65535", Origin::Added).expect_err("full");
        assert_eq!(error, AddressError::TooMany);
    }

    #[test]
    fn what_is_kept_over_a_restart() {
        let mut addresses = Addresses::new(8);
        for (address, origin) in
            [("a:1", Origin::Added), ("b:1", Origin::Bootstrap), ("c:1", Origin::Hint)]
        {
            addresses.insert(address, origin).expect("valid");
        }
        addresses.on_connected("b:1");
        let kept: Vec<_> = addresses.to_keep().collect();
        assert_eq!(kept, [("a:1", Origin::Added), ("b:1", Origin::Anchor)]);
    }
}
