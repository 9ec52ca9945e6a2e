use std::cmp::Ordering;
use std::sync::Arc;

use pentad_primitives::encode::Encode;
use pentad_primitives::hash::Txid;
use pentad_primitives::{Amount, BlockHeight, Transaction, TxOut, Utxo};

use crate::verify::CheckedTransaction;

/// A transaction of the mempool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub(super) transaction: CheckedTransaction,
    /// The outputs that its inputs name, in order.
    pub(super) spent: Vec<TxOut>,
    pub(super) fee: Amount,
    pub(super) bytes: usize,
    /// Unix seconds of its arrival.
    pub(super) time: u32,
    /// Height of the latest coinbase it spends, genesis aside.
    pub(super) coinbase_height: Option<BlockHeight>,
    pub(super) ancestors: Totals,
    pub(super) descendants: Totals,
    /// Hashes of the scripts that it spends from and pays to, once it is in a pool.
    pub(super) script_hashes: Box<[u64]>,
}

/// Count, size and fees of a transaction together with its ancestors, or descendants, in the
/// mempool. A transaction is its own ancestor and descendant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Transactions.
    pub count: u32,
    /// Encoded bytes.
    pub bytes: usize,
    /// Fees in units of 10⁻⁸ coins; many together may exceed an amount.
    pub fees: u64,
}

/// A fee over a size, compared as a fraction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Score {
    fees: u64,
    bytes: usize,
}

impl Entry {
    pub(super) fn new(
        transaction: CheckedTransaction,
        spent: Vec<Utxo>,
        fee: Amount,
        time: u32,
    ) -> Self {
        let is_coinbase = |utxo: &&Utxo| utxo.from_coinbase && utxo.height != BlockHeight::GENESIS;
        let coinbase_height = spent.iter().filter(is_coinbase).map(|utxo| utxo.height).max();
        let bytes = transaction.transaction().encoded_len();
        let own = Totals { count: 1, bytes, fees: fee.units() };
        Self {
            transaction,
            spent: spent.into_iter().map(|utxo| utxo.output).collect(),
            fee,
            bytes,
            time,
            coinbase_height,
            ancestors: own,
            descendants: own,
            script_hashes: Box::default(),
        }
    }

    /// The transaction.
    #[must_use]
    pub fn transaction(&self) -> &Arc<Transaction> {
        self.transaction.transaction()
    }

    /// The transaction with its id.
    #[must_use]
    pub fn checked(&self) -> &CheckedTransaction {
        &self.transaction
    }

    /// Its id.
    #[must_use]
    pub fn txid(&self) -> Txid {
        self.transaction.txid()
    }

    /// The outputs that its inputs name, in order.
    #[must_use]
    pub fn spent(&self) -> &[TxOut] {
        &self.spent
    }

    /// Its fee.
    #[must_use]
    pub fn fee(&self) -> Amount {
        self.fee
    }

    /// Its encoded size.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// When it arrived, Unix seconds.
    #[must_use]
    pub fn time(&self) -> u32 {
        self.time
    }

    /// With its ancestors in the mempool.
    #[must_use]
    pub fn ancestors(&self) -> Totals {
        self.ancestors
    }

    /// With its descendants in the mempool.
    #[must_use]
    pub fn descendants(&self) -> Totals {
        self.descendants
    }

    /// This transaction alone.
    pub(crate) fn own(&self) -> Totals {
        Totals { count: 1, bytes: self.bytes, fees: self.fee.units() }
    }

    pub(super) fn own_score(&self) -> Score {
        self.own().score()
    }

    /// What a miner gains by taking it: no more than its ancestors leave of it.
    pub(crate) fn mining_score(&self) -> Score {
        self.own_score().min(self.ancestors.score())
    }

    /// What a miner loses if it is evicted: its descendants may pay for it.
    pub(super) fn keeping_score(&self) -> Score {
        self.own_score().max(self.descendants.score())
    }
}

impl Totals {
    #[must_use]
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            count: self.count.saturating_add(other.count),
            bytes: self.bytes.saturating_add(other.bytes),
            fees: self.fees.saturating_add(other.fees),
        }
    }

    #[must_use]
    pub(crate) fn minus(self, other: Self) -> Self {
        Self {
            count: self.count.saturating_sub(other.count),
            bytes: self.bytes.saturating_sub(other.bytes),
            fees: self.fees.saturating_sub(other.fees),
        }
    }

    pub(crate) fn score(self) -> Score {
        Score { fees: self.fees, bytes: self.bytes }
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Self) -> Ordering {
        // a/b < c/d exactly if a·d < c·b.
        let cross = |a: &Self, b: &Self| u128::from(a.fees).saturating_mul(b.bytes as u128);
        cross(self, other).cmp(&cross(other, self))
    }
}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Score {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Score {}
