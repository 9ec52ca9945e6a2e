use std::collections::BTreeSet;

use pentad_primitives::hash::Txid;
use pentad_primitives::{Amount, BlockHeight, OutPoint, TxOut, Utxo};

use super::{AdmissionError, Entry, Mempool, Rejection};
use crate::utxo::{UtxoView, is_spendable};
use crate::verify::contextual::{self, BlockContext};
use crate::verify::{
    CheckedTransaction, SignatureCheck, transaction_signatures, verify_signatures,
};

/// A transaction that passed every check but its signatures.
#[derive(Clone, Debug)]
pub struct Admission {
    entry: Entry,
    /// What it spends of other transactions in the mempool.
    unconfirmed: Vec<OutPoint>,
    context: BlockContext,
}

/// What an admission did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// The transaction admitted.
    pub txid: Txid,
    /// Transactions it replaced (BIP125), with their descendants.
    pub replaced: Vec<Txid>,
    /// Transactions that went for lack of room.
    pub evicted: Vec<Txid>,
}

impl Admission {
    /// The transaction.
    #[must_use]
    pub fn transaction(&self) -> &CheckedTransaction {
        self.entry.checked()
    }

    /// Its fee.
    #[must_use]
    pub fn fee(&self) -> Amount {
        self.entry.fee()
    }

    /// The outputs that its inputs name, in order.
    #[must_use]
    pub fn spent(&self) -> &[TxOut] {
        self.entry.spent()
    }

    /// What is left to check, independent of one another and of the mempool.
    pub fn signature_checks(&self) -> impl Iterator<Item = SignatureCheck<'_>> {
        transaction_signatures(self.transaction(), self.spent())
    }
}

impl Mempool {
    /// Checks a transaction, all but its signatures, against the UTXO set at the tip, the mempool
    /// and the policy. `context` is that of the next block. Changes nothing: a dry run.
    ///
    /// # Errors
    /// The first rule broken, or the view's own error.
    pub fn prepare<V: UtxoView>(
        &self,
        transaction: CheckedTransaction,
        view: &V,
        context: &BlockContext,
    ) -> Result<Admission, AdmissionError<V::Error>> {
        let tx = transaction.transaction();
        if tx.is_coinbase() {
            return Err(Rejection::Coinbase.into());
        }
        if self.contains(&transaction.txid()) {
            return Err(Rejection::AlreadyKnown.into());
        }
        let (height, median_time_past) = (context.height, context.median_time_past);
        contextual::check_final(tx, height, median_time_past).map_err(Rejection::Rule)?;
        self.check_outputs(&transaction)?;
        let spent = self.resolve(&transaction, view, height)?;
        let fee = contextual::check_spends(tx, &spent, height, self.spec.coinbase_maturity())
            .map_err(Rejection::Rule)?;
        let unconfirmed = self.spent_here(&transaction);
        // The time is set when it enters.
        let entry = Entry::new(transaction, spent, fee, 0);
        self.check_relations(&entry)?;
        let context = *context;
        Ok(Admission { entry, unconfirmed, context })
    }

    /// Takes in a transaction whose signatures have been checked. Since `prepare`, the mempool may
    /// have changed; the chain may not. On an error, nothing has changed.
    ///
    /// # Errors
    /// The first rule broken; [`Rejection::Stale`] if the chain moved on.
    pub fn commit(
        &mut self,
        admission: Admission,
        context: &BlockContext,
        now: u32,
    ) -> Result<Admitted, Rejection> {
        if admission.context != *context {
            return Err(Rejection::Stale);
        }
        self.check_still_here(&admission.unconfirmed)?;
        let entry = Entry { time: now, ..admission.entry };
        let txid = entry.txid();
        if self.contains(&txid) {
            return Err(Rejection::AlreadyKnown);
        }
        let relations = self.check_relations(&entry)?;
        let replaced = self.pool.take_with_descendants(&relations.conflicts);
        let evicted = match self.make_room(&entry, &relations.ancestors) {
            Ok(evicted) => evicted,
            Err(full) => {
                self.put_back(replaced);
                return Err(full);
            }
        };
        self.pool.insert(entry);
        self.orphans.take(&txid);
        let ids = |entries: Vec<Entry>| entries.iter().map(Entry::txid).collect();
        Ok(Admitted { txid, replaced: ids(replaced), evicted: ids(evicted) })
    }

    /// Prepares, checks the signatures one after the other, commits.
    ///
    /// # Errors
    /// The first rule broken, or the view's own error.
    pub fn admit<V: UtxoView>(
        &mut self,
        transaction: CheckedTransaction,
        view: &V,
        context: &BlockContext,
        now: u32,
    ) -> Result<Admitted, AdmissionError<V::Error>> {
        let admission = self.prepare(transaction, view, context)?;
        verify_signatures(admission.signature_checks()).map_err(Rejection::Signature)?;
        Ok(self.commit(admission, context, now)?)
    }

    /// Policy on outputs.
    fn check_outputs(&self, transaction: &CheckedTransaction) -> Result<(), Rejection> {
        for (index, output) in transaction.transaction().outputs.iter().enumerate() {
            let amount = output.amount;
            if !is_spendable(&output.script_pubkey) && amount > Amount::ZERO {
                return Err(Rejection::DataOutputAmount { output: index });
            }
            if self.policy.is_dust(output) {
                let least = self.policy.dust_limit(&output.script_pubkey);
                return Err(Rejection::Dust { output: index, amount, least });
            }
        }
        Ok(())
    }

    /// The outputs that the inputs name: of the mempool, or of the view.
    fn resolve<V: UtxoView>(
        &self,
        transaction: &CheckedTransaction,
        view: &V,
        height: BlockHeight,
    ) -> Result<Vec<Utxo>, AdmissionError<V::Error>> {
        let mut spent = Vec::new();
        let mut missing = Vec::new();
        for input in &transaction.transaction().inputs {
            let outpoint = input.previous_output;
            let utxo = match self.unconfirmed(&outpoint, height) {
                Some(utxo) => Some(utxo),
                None => view.utxo(&outpoint).map_err(AdmissionError::View)?,
            };
            match utxo {
                Some(utxo) => spent.push(utxo),
                None => missing.push(outpoint),
            }
        }
        if missing.is_empty() {
            return Ok(spent);
        }
        for (vout, _) in (0..).zip(&transaction.transaction().outputs) {
            let outpoint = OutPoint { txid: transaction.txid(), vout };
            if view.utxo(&outpoint).map_err(AdmissionError::View)?.is_some() {
                return Err(Rejection::AlreadyConfirmed.into());
            }
        }
        Err(Rejection::MissingInputs { outpoints: missing }.into())
    }

    fn unconfirmed(&self, outpoint: &OutPoint, height: BlockHeight) -> Option<Utxo> {
        let output = self.pool.output(outpoint)?;
        is_spendable(&output.script_pubkey).then(|| Utxo {
            output: output.clone(),
            height,
            from_coinbase: false,
        })
    }

    /// What a transaction spends of others in the mempool.
    fn spent_here(&self, transaction: &CheckedTransaction) -> Vec<OutPoint> {
        let inputs = transaction.transaction().inputs.iter();
        let outpoints = inputs.map(|input| input.previous_output);
        outpoints.filter(|outpoint| self.contains(&outpoint.txid)).collect()
    }

    /// Since `prepare`, a parent may have been replaced or evicted.
    fn check_still_here(&self, unconfirmed: &[OutPoint]) -> Result<(), Rejection> {
        let is_gone = |outpoint: &&OutPoint| !self.contains(&outpoint.txid);
        let outpoints: Vec<_> = unconfirmed.iter().filter(is_gone).copied().collect();
        if outpoints.is_empty() { Ok(()) } else { Err(Rejection::MissingInputs { outpoints }) }
    }

    /// Checks fee, replacement, and the length of unconfirmed chains.
    fn check_relations(&self, entry: &Entry) -> Result<Relations, Rejection> {
        let (fee, least) = (entry.fee(), self.policy.min_fee_rate.fee(entry.bytes()));
        if fee < least {
            return Err(Rejection::FeeTooLow { fee, least });
        }
        let ancestors = self.pool.ancestors(entry.transaction());
        let conflicts = self.check_replacement(entry, &ancestors)?;
        self.check_chain_lengths(&ancestors)?;
        Ok(Relations { ancestors, conflicts })
    }

    fn check_chain_lengths(&self, ancestors: &BTreeSet<Txid>) -> Result<(), Rejection> {
        let max = self.policy.ancestors_max;
        if u32::try_from(ancestors.len()).map_or(true, |count| count >= max) {
            return Err(Rejection::TooManyAncestors { max });
        }
        let max = self.policy.descendants_max;
        let full = ancestors.iter().filter_map(|txid| self.get(txid));
        match full.into_iter().find(|entry| entry.descendants().count >= max) {
            Some(entry) => Err(Rejection::TooManyDescendants { txid: entry.txid(), max }),
            None => Ok(()),
        }
    }

    /// Makes room for an entry: what a miner would miss least goes, descendants included, as long
    /// as it pays less than the entry.
    fn make_room(
        &mut self,
        entry: &Entry,
        ancestors: &BTreeSet<Txid>,
    ) -> Result<Vec<Entry>, Rejection> {
        let mut evicted = Vec::new();
        while self.pool.bytes().saturating_add(entry.bytes()) > self.policy.bytes_max {
            let least = self.pool.least_but(ancestors);
            let lesser = least.filter(|least| least.keeping_score() < entry.own_score());
            let Some(txid) = lesser.map(Entry::txid) else {
                self.put_back(evicted);
                return Err(Rejection::Full);
            };
            evicted.append(&mut self.pool.take_with_descendants(&BTreeSet::from([txid])));
        }
        Ok(evicted)
    }

    /// Takes back the taking out of entries, which went leaves first.
    fn put_back(&mut self, entries: Vec<Entry>) {
        for entry in entries.into_iter().rev() {
            self.pool.insert(entry);
        }
    }
}

/// How a transaction stands to those in the mempool.
struct Relations {
    ancestors: BTreeSet<Txid>,
    /// Spend the same outputs, and may be replaced.
    conflicts: BTreeSet<Txid>,
}
