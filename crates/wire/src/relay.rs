//! Who is told what: no peer hears of the same transaction or block twice from this node, and no
//! transaction is asked for twice at a time.

use std::collections::BTreeMap;
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
/// Transactions asked for and not there yet, over all peers.
const REQUESTS_MAX: usize = 20_000;
/// Other peers to turn to if the first one does not send a transaction that it told of.
const ALTERNATES_MAX: usize = 3;
/// How long a peer may take to send a transaction that it told of.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// What this node and its peers have. Times count from any fixed start.
#[derive(Debug)]
pub struct Relay {
    peers: BTreeMap<PeerId, Recent>,
    held: Recent,
    refused: Recent,
    requests: BTreeMap<Txid, Request>,
}

#[derive(Debug)]
struct Request {
    from: PeerId,
    since: Duration,
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
        }
    }

    /// A peer is there.
    pub fn connect(&mut self, peer: PeerId) {
        self.peers.insert(peer, Recent::new(KNOWN_BY_PEER));
    }

    /// A peer is gone; what it was asked for is overdue at once.
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
    /// until [`Relay::judged`] says that the first one was refused.
    pub fn on_transaction(&mut self, peer: PeerId, txid: &Txid) -> bool {
        self.peer_has(peer, txid.as_bytes());
        self.requests.remove(txid);
        !self.refused.contains(txid.as_bytes()) && self.held.insert(txid.as_bytes())
    }

    /// A peer told which transactions it has. Returns those to ask it for.
    pub fn on_inventory(&mut self, peer: PeerId, txids: &[Txid], now: Duration) -> Vec<Txid> {
        let mut wanted = Vec::new();
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
            } else if self.requests.len() < REQUESTS_MAX {
                let request = Request { from: peer, since: now, alternates: Vec::new() };
                self.requests.insert(*txid, request);
                wanted.push(*txid);
            }
        }
        wanted
    }

    /// Transactions that did not come in time, with the next peer to ask for them.
    pub fn overdue(&mut self, now: Duration) -> BTreeMap<PeerId, Vec<Txid>> {
        let peers = &self.peers;
        let mut again = BTreeMap::<_, Vec<_>>::new();
        self.requests.retain(|txid, request| {
            let late = now.saturating_sub(request.since) >= REQUEST_TIMEOUT;
            if !late && peers.contains_key(&request.from) {
                return true;
            }
            request.alternates.retain(|peer| peers.contains_key(peer));
            let Some(next) = request.alternates.pop() else {
                return false;
            };
            (request.from, request.since) = (next, now);
            again.entry(next).or_default().push(*txid);
            true
        });
        again
    }

    /// This node has a transaction now, wherever it came from.
    pub fn hold(&mut self, txid: &Txid) {
        self.held.insert(txid.as_bytes());
        self.refused.remove(txid.as_bytes());
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
        assert!(relay.on_inventory(CARL, &[txid(1)], Duration::ZERO).is_empty());
        relay.on_tip();
        assert!(relay.on_transaction(BERT, &txid(1)));
    }

    /// Attack 39, for transactions.
    #[test]
    fn announced_and_withheld_is_fetched_elsewhere() {
        let mut relay = relay();
        let start = Duration::from_secs(100);
        assert_eq!(relay.on_inventory(ANNA, &[txid(1), txid(2)], start), [txid(1), txid(2)]);
        assert!(relay.on_inventory(BERT, &[txid(1)], start).is_empty(), "one request at a time");
        assert!(relay.on_transaction(ANNA, &txid(2)));
        assert!(relay.overdue(start).is_empty());
        let late = start + REQUEST_TIMEOUT;
        assert_eq!(relay.overdue(late), BTreeMap::from([(BERT, vec![txid(1)])]));
        assert!(relay.overdue(late + REQUEST_TIMEOUT).is_empty(), "nobody is left");
        assert_eq!(relay.on_inventory(CARL, &[txid(1)], late), [txid(1)]);
    }

    #[test]
    fn requests_to_a_peer_that_left_go_elsewhere_at_once() {
        let mut relay = relay();
        assert_eq!(relay.on_inventory(ANNA, &[txid(1)], Duration::ZERO), [txid(1)]);
        assert!(relay.on_inventory(BERT, &[txid(1)], Duration::ZERO).is_empty());
        relay.disconnect(ANNA);
        let again = relay.overdue(Duration::ZERO);
        assert_eq!(again, BTreeMap::from([(BERT, vec![txid(1)])]));
    }

    #[test]
    fn a_flood_of_ids_is_bounded() {
        let mut relay = relay();
        let mut wanted = 0;
        for batch in 0..60_u16 {
            let ids: Vec<Txid> = (0..1000_u16)
                .map(|index| {
                    let mut bytes = [0; 32];
                    bytes[..2].copy_from_slice(&batch.to_be_bytes());
                    bytes[2..4].copy_from_slice(&index.to_be_bytes());
                    Txid::from_bytes(bytes)
                })
                .collect();
            wanted += relay.on_inventory(ANNA, &ids, Duration::ZERO).len();
        }
        assert_eq!(wanted, REQUESTS_MAX);
    }
}
