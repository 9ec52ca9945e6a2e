//! Transactions that wait for a block.
//!
//! Admission has three steps, so that signatures can be checked on other threads while the mempool
//! serves others: [`prepare`](Mempool::prepare) reads, [`Admission::signature_checks`] are
//! independent jobs, [`commit`](Mempool::commit) writes. [`admit`](Mempool::admit) is all three.
//!
//! Invariants: no two transactions spend one output; every input is an output of the UTXO set at
//! the tip or of another transaction here; every transaction could enter the next block.

mod admission;
mod chain_update;
mod entry;
mod error;
mod orphans;
mod policy;
mod pool;
mod replacement;

use pentad_primitives::hash::Txid;
use pentad_primitives::{Amount, OutPoint, Script, TxOut};

use self::orphans::Orphans;
use self::pool::Pool;
use crate::spec::ChainSpec;
use crate::verify::CheckedTransaction;

pub use admission::{Admission, Admitted};
pub use chain_update::{Removal, Updated};
pub(crate) use entry::Score;
pub use entry::{Entry, Totals};
pub use error::{AdmissionError, Rejection};
pub use orphans::{ORPHAN_BYTES_MAX, ORPHAN_EXPIRY_SECONDS, ORPHANS_MAX};
pub use policy::{ANCESTORS_MAX, DESCENDANTS_MAX, FeeRate, Policy, REPLACED_MAX};

/// Transactions that wait for a block, and orphans that wait for their parents.
#[derive(Debug)]
pub struct Mempool {
    policy: Policy,
    spec: ChainSpec,
    pool: Pool,
    orphans: Orphans,
}

impl Mempool {
    /// An empty mempool.
    #[must_use]
    pub fn new(policy: Policy, spec: &ChainSpec) -> Self {
        let (pool, orphans) = (Pool::default(), Orphans::default());
        Self { policy, spec: spec.clone(), pool, orphans }
    }

    /// What it takes in.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Number of transactions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pool.len()
    }

    /// Is there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pool.len() == 0
    }

    /// Encoded bytes of all transactions.
    #[must_use]
    pub fn total_bytes(&self) -> usize {
        self.pool.bytes()
    }

    /// Is the transaction here?
    #[must_use]
    pub fn contains(&self, txid: &Txid) -> bool {
        self.pool.contains(txid)
    }

    /// A transaction and what is known about it.
    #[must_use]
    pub fn get(&self, txid: &Txid) -> Option<&Entry> {
        self.pool.get(txid)
    }

    /// All transactions, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.pool.iter()
    }

    /// All transactions, best to mine first. A parent may come after its child.
    pub fn by_mining_score(&self) -> impl Iterator<Item = &Entry> {
        self.pool.by_mining_score()
    }

    /// What `take` takes of each transaction. Whoever holds the mempool's lock for it can let go
    /// before putting them in order.
    pub fn gather<'a, T>(&'a self, take: impl Fn(&'a Entry) -> T) -> Gathered<T> {
        let of = |entry: &'a Entry| ((entry.ancestors().count, entry.time()), take(entry));
        Gathered(self.iter().map(of).collect())
    }

    /// The unconfirmed ancestors of a transaction, itself aside.
    #[must_use]
    pub fn ancestors(&self, entry: &Entry) -> Vec<&Entry> {
        let txids = self.pool.ancestors(entry.transaction());
        txids.iter().filter_map(|txid| self.get(txid)).collect()
    }

    /// The descendants of a transaction, itself aside.
    #[must_use]
    pub fn descendants(&self, entry: &Entry) -> Vec<&Entry> {
        let txids = self.pool.descendants(entry.txid(), entry.transaction());
        txids.iter().filter_map(|txid| self.get(txid)).collect()
    }

    /// Which transaction spends this output?
    #[must_use]
    pub fn spender(&self, outpoint: &OutPoint) -> Option<Txid> {
        self.pool.spender(outpoint)
    }

    /// An output of a transaction here, spent or not.
    #[must_use]
    pub fn output(&self, outpoint: &OutPoint) -> Option<&TxOut> {
        self.pool.output(outpoint)
    }

    /// The transactions that pay to a script or spend from it.
    pub fn by_script<'a>(&'a self, script_pubkey: &Script) -> impl Iterator<Item = &'a Entry> {
        self.pool.by_script(script_pubkey)
    }

    /// The outputs here of a script that nothing here spends.
    #[must_use]
    pub fn unspent_outputs(&self, script_pubkey: &Script) -> Vec<(OutPoint, &TxOut)> {
        let outputs = self.by_script(script_pubkey).flat_map(|entry| {
            let txid = entry.txid();
            let outputs = (0..).zip(&entry.transaction().outputs);
            outputs.map(move |(vout, output)| (OutPoint { txid, vout }, output))
        });
        let is_own = |(outpoint, output): &(OutPoint, &TxOut)| {
            output.script_pubkey == *script_pubkey && self.spender(outpoint).is_none()
        };
        outputs.filter(is_own).collect()
    }

    /// What all transactions here together do to the balance of a script, in units of 10⁻⁸ coins.
    #[must_use]
    pub fn pending(&self, script_pubkey: &Script) -> i64 {
        let units = |output: &TxOut| {
            let own = output.script_pubkey == *script_pubkey;
            if own { i64::try_from(output.amount.units()).unwrap_or(i64::MAX) } else { 0 }
        };
        self.by_script(script_pubkey).fold(0, |pending, entry| {
            let outputs = entry.transaction().outputs.iter().map(units);
            let received = outputs.fold(pending, i64::saturating_add);
            let spent = entry.spent().iter().map(units);
            spent.fold(received, i64::saturating_sub)
        })
    }

    /// Keeps a transaction with [missing inputs](Rejection::MissingInputs) until its parents come,
    /// within [`ORPHANS_MAX`].
    pub fn keep_orphan(&mut self, transaction: CheckedTransaction, now: u32) {
        self.orphans.insert(transaction, now);
    }

    /// Takes out the orphans that waited for a transaction which was now admitted or confirmed.
    /// Admit them again.
    pub fn adopt(&mut self, parent: &Txid) -> Vec<CheckedTransaction> {
        self.orphans.adopt(parent)
    }

    /// A transaction that waits for its parents.
    #[must_use]
    pub fn orphan(&self, txid: &Txid) -> Option<&CheckedTransaction> {
        self.orphans.get(txid)
    }

    /// Number of orphans.
    #[must_use]
    pub fn orphans(&self) -> usize {
        self.orphans.len()
    }
}

/// Something of each transaction of a mempool.
#[derive(Clone, Debug)]
pub struct Gathered<T>(Vec<((u32, u32), T)>);

impl<T> Gathered<T> {
    /// Parents before children: the order in which another mempool admits them. Equals in the order
    /// of their arrival.
    #[must_use]
    pub fn in_topological_order(self) -> Vec<T> {
        let Self(mut all) = self;
        all.sort_by_key(|(order, _)| *order);
        all.into_iter().map(|(_, one)| one).collect()
    }
}

/// Fees of many transactions as an amount, for a message.
fn amount(units: u64) -> Amount {
    Amount::from_units(units).unwrap_or(Amount::MAX_MONEY)
}
