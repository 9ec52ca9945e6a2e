use std::sync::Arc;

use pentad_primitives::hash::{BlockHash, Txid};
use pentad_primitives::{Block, Transaction};

use super::{BlockError, semantic, structural};
use crate::spec::{ChainSpec, Limits};

/// A transaction of legal form, with its id. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedTransaction {
    transaction: Arc<Transaction>,
    txid: Txid,
}

impl CheckedTransaction {
    /// Checks the form of a transaction.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn check(
        transaction: Transaction,
        limits: &Limits,
    ) -> Result<Self, structural::TransactionError> {
        structural::check_transaction(&transaction, limits)?;
        Ok(Self::assume_valid(transaction))
    }

    /// Takes a transaction that was checked before (from this node's own files).
    #[must_use]
    pub fn assume_valid(transaction: Transaction) -> Self {
        let txid = transaction.txid();
        Self { transaction: Arc::new(transaction), txid }
    }

    pub(crate) fn of_block(transaction: &Transaction, txid: Txid) -> Self {
        Self { transaction: Arc::new(transaction.clone()), txid }
    }

    /// The transaction.
    #[must_use]
    pub fn transaction(&self) -> &Arc<Transaction> {
        &self.transaction
    }

    /// Its id.
    #[must_use]
    pub fn txid(&self) -> Txid {
        self.txid
    }
}

/// A block of legal form and of this network, with the ids computed once. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedBlock {
    inner: Arc<Inner>,
}

#[derive(Debug, PartialEq, Eq)]
struct Inner {
    block: Block,
    hash: BlockHash,
    txids: Vec<Txid>,
}

impl CheckedBlock {
    /// Checks everything that needs no chain. The header's work is checked where the header is
    /// [inserted](crate::HeaderTree::insert).
    ///
    /// # Errors
    /// The first rule broken; see [`BlockError::is_mutation`].
    pub fn check(block: Block, spec: &ChainSpec) -> Result<Self, BlockError> {
        let checked = Self::assume_valid(block);
        structural::check_block(&checked.inner.block, &checked.inner.txids, &spec.limits())?;
        semantic::check_block(&checked.inner.block, spec)?;
        Ok(checked)
    }

    /// Takes a block that was checked before (genesis, or from this node's own files).
    #[must_use]
    pub fn assume_valid(block: Block) -> Self {
        let hash = block.block_hash();
        let txids = block.transactions.iter().map(Transaction::txid).collect();
        Self { inner: Arc::new(Inner { block, hash, txids }) }
    }

    /// The block.
    #[must_use]
    pub fn block(&self) -> &Block {
        &self.inner.block
    }

    /// Its hash.
    #[must_use]
    pub fn hash(&self) -> BlockHash {
        self.inner.hash
    }

    /// Its transactions with their ids, in order.
    pub fn transactions(&self) -> impl ExactSizeIterator<Item = (&Txid, &Transaction)> {
        self.inner.txids.iter().zip(&self.inner.block.transactions)
    }

    /// The ids of its transactions, in order.
    #[must_use]
    pub fn txids(&self) -> &[Txid] {
        &self.inner.txids
    }
}
