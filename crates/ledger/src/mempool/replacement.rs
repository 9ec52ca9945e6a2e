//! Replace-by-fee, opt-in (BIP125).

use std::collections::BTreeSet;

use pentad_primitives::Transaction;
use pentad_primitives::hash::Txid;

use super::{Entry, Mempool, REPLACED_MAX, Rejection};

/// Sequences up to this one say that the transaction may be replaced.
const SEQUENCE_REPLACEABLE_MAX: u32 = 0xffff_fffd;

impl Mempool {
    /// The transactions that spend the same outputs; their descendants go with them. None for most.
    pub(super) fn check_replacement(
        &self,
        entry: &Entry,
        ancestors: &BTreeSet<Txid>,
    ) -> Result<BTreeSet<Txid>, Rejection> {
        let inputs = &entry.transaction().inputs;
        let spenders = inputs.iter().filter_map(|input| self.spender(&input.previous_output));
        let conflicts: BTreeSet<_> = spenders.collect();
        if conflicts.is_empty() {
            return Ok(conflicts);
        }
        if let Some(txid) = conflicts.iter().find(|txid| !self.is_replaceable(txid)) {
            return Err(Rejection::Conflict { txid: *txid });
        }
        if let Some(txid) = conflicts.intersection(ancestors).next() {
            return Err(Rejection::ReplacesParent { txid: *txid });
        }
        self.check_no_new_unconfirmed_input(entry, &conflicts)?;
        self.check_replacement_fee(entry, &conflicts)?;
        Ok(conflicts)
    }

    /// Rule 1: it says so itself, or an unconfirmed ancestor does.
    fn is_replaceable(&self, txid: &Txid) -> bool {
        let Some(entry) = self.get(txid) else {
            return false;
        };
        let ancestors = self.pool.ancestors(entry.transaction());
        let mut inherited = ancestors.iter().filter_map(|txid| self.get(txid));
        signals(entry.transaction()) || inherited.any(|entry| signals(entry.transaction()))
    }

    /// Rule 2.
    fn check_no_new_unconfirmed_input(
        &self,
        entry: &Entry,
        conflicts: &BTreeSet<Txid>,
    ) -> Result<(), Rejection> {
        let replaced = conflicts.iter().filter_map(|txid| self.get(txid));
        let inputs = |entry: &Entry| entry.transaction().inputs.clone();
        let known: BTreeSet<_> = replaced.flat_map(inputs).map(|i| i.previous_output).collect();
        let outpoints = entry.transaction().inputs.iter().map(|input| input.previous_output);
        let mut new = outpoints.filter(|outpoint| !known.contains(outpoint));
        match new.find(|outpoint| self.contains(&outpoint.txid)) {
            Some(outpoint) => Err(Rejection::ReplacementInput { outpoint }),
            None => Ok(()),
        }
    }

    /// Rules 3, 4 and 5, and Bitcoin Core's demand for a higher fee rate.
    fn check_replacement_fee(
        &self,
        entry: &Entry,
        conflicts: &BTreeSet<Txid>,
    ) -> Result<(), Rejection> {
        let direct = || conflicts.iter().filter_map(|txid| self.get(txid));
        if let Some(better) = direct().find(|other| other.own_score() >= entry.own_score()) {
            return Err(Rejection::ReplacementFeeRate { txid: better.txid() });
        }
        let count = direct().map(|entry| entry.descendants().count).fold(0, u32::saturating_add);
        if usize::try_from(count).map_or(true, |count| count > REPLACED_MAX) {
            return Err(Rejection::ReplacesTooMany);
        }
        let mut replaced = conflicts.clone();
        for other in direct() {
            replaced.extend(self.pool.descendants(other.txid(), other.transaction()));
        }
        let fees = self.pool.totals(&replaced).fees;
        let relay = self.policy.replacement_fee_rate.fee(entry.bytes());
        let least = fees.saturating_add(relay.units());
        if entry.fee().units() < least {
            let least = super::amount(least);
            return Err(Rejection::ReplacementFee { fee: entry.fee(), least });
        }
        Ok(())
    }
}

fn signals(transaction: &Transaction) -> bool {
    transaction.inputs.iter().any(|input| input.sequence <= SEQUENCE_REPLACEABLE_MAX)
}
