//! Transactions that came before what they spend.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use pentad_primitives::encode::Decode as _;
use pentad_primitives::{Transaction, Txid};

use crate::PeerId;

/// Most transactions that wait.
const ORPHANS_MAX: usize = 256;
/// Most bytes of transactions that wait.
const ORPHAN_BYTES_MAX: usize = 4 << 20;
/// How often one is tried again on a new tip.
const ATTEMPTS_MAX: u8 = 3;

/// A bounded waiting room: when it is full, the oldest leaves of the peer that has most of it.
#[derive(Debug, Default)]
pub struct Orphans {
    /// Each with the transactions that it spends from.
    waiting: BTreeMap<Txid, (Orphan, BTreeSet<Txid>)>,
    order: VecDeque<Txid>,
    bytes: usize,
}

/// A transaction that the chain service refused, perhaps only for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// Its id.
    pub txid: Txid,
    /// Who sent it.
    pub from: PeerId,
    /// Bitcoin's serialization.
    pub transaction: Bytes,
    /// How often it was refused.
    pub attempts: u8,
}

impl Orphans {
    /// An empty room.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps one for later, unless it was refused too often. Returns those that leave for it: they
    /// are not tried again, so they may come again.
    pub fn keep(&mut self, orphan: Orphan) -> Vec<Txid> {
        let mut evicted = Vec::new();
        if orphan.attempts > ATTEMPTS_MAX || self.waiting.contains_key(&orphan.txid) {
            return evicted;
        }
        self.bytes = self.bytes.saturating_add(orphan.transaction.len());
        self.order.push_back(orphan.txid);
        let parents = parents(&orphan.transaction);
        self.waiting.insert(orphan.txid, (orphan, parents));
        while self.waiting.len() > ORPHANS_MAX || self.bytes > ORPHAN_BYTES_MAX {
            let Some(oldest) = self.least_deserving() else {
                break;
            };
            self.forget(&oldest);
            evicted.push(oldest);
        }
        evicted
    }

    /// The oldest of the peer that has most transactions here, or most bytes if these are too many.
    fn least_deserving(&self) -> Option<Txid> {
        let by_bytes = self.bytes > ORPHAN_BYTES_MAX;
        let mut held = BTreeMap::<PeerId, usize>::new();
        for (orphan, _) in self.waiting.values() {
            let size = if by_bytes { orphan.transaction.len() } else { 1 };
            let sum = held.entry(orphan.from).or_default();
            *sum = sum.saturating_add(size);
        }
        let (greediest, _) = held.into_iter().max_by_key(|(_, size)| *size)?;
        let is_theirs = |txid: &&Txid| {
            self.waiting.get(*txid).is_some_and(|(orphan, _)| orphan.from == greediest)
        };
        self.order.iter().find(is_theirs).copied()
    }

    /// Those that spend outputs of a transaction that has just become known.
    pub fn take_children(&mut self, parent: &Txid) -> Vec<Orphan> {
        let children: Vec<Txid> = self
            .waiting
            .iter()
            .filter(|(_, (_, parents))| parents.contains(parent))
            .map(|(txid, _)| *txid)
            .collect();
        children.iter().filter_map(|txid| self.forget(txid)).collect()
    }

    /// All of them, the oldest first: the tip has moved.
    pub fn take_all(&mut self) -> Vec<Orphan> {
        let order = std::mem::take(&mut self.order);
        order.iter().filter_map(|txid| self.forget(txid)).collect()
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// None waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn forget(&mut self, txid: &Txid) -> Option<Orphan> {
        let (orphan, _) = self.waiting.remove(txid)?;
        self.bytes = self.bytes.saturating_sub(orphan.transaction.len());
        self.order.retain(|other| other != txid);
        Some(orphan)
    }
}

fn parents(transaction: &[u8]) -> BTreeSet<Txid> {
    // The chain service refused it for what it spends, so it could be decoded there.
    let decoded = Transaction::from_bytes(transaction);
    decoded.map_or_else(
        |_| BTreeSet::new(),
        |tx| tx.inputs.iter().map(|input| input.previous_output.txid).collect(),
    )
}

#[cfg(test)]
mod tests {
    use pentad_primitives::encode::Encode as _;
    use pentad_primitives::{OutPoint, Script, TxIn};

    use super::*;

    fn orphan(number: u8, parent: Txid) -> Orphan {
        let previous_output = OutPoint { txid: parent, vout: 0 };
        let script_sig = Script::from(vec![number; 8]);
        let input = TxIn { previous_output, script_sig, sequence: 0 };
        let transaction =
            Transaction { version: 1, inputs: vec![input], outputs: Vec::new(), lock_time: 0 };
        Orphan {
            txid: transaction.txid(),
            from: PeerId(1),
            transaction: Bytes::from(transaction.to_bytes()),
            attempts: 1,
        }
    }

    #[test]
    fn children_leave_with_their_parent() {
        let (one, two) = (Txid::from_bytes([1; 32]), Txid::from_bytes([2; 32]));
        let (first, second, third) = (orphan(1, one), orphan(2, two), orphan(3, one));
        let mut orphans = Orphans::new();
        for orphan in [&first, &second, &third, &first] {
            assert!(orphans.keep(orphan.clone()).is_empty());
        }
        let mut children = orphans.take_children(&one);
        children.sort_by_key(|orphan| orphan.attempts);
        assert_eq!(children.len(), 2);
        assert!(children.contains(&first) && children.contains(&third));
        assert_eq!(orphans.take_all(), [second]);
        assert!(orphans.is_empty() && orphans.bytes == 0);
    }

    /// Attack 38.
    #[test]
    fn a_flood_pushes_out_only_its_own() {
        let (honest, greedy) = (PeerId(1), PeerId(2));
        for size in [100, 50_000] {
            let mut orphans = Orphans::new();
            let mut keep = |number: u32, from: PeerId, size: usize| {
                let mut bytes = [0; 32];
                bytes[..4].copy_from_slice(&number.to_be_bytes());
                let (txid, transaction) = (Txid::from_bytes(bytes), Bytes::from(vec![0; size]));
                orphans.keep(Orphan { txid, from, transaction, attempts: 1 })
            };
            for number in 0..10 {
                assert!(keep(number, honest, 250).is_empty());
            }
            for number in 10..1000 {
                keep(number, greedy, size);
            }
            let waiting = orphans.take_all();
            assert_eq!(waiting.iter().filter(|orphan| orphan.from == honest).count(), 10);
            assert!(waiting.len() > 50, "{}", waiting.len());
        }
    }

    /// Attack 38.
    #[test]
    fn orphan_flood_is_bounded() {
        let mut orphans = Orphans::new();
        let mut evicted = 0;
        for number in 0..1000_u32 {
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            let mut orphan = orphan(0, Txid::from_bytes(bytes));
            orphan.transaction = Bytes::from(vec![0; 50_000]);
            orphan.txid = Txid::from_bytes(bytes);
            evicted += orphans.keep(orphan).len();
            assert_eq!(orphans.len() + evicted, number as usize + 1);
            assert!(orphans.len() <= ORPHANS_MAX && orphans.bytes <= ORPHAN_BYTES_MAX);
        }
        let given_up =
            Orphan { attempts: ATTEMPTS_MAX + 1, ..orphan(9, Txid::from_bytes([9; 32])) };
        let txid = given_up.txid;
        assert!(orphans.keep(given_up).is_empty());
        assert!(orphans.take_all().iter().all(|orphan| orphan.txid != txid));
    }
}
