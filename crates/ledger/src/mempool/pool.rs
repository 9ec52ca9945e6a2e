//! The entries and their indexes. Every change goes through [`insert`](Pool::insert) and
//! [`take`](Pool::take), so that the indexes never differ from the entries.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeSet, HashMap};
use std::hash::BuildHasher as _;
use std::sync::Arc;

use pentad_primitives::hash::Txid;
use pentad_primitives::{OutPoint, Script, Transaction, TxOut};

use super::entry::{Entry, Score, Totals};

/// Where an entry is kept. The orders hold places and no ids: they are compared in every step
/// through a tree.
type Place = u32;

/// Entries by id, with their relations.
#[derive(Debug, Default)]
pub(super) struct Pool {
    places: HashMap<Txid, Place>,
    entries: Vec<Option<Box<Entry>>>,
    /// Places without an entry.
    free: Vec<Place>,
    /// Who spends what.
    spends: HashMap<OutPoint, Place>,
    by_mining_score: BTreeSet<(Score, Place)>,
    by_keeping_score: BTreeSet<(Score, Place)>,
    by_time: BTreeSet<(u32, Place)>,
    /// Transactions that pay to, or spend from, a script, by its hash under a key of our own.
    by_script: BTreeSet<(u64, Place)>,
    script_hasher: RandomState,
    bytes: usize,
}

impl Pool {
    pub(super) fn get(&self, txid: &Txid) -> Option<&Entry> {
        self.places.get(txid).and_then(|place| self.at(*place))
    }

    fn at(&self, place: Place) -> Option<&Entry> {
        self.entries.get(usize::try_from(place).ok()?)?.as_deref()
    }

    fn slot(&mut self, place: Place) -> Option<&mut Option<Box<Entry>>> {
        self.entries.get_mut(usize::try_from(place).ok()?)
    }

    pub(super) fn contains(&self, txid: &Txid) -> bool {
        self.places.contains_key(txid)
    }

    /// In no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter_map(Option::as_deref)
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn spender(&self, outpoint: &OutPoint) -> Option<Txid> {
        let place = self.spends.get(outpoint)?;
        self.at(*place).map(Entry::txid)
    }

    pub(super) fn output(&self, outpoint: &OutPoint) -> Option<&TxOut> {
        let outputs = &self.get(&outpoint.txid)?.transaction().outputs;
        outputs.get(usize::try_from(outpoint.vout).ok()?)
    }

    pub(super) fn by_script<'a>(&'a self, script: &Script) -> impl Iterator<Item = &'a Entry> {
        let hash = self.script_hasher.hash_one(script);
        let places = self.by_script.range((hash, Place::MIN)..=(hash, Place::MAX));
        let entries = places.filter_map(|(_, place)| self.at(*place));
        // Scripts may share a hash.
        entries.filter(move |entry| scripts(entry).any(|own| own == script))
    }

    /// Best to mine first.
    pub(super) fn by_mining_score(&self) -> impl Iterator<Item = &Entry> {
        self.by_mining_score.iter().rev().filter_map(|(_, place)| self.at(*place))
    }

    /// The entry whose loss, descendants included, costs miners least, but for these.
    pub(super) fn least_but(&self, kept: &BTreeSet<Txid>) -> Option<&Entry> {
        let mut entries = self.by_keeping_score.iter().filter_map(|(_, place)| self.at(*place));
        entries.find(|entry| !kept.contains(&entry.txid()))
    }

    pub(super) fn oldest(&self) -> Option<&Entry> {
        self.by_time.first().and_then(|(_, place)| self.at(*place))
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
        let place = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            Place::try_from(self.entries.len().saturating_sub(1)).unwrap_or(Place::MAX)
        });
        for input in &entry.transaction().inputs {
            self.spends.insert(input.previous_output, place);
        }
        entry.script_hashes = scripts(&entry).map(|it| self.script_hasher.hash_one(it)).collect();
        self.by_script.extend(entry.script_hashes.iter().map(|hash| (*hash, place)));
        self.bytes = self.bytes.saturating_add(entry.bytes);
        self.by_time.insert((entry.time, place));
        self.index_scores(&entry, place);
        self.places.insert(txid, place);
        if let Some(slot) = self.slot(place) {
            *slot = Some(Box::new(entry));
        }
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
    pub(super) fn take(&mut self, txid: &Txid) -> Option<Box<Entry>> {
        let transaction = Arc::clone(self.get(txid)?.transaction());
        self.take_known(txid, &transaction)
    }

    /// As [`take`](Self::take), where the caller has the transaction at hand: reading it from the
    /// entry would wait for memory that nobody has touched since it came.
    pub(super) fn take_known(
        &mut self,
        txid: &Txid,
        transaction: &Transaction,
    ) -> Option<Box<Entry>> {
        let place = self.places.remove(txid)?;
        let entry = self.slot(place)?.take()?;
        let own = entry.own();
        // Most have neither.
        if entry.ancestors.count > 1 {
            for ancestor in self.ancestors(transaction) {
                self.change_totals(&ancestor, |e| e.descendants = e.descendants.minus(own));
            }
        }
        if entry.descendants.count > 1 {
            for descendant in self.descendants(*txid, transaction) {
                self.change_totals(&descendant, |e| e.ancestors = e.ancestors.minus(own));
            }
        }
        self.free.push(place);
        self.unindex_scores(&entry, place);
        self.by_time.remove(&(entry.time, place));
        self.bytes = self.bytes.saturating_sub(entry.bytes);
        for hash in &entry.script_hashes {
            self.by_script.remove(&(*hash, place));
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
        leaves_first.iter().filter_map(|txid| self.take(txid)).map(|entry| *entry).collect()
    }

    fn change_totals(&mut self, txid: &Txid, change: impl FnOnce(&mut Entry)) {
        let Some(place) = self.places.get(txid).copied() else { return };
        if let Some(mut entry) = self.slot(place).and_then(Option::take) {
            self.unindex_scores(&entry, place);
            change(&mut entry);
            self.index_scores(&entry, place);
            if let Some(slot) = self.slot(place) {
                *slot = Some(entry);
            }
        }
    }

    fn index_scores(&mut self, entry: &Entry, place: Place) {
        self.by_mining_score.insert((entry.mining_score(), place));
        self.by_keeping_score.insert((entry.keeping_score(), place));
    }

    fn unindex_scores(&mut self, entry: &Entry, place: Place) {
        self.by_mining_score.remove(&(entry.mining_score(), place));
        self.by_keeping_score.remove(&(entry.keeping_score(), place));
    }
}

/// The scripts that an entry spends from and pays to.
fn scripts(entry: &Entry) -> impl Iterator<Item = &Script> {
    let outputs = entry.spent.iter().chain(&entry.transaction().outputs);
    outputs.map(|output| &output.script_pubkey)
}
