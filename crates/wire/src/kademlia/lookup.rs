//! The iterative lookup as a pure step machine.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

use super::contact::is_one_of_few;
use super::node_id::Distance;
use super::table::MAX_PER_SUBNET_BUCKET;
use super::{ALPHA, Contact, K, NodeId, Subnet};

/// Paths of one lookup that share no contact (Baumgart & Mies 2007, S/Kademlia, section 4.4): a
/// liar on one of them cannot lead the others astray.
pub const DISJOINT_PATHS: usize = 3;
/// Calls of one lookup, so that liars who invent ever closer contacts come to an end.
pub const MAX_CALLS: usize = 120;
/// A call that has waited this long no longer holds up the next; its answer still counts.
pub const PATIENCE: Duration = Duration::from_millis(800);
/// Contacts that a path remembers; the farthest are forgotten first.
const MAX_CANDIDATES: usize = 4 * K;

/// A search for the [`K`] contacts closest to a target. Its owner makes the calls that
/// [`Lookup::poll`] names and reports what came of each.
#[derive(Clone, Debug)]
pub struct Lookup {
    target: NodeId,
    paths: Vec<Path>,
    /// Whoever some path has called.
    called: HashSet<Contact>,
}

/// Candidates by distance; the endpoint tells apart those who claim one id.
#[derive(Clone, Debug, Default)]
struct Path {
    candidates: BTreeMap<(Distance, SocketAddr), Candidate>,
}

#[derive(Clone, Debug)]
struct Candidate {
    contact: Contact,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Fresh,
    Called {
        at: Duration,
    },
    Answered,
    /// Another path has called it.
    Elsewhere,
}

impl Lookup {
    /// A lookup of `target` that starts from `seeds`, the closest contacts known.
    pub fn new(target: NodeId, mut seeds: Vec<Contact>) -> Self {
        seeds.sort_by_key(|contact| contact.id.distance(&target));
        let mut paths = vec![Path::default(); DISJOINT_PATHS];
        // Dealt out like cards, so that each path starts as close as the next.
        let mut turn = (0..paths.len()).cycle();
        for contact in seeds {
            if let Some(path) = turn.next().and_then(|turn| paths.get_mut(turn)) {
                path.learn(&target, contact);
            }
        }
        Self { target, paths, called: HashSet::new() }
    }

    /// What is looked for.
    pub fn target(&self) -> &NodeId {
        &self.target
    }

    /// The contacts to call at time `now`.
    pub fn poll(&mut self, now: Duration) -> Vec<Contact> {
        let mut calls = Vec::new();
        for path in &mut self.paths {
            while self.called.len() < MAX_CALLS {
                let Some(contact) = path.next(now, &self.called) else {
                    break;
                };
                self.called.insert(contact);
                calls.push(contact);
            }
        }
        calls
    }

    /// Notes that `from` answered with `contacts`.
    pub fn on_answer(&mut self, from: &Contact, contacts: Vec<Contact>) {
        let key = (from.id.distance(&self.target), from.endpoint);
        for path in &mut self.paths {
            let Some(candidate) = path.candidates.get_mut(&key) else {
                continue;
            };
            if !matches!(candidate.state, State::Called { .. }) {
                continue;
            }
            candidate.state = State::Answered;
            for contact in contacts {
                path.learn(&self.target, contact);
            }
            return;
        }
    }

    /// Notes that `from` did not answer.
    pub fn on_failure(&mut self, from: &Contact) {
        let key = (from.id.distance(&self.target), from.endpoint);
        for path in &mut self.paths {
            path.candidates.remove(&key);
        }
    }

    /// Whether there is nobody left to call or to wait for.
    pub fn is_done(&self) -> bool {
        let exhausted = self.called.len() >= MAX_CALLS;
        self.paths.iter().all(|path| path.is_done(exhausted))
    }

    /// The contacts closest to the target that answered, closest first, at most [`K`].
    pub fn closest(&self) -> Vec<Contact> {
        let answered: BTreeMap<_, _> = self
            .paths
            .iter()
            .flat_map(|path| &path.candidates)
            .filter(|(_, candidate)| candidate.state == State::Answered)
            .map(|(key, candidate)| (*key, candidate.contact))
            .collect();
        let mut subnets = HashMap::new();
        let few = |contact: &Contact| is_one_of_few(&mut subnets, &contact.endpoint);
        answered.into_values().filter(few).take(K).collect()
    }
}

impl Path {
    fn learn(&mut self, target: &NodeId, contact: Contact) {
        self.candidates
            .entry((contact.id.distance(target), contact.endpoint))
            .or_insert(Candidate { contact, state: State::Fresh });
        self.thin_out(&contact);
        if self.candidates.len() > MAX_CANDIDATES {
            self.candidates.pop_last();
        }
    }

    /// Keeps the subnet of `contact` to its share: the farthest that was not called yet leaves.
    fn thin_out(&mut self, contact: &Contact) {
        let subnet = Subnet::of(contact.endpoint.ip());
        let is_neighbour =
            |it: &Candidate| subnet.is_some() && Subnet::of(it.contact.endpoint.ip()) == subnet;
        if self.candidates.values().filter(|it| is_neighbour(it)).count() <= MAX_PER_SUBNET_BUCKET {
            return;
        }
        let farthest = self.candidates.iter().rev();
        let mut fresh = farthest.filter(|(_, it)| is_neighbour(it) && it.state == State::Fresh);
        if let Some(key) = fresh.next().map(|(key, _)| *key) {
            self.candidates.remove(&key);
        }
    }

    /// The next contact to call: the closest fresh one among the first [`K`], while fewer than
    /// [`ALPHA`] calls are on their way.
    fn next(&mut self, now: Duration, called: &HashSet<Contact>) -> Option<Contact> {
        let waiting = self.candidates.values().filter(|candidate| match candidate.state {
            State::Called { at } => at.saturating_add(PATIENCE) > now,
            _ => false,
        });
        if waiting.count() >= ALPHA {
            return None;
        }
        for candidate in self.candidates.values_mut().take(K) {
            if candidate.state != State::Fresh {
                continue;
            }
            if called.contains(&candidate.contact) {
                candidate.state = State::Elsewhere;
                continue;
            }
            candidate.state = State::Called { at: now };
            return Some(candidate.contact);
        }
        None
    }

    fn is_done(&self, exhausted: bool) -> bool {
        !self.candidates.values().take(K).any(|candidate| match candidate.state {
            State::Called { .. } => true,
            State::Fresh => !exhausted,
            State::Answered | State::Elsewhere => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contact(first: u8, port: u16) -> Contact {
        let mut id = [0; 20];
        id[0] = first;
        Contact { id: NodeId::from_bytes(id), endpoint: ([127, 0, 0, 1], port).into() }
    }

    fn target() -> NodeId {
        NodeId::from_bytes([0; 20])
    }

    #[test]
    fn nothing_to_ask_is_done() {
        let mut lookup = Lookup::new(target(), vec![]);
        assert!(lookup.poll(Duration::ZERO).is_empty());
        assert!(lookup.is_done());
        assert!(lookup.closest().is_empty());
    }

    #[test]
    fn answers_lead_closer_and_failures_leave() {
        let mut lookup = Lookup::new(target(), vec![contact(8, 1)]);
        assert_eq!(lookup.poll(Duration::ZERO), [contact(8, 1)]);
        assert!(!lookup.is_done());
        lookup.on_answer(&contact(8, 1), vec![contact(4, 2), contact(2, 3), contact(8, 1)]);
        assert_eq!(lookup.poll(Duration::ZERO), [contact(2, 3), contact(4, 2)]);
        lookup.on_answer(&contact(2, 3), vec![]);
        lookup.on_failure(&contact(4, 2));
        assert!(lookup.poll(Duration::ZERO).is_empty());
        assert!(lookup.is_done());
        assert_eq!(lookup.closest(), [contact(2, 3), contact(8, 1)]);
    }

    #[test]
    fn a_silent_contact_holds_nobody_up() {
        let seeds = (0..15).map(|n| contact(n, u16::from(n) + 1)).collect();
        let mut lookup = Lookup::new(target(), seeds);
        assert_eq!(lookup.poll(Duration::ZERO).len(), DISJOINT_PATHS * ALPHA);
        assert!(lookup.poll(Duration::from_millis(1)).is_empty());
        assert_eq!(lookup.poll(PATIENCE).len(), 15 - DISJOINT_PATHS * ALPHA);
        assert!(!lookup.is_done());
    }

    #[test]
    fn a_contact_is_called_once_though_all_paths_hear_of_it() {
        let seeds = (10..13).map(|n| contact(n, u16::from(n))).collect();
        let mut lookup = Lookup::new(target(), seeds);
        for seed in lookup.poll(Duration::ZERO) {
            lookup.on_answer(&seed, vec![contact(1, 1)]);
        }
        assert_eq!(lookup.poll(Duration::ZERO), [contact(1, 1)]);
        lookup.on_answer(&contact(1, 1), vec![]);
        assert!(lookup.is_done());
        assert_eq!(lookup.closest().len(), 4);
    }

    /// Attack 43: who rents one subnet is not all that a lookup finds.
    #[test]
    fn one_subnet_is_a_part_of_what_is_found() {
        let at = |first: u8, ip: [u8; 4]| {
            let mut id = [0; 20];
            id[0] = first;
            Contact { id: NodeId::from_bytes(id), endpoint: (ip, 1).into() }
        };
        let honest: Vec<Contact> = (1..=15).map(|n| at(100 + n, [198, 51, n, 1])).collect();
        let liar = |n: u8| at(n, [203, 0, 113, n]);
        let mut lookup = Lookup::new(target(), honest);
        while !lookup.is_done() {
            for call in lookup.poll(Duration::ZERO) {
                // Everybody, even the honest, has heard of them.
                lookup.on_answer(&call, (1..=20).map(liar).collect());
            }
        }
        let found = lookup.closest();
        let lies = found.iter().filter(|it| (1..=20).any(|n| **it == liar(n))).count();
        assert_eq!((found.len(), lies), (15 + lies, MAX_PER_SUBNET_BUCKET));
    }

    /// A liar who answers with ever closer inventions costs a bounded number of calls.
    #[test]
    fn invented_contacts_come_to_an_end() {
        let mut lookup = Lookup::new(target(), vec![contact(255, 1)]);
        let (mut calls, mut invented) = (0, u128::MAX);
        while !lookup.is_done() {
            for call in lookup.poll(Duration::ZERO) {
                calls += 1;
                let lies = (0..K).map(|_| {
                    invented -= 1;
                    let mut id = [0; 20];
                    id[4..].copy_from_slice(&invented.to_be_bytes());
                    Contact { id: NodeId::from_bytes(id), ..call }
                });
                lookup.on_answer(&call, lies.collect());
            }
        }
        assert!(calls <= MAX_CALLS);
        assert!(lookup.closest().len() <= K);
    }
}
