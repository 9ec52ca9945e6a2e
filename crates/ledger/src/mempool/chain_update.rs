use std::collections::BTreeSet;

use pentad_primitives::hash::Txid;

use super::{AdmissionError, Admitted, Entry, Mempool};
use crate::utxo::UtxoView;
use crate::verify::contextual::{BlockContext, is_final};
use crate::verify::{CheckedBlock, CheckedTransaction};

/// Why a transaction left the mempool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Removal {
    /// It is in a block.
    Confirmed,
    /// A block spends what it, or an ancestor, spends.
    Conflict,
    /// After a reorganisation, it cannot enter the next block.
    Reorganised,
    /// Transactions that returned left it no room.
    Evicted,
    /// It waited too long.
    Expired,
}

/// What a change of tip did to the mempool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Updated {
    /// What was here before and left.
    pub removed: Vec<(Txid, Removal)>,
    /// What came back from blocks that were undone, and is here.
    pub returned: Vec<Txid>,
    /// Entries that left with a block. To give their memory back takes a while: drop them where
    /// nobody waits.
    pub gone: Vec<Entry>,
}

impl Mempool {
    /// Follows the chain to a new tip: `undone` and `applied` are blocks in order of height, `view`
    /// is the UTXO set at the new tip, `context` that of the next block. Transactions of undone
    /// blocks return where policy lets them; their signatures have been checked.
    ///
    /// # Errors
    /// The view's own. The mempool may then hold what the chain does not allow: clear it.
    pub fn update<V: UtxoView>(
        &mut self,
        undone: &[CheckedBlock],
        applied: &[CheckedBlock],
        view: &V,
        context: &BlockContext,
        now: u32,
    ) -> Result<Updated, V::Error> {
        let mut updated = Updated::default();
        for block in applied {
            self.confirm(block, &mut updated);
        }
        if undone.is_empty() {
            return Ok(updated);
        }
        let confirmed: BTreeSet<_> = applied.iter().flat_map(CheckedBlock::txids).collect();
        for block in undone {
            for (index, (txid, transaction)) in block.transactions().enumerate() {
                if confirmed.contains(txid) {
                    continue;
                }
                // The coinbase is gone for good, with all that spends it.
                let transaction = CheckedTransaction::of_block(transaction, *txid);
                let admitted = match index {
                    0 => None,
                    _ => self.give_back(&transaction, view, context, now)?,
                };
                if let Some(admitted) = admitted {
                    updated.returned.push(*txid);
                    let evicted = admitted.evicted.into_iter();
                    updated.removed.extend(evicted.map(|txid| (txid, Removal::Evicted)));
                    self.trim_descendants(&transaction, &mut updated);
                } else {
                    let children = self.pool.children(*txid, transaction.transaction());
                    self.remove(&children, Removal::Reorganised, &mut updated);
                }
            }
        }
        self.remove_unready(context, &mut updated);
        // What came and went within the update was never seen.
        let returned: BTreeSet<_> = updated.returned.iter().copied().collect();
        updated.removed.retain(|(txid, _)| !returned.contains(txid));
        updated.returned.retain(|txid| self.contains(txid));
        Ok(updated)
    }

    /// Removes what has waited too long, descendants included.
    pub fn expire(&mut self, now: u32) -> Vec<Txid> {
        self.orphans.expire(now);
        let mut updated = Updated::default();
        while let Some(oldest) = self.pool.oldest() {
            if now.saturating_sub(oldest.time()) < self.policy.expiry_seconds {
                break;
            }
            let txids = BTreeSet::from([oldest.txid()]);
            self.remove(&txids, Removal::Expired, &mut updated);
        }
        updated.removed.into_iter().map(|(txid, _)| txid).collect()
    }

    /// A block's transactions leave; so does what conflicts with them.
    fn confirm(&mut self, block: &CheckedBlock, updated: &mut Updated) {
        if self.is_empty() && self.orphans() == 0 {
            return;
        }
        for (txid, transaction) in block.transactions() {
            self.orphans.take(txid);
            if let Some(entry) = self.pool.take_known(txid, transaction) {
                updated.removed.push((*txid, Removal::Confirmed));
                updated.gone.push(*entry);
                continue;
            }
            let inputs = &transaction.inputs;
            let spenders = inputs.iter().filter_map(|i| self.pool.spender(&i.previous_output));
            let conflicts = spenders.collect();
            self.remove(&conflicts, Removal::Conflict, updated);
        }
    }

    /// Puts a transaction of an undone block back, if it may enter the next block.
    fn give_back<V: UtxoView>(
        &mut self,
        transaction: &CheckedTransaction,
        view: &V,
        context: &BlockContext,
        now: u32,
    ) -> Result<Option<Admitted>, V::Error> {
        let admission = match self.prepare(transaction.clone(), view, context) {
            Ok(admission) => admission,
            Err(AdmissionError::Rejected(_)) => return Ok(None),
            Err(AdmissionError::View(error)) => return Err(error),
        };
        Ok(self.commit(admission, context, now).ok())
    }

    /// A returned transaction may join chains that are now too long: their ends go.
    fn trim_descendants(&mut self, returned: &CheckedTransaction, updated: &mut Updated) {
        let (txid, transaction) = (returned.txid(), returned.transaction());
        let ancestors = self.pool.ancestors(transaction);
        let descendants = self.pool.descendants(txid, transaction);
        let mut ends: Vec<_> = descendants
            .iter()
            .filter_map(|txid| self.get(txid))
            .map(|entry| (entry.ancestors().count, entry.txid()))
            .collect();
        // The deepest last: taking it leaves the ancestors of all others as they are.
        ends.sort_unstable();
        while let Some((depth, end)) = ends.pop() {
            let has_room = |txid: &Txid| {
                let entry = self.get(txid);
                entry.is_none_or(|e| e.descendants().count <= self.policy.descendants_max)
            };
            if depth <= self.policy.ancestors_max && ancestors.iter().chain([&txid]).all(has_room) {
                return;
            }
            self.remove(&BTreeSet::from([end]), Removal::Reorganised, updated);
        }
    }

    /// After a reorganisation, coinbases may be immature and lock times ahead again.
    fn remove_unready(&mut self, context: &BlockContext, updated: &mut Updated) {
        let maturity = self.spec.coinbase_maturity();
        let is_ready = |entry: &Entry| {
            let depth = entry
                .coinbase_height
                .map(|created| context.height.get().saturating_sub(created.get()));
            depth.is_none_or(|depth| depth >= maturity)
                && is_final(entry.transaction(), context.height, context.median_time_past)
        };
        let unready = self.iter().filter(|entry| !is_ready(entry)).map(Entry::txid).collect();
        self.remove(&unready, Removal::Reorganised, updated);
    }

    fn remove(&mut self, txids: &BTreeSet<Txid>, reason: Removal, updated: &mut Updated) {
        let taken = self.pool.take_with_descendants(txids);
        updated.removed.extend(taken.iter().map(|entry| (entry.txid(), reason)));
    }
}
