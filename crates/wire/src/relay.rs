//! Who is told what: no peer hears of the same transaction or block twice from this node, and no
//! transaction is asked for twice at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pentad_primitives::Txid;

use crate::{PeerId, Recent};

/// Ids remembered per peer (up to twice as many): more than a peer is sent within seconds. Full,
/// they take about half a megabyte.
const KNOWN_BY_PEER: usize = 8_000;
/// Transactions remembered as held by this node: about what a mempool holds.
const HELD: usize = 50_000;
/// Transactions remembered as refused until the tip moves.
const REFUSED: usize = 10_000;
/// Transactions asked for and not there yet, over all peers. Each may take up an equal share.
const REQUESTS_MAX: usize = 20_000;
/// The share of a peer where there are many.
const REQUESTS_PER_PEER_MIN: usize = TRANSACTIONS_MAX;
/// Other peers to turn to if the first one does not send a transaction that it told of.
const ALTERNATES_MAX: usize = 3;
/// Questions for transactions that one peer has open: more would count as an offence there.
const QUESTIONS_MAX: usize = 4;
/// Most ids in one question.
pub const TRANSACTIONS_MAX: usize = 1000;
/// How long a peer may take to send a transaction that it told of.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// What this node and its peers have. Times count from any fixed start.
#[derive(Debug)]
pub struct Relay {
    peers: BTreeMap<PeerId, Recent>,
    held: Recent,
    refused: Recent,
    requests: BTreeMap<Txid, Request>,
    /// Number of the next request.
    next: u64,
}

#[derive(Debug)]
struct Request {
    /// Requests go out in the order in which they were told of: parents before children.
    number: u64,
    from: PeerId,
    /// When it was asked for; what one question asked for agrees in it.
    asked: Option<Duration>,
    alternates: Vec<PeerId>,
}

impl Default for Relay {
    fn default() -> Self {
        Self::new()
    }
}

impl Relay {
    /// Nothing known.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            peers: BTreeMap::new(),
            held: Recent::new(HELD),
            refused: Recent::new(REFUSED),
            requests: BTreeMap::new(),
            next: 0,
        }
    }

    /// A peer is there.
    pub fn connect(&mut self, peer: PeerId) {
        self.peers.insert(peer, Recent::new(KNOWN_BY_PEER));
    }

    /// A peer is gone; what it was asked for is asked for elsewhere.
    pub fn disconnect(&mut self, peer: PeerId) {
        self.peers.remove(&peer);
    }

    /// A peer has a transaction or block: it sent or announced it, or was sent it.
    pub fn peer_has(&mut self, peer: PeerId, id: &[u8; 32]) {
        if let Some(known) = self.peers.get_mut(&peer) {
            known.insert(id);
        }
    }

    /// A peer sent a transaction. True if it is new and to be checked; a second copy is not,
    /// until [`Relay::refuse`] says that the first one was refused.
    pub fn on_transaction(&mut self, peer: PeerId, txid: &Txid) -> bool {
        self.peer_has(peer, txid.as_bytes());
        self.requests.remove(txid);
        !self.refused.contains(txid.as_bytes()) && self.held.insert(txid.as_bytes())
    }

    /// Something was told of that nobody was asked for yet.
    #[must_use]
    pub fn has_questions(&self) -> bool {
        self.requests.values().any(|request| request.asked.is_none())
    }

    /// A peer told which transactions it has. [`Relay::questions`] asks for them.
    pub fn on_inventory(&mut self, peer: PeerId, txids: &[Txid]) {
        let share = REQUESTS_MAX.checked_div(self.peers.len()).unwrap_or(REQUESTS_MAX);
        let asked = self.requests.values().filter(|request| request.from == peer).count();
        let mut free = share.max(REQUESTS_PER_PEER_MIN).saturating_sub(asked);
        for txid in txids {
            self.peer_has(peer, txid.as_bytes());
            if self.held.contains(txid.as_bytes()) || self.refused.contains(txid.as_bytes()) {
                continue;
            }
            if let Some(request) = self.requests.get_mut(txid) {
                let known = request.from == peer || request.alternates.contains(&peer);
                if !known && request.alternates.len() < ALTERNATES_MAX {
                    request.alternates.push(peer);
                }
            } else if let Some(left) = free.checked_sub(1) {
                free = left;
                let (number, alternates) = (self.next, Vec::new());
                self.next = self.next.saturating_add(1);
                let request = Request { number, from: peer, asked: None, alternates };
                self.requests.insert(*txid, request);
            }
        }
    }

    /// What to ask for now, one question to a peer at most. What did not come in time is asked
    /// for elsewhere.
    pub fn questions(&mut self, now: Duration) -> BTreeMap<PeerId, Vec<Txid>> {
        let peers = &self.peers;
        let mut open = BTreeMap::<PeerId, BTreeSet<Duration>>::new();
        self.requests.retain(|_, request| {
            let late =
                request.asked.is_some_and(|asked| now.saturating_sub(asked) >= REQUEST_TIMEOUT);
            if late || !peers.contains_key(&request.from) {
                request.alternates.retain(|peer| peers.contains_key(peer));
                let Some(next) = request.alternates.pop() else {
                    return false;
                };
                (request.from, request.asked) = (next, None);
            }
            if let Some(asked) = request.asked {
                open.entry(request.from).or_default().insert(asked);
            }
            true
        });
        let mut questions = BTreeMap::<PeerId, Vec<Txid>>::new();
        let is_due = |request: &Request| {
            let busy = open.get(&request.from).is_some_and(|open| open.len() >= QUESTIONS_MAX);
            request.asked.is_none() && !busy
        };
        let mut due: Vec<_> =
            self.requests.iter_mut().filter(|(_, request)| is_due(request)).collect();
        due.sort_unstable_by_key(|(_, request)| request.number);
        for (txid, request) in due {
            let question = questions.entry(request.from).or_default();
            if question.len() < TRANSACTIONS_MAX {
                question.push(*txid);
                request.asked = Some(now);
            }
        }
        questions
    }

    /// This node has a transaction now, wherever it came from. True if no peer sent it: then
    /// nobody else has it.
    pub fn hold(&mut self, txid: &Txid) -> bool {
        self.refused.remove(txid.as_bytes());
        self.held.insert(txid.as_bytes())
    }

    /// A transaction left without being confirmed: it may come again.
    pub fn release(&mut self, txid: &Txid) {
        self.held.remove(txid.as_bytes());
    }

    /// A transaction is invalid as things are: it is not checked again until the tip moves.
    pub fn refuse(&mut self, txid: &Txid) {
        self.held.remove(txid.as_bytes());
        self.refused.insert(txid.as_bytes());
    }

    /// A refused transaction that was to be tried again is forgotten: it may come again.
    pub fn forgive(&mut self, txid: &Txid) {
        self.refused.remove(txid.as_bytes());
    }

    /// The mempool is told anew: what does not come again is not there any more.
    pub fn reset(&mut self) {
        self.held.clear();
    }

    /// What was invalid on the old tip may be valid on the new one.
    pub fn on_tip(&mut self) {
        self.refused.clear();
    }

    /// The peers to send a transaction or block to: those that lack it. They count as having it
    /// from now on.
    pub fn recipients(&mut self, id: &[u8; 32]) -> Vec<PeerId> {
        self.peers
            .iter_mut()
            .filter_map(|(peer, known)| known.insert(id).then_some(*peer))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANNA: PeerId = PeerId(1);
    const BERT: PeerId = PeerId(2);
    const CARL: PeerId = PeerId(3);

    fn txid(number: u8) -> Txid {
        Txid::from_bytes([number; 32])
    }

    fn numbered(number: u16) -> Txid {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        Txid::from_bytes(bytes)
    }

    /// What `peer` is asked for once it told of `txids`.
    fn asked(relay: &mut Relay, peer: PeerId, txids: &[Txid], now: Duration) -> Vec<Txid> {
        relay.on_inventory(peer, txids);
        relay.questions(now).remove(&peer).unwrap_or_default()
    }

    fn relay() -> Relay {
        let mut relay = Relay::new();
        [ANNA, BERT, CARL].into_iter().for_each(|peer| relay.connect(peer));
        relay
    }

    #[test]
    fn what_came_from_a_peer_goes_to_all_others_once() {
        let mut relay = relay();
        assert!(relay.on_transaction(ANNA, &txid(1)));
        assert!(!relay.on_transaction(BERT, &txid(1)), "a second copy is not checked");
        assert_eq!(relay.recipients(txid(1).as_bytes()), [CARL]);
        assert!(relay.recipients(txid(1).as_bytes()).is_empty());
        relay.connect(PeerId(4));
        assert_eq!(relay.recipients(txid(1).as_bytes()), [PeerId(4)]);
    }

    #[test]
    fn a_refused_transaction_is_checked_again_on_a_new_tip() {
        let mut relay = relay();
        assert!(relay.on_transaction(ANNA, &txid(1)));
        relay.refuse(&txid(1));
        assert!(!relay.on_transaction(BERT, &txid(1)));
        assert!(asked(&mut relay, CARL, &[txid(1)], Duration::ZERO).is_empty());
        relay.on_tip();
        assert!(relay.on_transaction(BERT, &txid(1)));
    }

    /// What the stream of the mempool did not tell while it was broken.
    #[test]
    fn what_left_unnoticed_may_come_again_after_a_reset() {
        let mut relay = relay();
        assert!(relay.on_transaction(ANNA, &txid(1)));
        relay.hold(&txid(1));
        relay.hold(&txid(2));
        relay.reset();
        relay.hold(&txid(2));
        assert!(relay.on_transaction(BERT, &txid(1)), "it is thought to be here for ever");
        assert!(!relay.on_transaction(BERT, &txid(2)));
    }

    /// Attack 39, for transactions.
    #[test]
    fn announced_and_withheld_is_fetched_elsewhere() {
        let mut relay = relay();
        let start = Duration::from_secs(100);
        assert_eq!(asked(&mut relay, ANNA, &[txid(1), txid(2)], start), [txid(1), txid(2)]);
        assert!(asked(&mut relay, BERT, &[txid(1)], start).is_empty(), "one request at a time");
        assert!(relay.on_transaction(ANNA, &txid(2)));
        assert!(relay.questions(start).is_empty());
        let late = start + REQUEST_TIMEOUT;
        assert_eq!(relay.questions(late), BTreeMap::from([(BERT, vec![txid(1)])]));
        assert!(relay.questions(late + REQUEST_TIMEOUT).is_empty(), "nobody is left");
        assert_eq!(asked(&mut relay, CARL, &[txid(1)], late), [txid(1)]);
    }

    /// More open questions than a peer allows would get this node banned there.
    #[test]
    fn a_large_mempool_is_asked_for_with_few_questions_at_a_time() {
        let mut relay = relay();
        let ids = |start: u16| (start..start + 100).map(numbered).collect::<Vec<_>>();
        let mut asked = BTreeSet::new();
        for tick in 0..60_u16 {
            relay.on_inventory(ANNA, &ids(tick * 100));
            let now = Duration::from_millis(u64::from(tick));
            asked.extend(relay.questions(now).into_values().flatten());
        }
        assert_eq!(asked.len(), 100 * QUESTIONS_MAX);
        for tick in 0..60_u32 {
            for txid in std::mem::take(&mut asked) {
                relay.on_transaction(ANNA, &txid);
            }
            let questions = relay.questions(Duration::from_millis(100) * (tick + 1));
            assert!(questions.values().all(|question| question.len() <= TRANSACTIONS_MAX));
            asked.extend(questions.into_values().flatten());
        }
        assert!(relay.requests.is_empty(), "all were asked for in the end");
    }

    #[test]
    fn requests_to_a_peer_that_left_go_elsewhere_at_once() {
        let mut relay = relay();
        assert_eq!(asked(&mut relay, ANNA, &[txid(1)], Duration::ZERO), [txid(1)]);
        assert!(asked(&mut relay, BERT, &[txid(1)], Duration::ZERO).is_empty());
        relay.disconnect(ANNA);
        let again = relay.questions(Duration::ZERO);
        assert_eq!(again, BTreeMap::from([(BERT, vec![txid(1)])]));
    }

    /// A peer that tells of what it does not have leaves the others their share.
    #[test]
    fn a_flood_of_ids_leaves_room_for_other_peers() {
        let mut relay = relay();
        for batch in 0..60_u16 {
            let ids: Vec<Txid> = (0..1000).map(|index| numbered(batch * 1000 + index)).collect();
            relay.on_inventory(ANNA, &ids);
        }
        let honest = numbered(60_001);
        assert_eq!(asked(&mut relay, BERT, &[honest], Duration::ZERO), [honest]);
    }

    #[test]
    fn a_flood_of_ids_is_bounded() {
        let mut relay = Relay::new();
        relay.connect(ANNA);
        for batch in 0..60_u16 {
            let ids: Vec<Txid> = (0..1000).map(|index| numbered(batch * 1000 + index)).collect();
            relay.on_inventory(ANNA, &ids);
        }
        assert_eq!(relay.requests.len(), REQUESTS_MAX);
    }
}
