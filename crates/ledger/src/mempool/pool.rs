//! The entries and their indexes. Every change goes through [`insert`](Pool::insert) and
//! [`take`](Pool::take), so that the indexes never differ from the entries.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use pentad_primitives::hash::Txid;
use pentad_primitives::{OutPoint, Script, Transaction, TxOut};

use super::entry::{Entry, Score, Totals};

/// Entries by id, with their relations.
#[derive(Debug, Default)]
pub(super) struct Pool {
    entries: BTreeMap<Txid, Entry>,
    /// Who spends what.
    spends: HashMap<OutPoint, Txid>,
    by_mining_score: BTreeSet<(Score, Txid)>,
    by_keeping_score: BTreeSet<(Score, Txid)>,
    by_time: BTreeSet<(u32, Txid)>,
    /// Transactions that pay to, or spend from, a script.
    by_script: HashMap<Script, BTreeSet<Txid>>,
    bytes: usize,
}

impl Pool {
    pub(super) fn get(&self, txid: &Txid) -> Option<&Entry> {
        self.entries.get(txid)
    }

    pub(super) fn contains(&self, txid: &Txid) -> bool {
        self.entries.contains_key(txid)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn spender(&self, outpoint: &OutPoint) -> Option<Txid> {
        self.spends.get(outpoint).copied()
    }

    pub(super) fn output(&self, outpoint: &OutPoint) -> Option<&TxOut> {
        let outputs = &self.get(&outpoint.txid)?.transaction().outputs;
        outputs.get(usize::try_from(outpoint.vout).ok()?)
    }

    pub(super) fn by_script(&self, script: &Script) -> impl Iterator<Item = &Entry> {
        let txids = self.by_script.get(script).into_iter().flatten();
        txids.filter_map(|txid| self.get(txid))
    }

    /// Best to mine first.
    pub(super) fn by_mining_score(&self) -> impl Iterator<Item = &Entry> {
        self.by_mining_score.iter().rev().filter_map(|(_, txid)| self.get(txid))
    }

    /// The entry whose loss, descendants included, costs miners least, but for these.
    pub(super) fn least_but(&self, kept: &BTreeSet<Txid>) -> Option<&Entry> {
        let mut scores = self.by_keeping_score.iter();
        let (_, txid) = scores.find(|(_, txid)| !kept.contains(txid))?;
        self.get(txid)
    }

    pub(super) fn oldest(&self) -> Option<&Entry> {
        self.by_time.first().and_then(|(_, txid)| self.get(txid))
    }

    /// Transactions here whose outputs these inputs spend.
    pub(super) fn parents(&self, transaction: &Transaction) -> BTreeSet<Txid> {
        let spent = transaction.inputs.iter().map(|input| input.previous_output.txid);
        spent.filter(|txid| self.contains(txid)).collect()
    }

    /// Transactions here that spend this one's outputs, whether or not it is here itself.
    pub(super) fn children(&self, txid: Txid, transaction: &Transaction) -> BTreeSet<Txid> {
        let vouts = (0..).zip(&transaction.outputs).map(|(vout, _)| vout);
        vouts.filter_map(|vout| self.spender(&OutPoint { txid, vout })).collect()
    }

    /// All unconfirmed ancestors of a transaction, itself aside.
    pub(super) fn ancestors(&self, transaction: &Transaction) -> BTreeSet<Txid> {
        self.closure(self.parents(transaction), |entry| self.parents(entry.transaction()))
    }

    /// All descendants of a transaction, itself aside.
    pub(super) fn descendants(&self, txid: Txid, transaction: &Transaction) -> BTreeSet<Txid> {
        self.closure(self.children(txid, transaction), |entry| {
            self.children(entry.txid(), entry.transaction())
        })
    }

    /// Everything reachable from `start`, itself included.
    fn closure(
        &self,
        start: BTreeSet<Txid>,
        next: impl Fn(&Entry) -> BTreeSet<Txid>,
    ) -> BTreeSet<Txid> {
        let mut reached = start.clone();
        let mut open: Vec<_> = start.into_iter().collect();
        while let Some(txid) = open.pop() {
            let new = self.get(&txid).map(&next).unwrap_or_default();
            open.extend(new.difference(&reached));
            reached.extend(new);
        }
        reached
    }

    /// The entries together.
    pub(super) fn totals(&self, txids: &BTreeSet<Txid>) -> Totals {
        let entries = txids.iter().filter_map(|txid| self.get(txid));
        entries.map(Entry::own).fold(Totals::default(), Totals::plus)
    }

    /// Puts an entry in, above its ancestors and (after a reorganisation) below its descendants.
    pub(super) fn insert(&mut self, mut entry: Entry) {
        let txid = entry.txid();
        let ancestors = self.ancestors(entry.transaction());
        let descendants = self.descendants(txid, entry.transaction());
        let own = entry.own();
        entry.ancestors = own.plus(self.totals(&ancestors));
        entry.descendants = own.plus(self.totals(&descendants));
        for input in &entry.transaction().inputs {
            self.spends.insert(input.previous_output, txid);
        }
        for script in scripts(&entry) {
            self.by_script.entry(script.clone()).or_default().insert(txid);
        }
        self.bytes = self.bytes.saturating_add(entry.bytes);
        self.by_time.insert((entry.time, txid));
        self.index_scores(&entry);
        self.entries.insert(txid, entry);
        if descendants.is_empty() {
            for ancestor in &ancestors {
                self.change_totals(ancestor, |e| e.descendants = e.descendants.plus(own));
            }
        } else {
            self.relate_anew(&ancestors, &descendants);
        }
    }

    /// An entry has come between others: what they had in common before is not known, so the totals
    /// of all of them are counted again.
    fn relate_anew(&mut self, ancestors: &BTreeSet<Txid>, descendants: &BTreeSet<Txid>) {
        for txid in ancestors.union(descendants) {
            let Some(entry) = self.get(txid) else {
                continue;
            };
            let (transaction, own) = (entry.transaction().clone(), entry.own());
            let above = own.plus(self.totals(&self.ancestors(&transaction)));
            let below = own.plus(self.totals(&self.descendants(*txid, &transaction)));
            self.change_totals(txid, |e| (e.ancestors, e.descendants) = (above, below));
        }
    }

    /// Takes one entry out. Ancestors that stay must not have been reachable through it alone: take
    /// leaves first, or, when they are confirmed, roots first.
    pub(super) fn take(&mut self, txid: &Txid) -> Option<Entry> {
        let entry = self.entries.get(txid)?;
        let transaction = entry.transaction().clone();
        let own = entry.own();
        for ancestor in self.ancestors(&transaction) {
            self.change_totals(&ancestor, |e| e.descendants = e.descendants.minus(own));
        }
        for descendant in self.descendants(*txid, &transaction) {
            self.change_totals(&descendant, |e| e.ancestors = e.ancestors.minus(own));
        }
        let entry = self.entries.remove(txid)?;
        self.unindex_scores(&entry);
        self.by_time.remove(&(entry.time, *txid));
        self.bytes = self.bytes.saturating_sub(entry.bytes);
        for script in scripts(&entry) {
            if let Some(txids) = self.by_script.get_mut(script) {
                txids.remove(txid);
                if txids.is_empty() {
                    self.by_script.remove(script);
                }
            }
        }
        for input in &transaction.inputs {
            self.spends.remove(&input.previous_output);
        }
        Some(entry)
    }

    /// Takes out entries with all their descendants, leaves first.
    pub(super) fn take_with_descendants(&mut self, txids: &BTreeSet<Txid>) -> Vec<Entry> {
        let all = self.closure(txids.clone(), |e| self.children(e.txid(), e.transaction()));
        let mut leaves_first: Vec<_> = all.into_iter().filter(|txid| self.contains(txid)).collect();
        leaves_first.sort_by_key(|txid| {
            std::cmp::Reverse(self.get(txid).map_or(0, |entry| entry.ancestors.count))
        });
        leaves_first.iter().filter_map(|txid| self.take(txid)).collect()
    }

    fn change_totals(&mut self, txid: &Txid, change: impl FnOnce(&mut Entry)) {
        if let Some(mut entry) = self.entries.remove(txid) {
            self.unindex_scores(&entry);
            change(&mut entry);
            self.index_scores(&entry);
            self.entries.insert(*txid, entry);
        }
    }

    fn index_scores(&mut self, entry: &Entry) {
        self.by_mining_score.insert((entry.mining_score(), entry.txid()));
        self.by_keeping_score.insert((entry.keeping_score(), entry.txid()));
    }

    fn unindex_scores(&mut self, entry: &Entry) {
        self.by_mining_score.remove(&(entry.mining_score(), entry.txid()));
        self.by_keeping_score.remove(&(entry.keeping_score(), entry.txid()));
    }
}

/// The scripts that an entry spends from and pays to.
fn scripts(entry: &Entry) -> impl Iterator<Item = &Script> {
    let outputs = entry.spent.iter().chain(&entry.transaction().outputs);
    outputs.map(|output| &output.script_pubkey)
}
