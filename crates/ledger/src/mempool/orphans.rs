//! Transactions whose parents have not arrived, within bounds (attack: orphan flood).

use std::collections::{BTreeMap, BTreeSet};

use pentad_primitives::encode::Encode;
use pentad_primitives::hash::Txid;

use crate::verify::CheckedTransaction;

/// Orphans held at most (Bitcoin Core's bound).
pub const ORPHANS_MAX: usize = 100;
/// Their encoded bytes at most.
pub const ORPHAN_BYTES_MAX: usize = 5_000_000;
/// Seconds after which an orphan goes: its parents would have come.
pub const ORPHAN_EXPIRY_SECONDS: u32 = 20 * 60;

#[derive(Debug, Default)]
pub(super) struct Orphans {
    transactions: BTreeMap<Txid, Orphan>,
    by_parent: BTreeMap<Txid, BTreeSet<Txid>>,
    /// Oldest first.
    by_arrival: BTreeMap<u64, Txid>,
    arrivals: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Orphan {
    transaction: CheckedTransaction,
    bytes: usize,
    arrival: u64,
    time: u32,
}

impl Orphans {
    pub(super) fn len(&self) -> usize {
        self.transactions.len()
    }

    pub(super) fn get(&self, txid: &Txid) -> Option<&CheckedTransaction> {
        self.transactions.get(txid).map(|orphan| &orphan.transaction)
    }

    /// Keeps an orphan, at the cost of the oldest where there is no room.
    pub(super) fn insert(&mut self, transaction: CheckedTransaction, now: u32) {
        self.expire(now);
        let txid = transaction.txid();
        let bytes = transaction.transaction().encoded_len();
        if self.transactions.contains_key(&txid) || bytes > ORPHAN_BYTES_MAX {
            return;
        }
        while self.len() >= ORPHANS_MAX || self.bytes.saturating_add(bytes) > ORPHAN_BYTES_MAX {
            let Some(oldest) = self.oldest() else { return };
            self.take(&oldest);
        }
        for input in &transaction.transaction().inputs {
            self.by_parent.entry(input.previous_output.txid).or_default().insert(txid);
        }
        let arrival = self.arrivals;
        self.arrivals = arrival.saturating_add(1);
        self.by_arrival.insert(arrival, txid);
        self.bytes = self.bytes.saturating_add(bytes);
        self.transactions.insert(txid, Orphan { transaction, bytes, arrival, time: now });
    }

    /// Takes out the orphans that wait for this transaction.
    pub(super) fn adopt(&mut self, parent: &Txid) -> Vec<CheckedTransaction> {
        let children = self.by_parent.get(parent).cloned().unwrap_or_default();
        children.iter().filter_map(|txid| self.take(txid)).collect()
    }

    pub(super) fn take(&mut self, txid: &Txid) -> Option<CheckedTransaction> {
        let orphan = self.transactions.remove(txid)?;
        self.by_arrival.remove(&orphan.arrival);
        self.bytes = self.bytes.saturating_sub(orphan.bytes);
        for input in &orphan.transaction.transaction().inputs {
            let parent = input.previous_output.txid;
            if let Some(children) = self.by_parent.get_mut(&parent) {
                children.remove(txid);
                if children.is_empty() {
                    self.by_parent.remove(&parent);
                }
            }
        }
        Some(orphan.transaction)
    }

    pub(super) fn expire(&mut self, now: u32) {
        while let Some(oldest) = self.oldest() {
            let time = self.transactions.get(&oldest).map_or(0, |orphan| orphan.time);
            if now.saturating_sub(time) < ORPHAN_EXPIRY_SECONDS {
                return;
            }
            self.take(&oldest);
        }
    }

    fn oldest(&self) -> Option<Txid> {
        self.by_arrival.first_key_value().map(|(_, txid)| *txid)
    }
}
