//! Reads: off the async threads, bounded in number, from one state of the chain.

use std::sync::Arc;

use bytes::Bytes;
use pentad_ledger::Mempool;
use pentad_primitives::encode::Decode as _;
use pentad_primitives::{BlockHash, BlockHeight, Transaction, Txid};
use pentad_store::{
    BlockEntry, IndexRead as _, StoreError, TxEntry, read_certificate, read_transaction_bytes,
};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::error::ChainError;
use crate::view::{Published, TipView};

/// Reads at once: each may hold a thread and a page of rows.
const READS_MAX: usize = 32;
/// How often a read that lost its snapshot begins again before it holds the snapshot fast.
const OPTIMISTIC_READS: usize = 4;

/// Answers questions about the published chain. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reader {
    published: Arc<Published>,
    places: Arc<Semaphore>,
}

/// The chain as one read sees it.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The network, the log.
    pub published: &'a Published,
    /// The main chain.
    pub tip: &'a TipView,
}

/// A block by what a caller knows of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockRef {
    /// Any stored block.
    Hash(BlockHash),
    /// A block of the main chain.
    Height(BlockHeight),
}

impl Reader {
    pub(crate) fn new(published: Arc<Published>) -> Self {
        Self { published, places: Arc::new(Semaphore::new(READS_MAX)) }
    }

    /// What is published.
    #[must_use]
    pub fn published(&self) -> &Arc<Published> {
        &self.published
    }

    /// Reads the chain at its tip. `read` may run several times: it must have no effects.
    ///
    /// # Errors
    /// Those of `read`.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl Fn(View<'_>) -> Result<T, ChainError> + Send + 'static,
    ) -> Result<T, ChainError> {
        self.read_with(|_| (), move |view, ()| read(view)).await
    }

    /// As [`Self::read`], on the calling thread: for long work that has one of its own, step by
    /// step. A damaged index does not end the node.
    pub(crate) fn read_here<T>(
        &self,
        read: impl Fn(View<'_>) -> Result<T, ChainError>,
    ) -> Result<T, ChainError> {
        consistently(&self.published, &|_| (), &|view, ()| read(view))
    }

    /// Reads the chain at its tip together with what `gather` takes from the mempool.
    ///
    /// # Errors
    /// Those of `read`.
    pub async fn read_with<M, T: Send + 'static>(
        &self,
        gather: impl Fn(&Mempool) -> M + Send + 'static,
        read: impl Fn(View<'_>, M) -> Result<T, ChainError> + Send + 'static,
    ) -> Result<T, ChainError> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.expect("the semaphore is never closed");
        let published = Arc::clone(&self.published);
        let reading = spawn_blocking(move || {
            let _place = place;
            let outcome = consistently(&published, &gather, &read);
            if let Err(ChainError::Store(StoreError::Index(error))) = &outcome {
                published.report_index_failure(error);
            }
            outcome
        });
        reading.await.map_err(|error| {
            tracing::error!(%error, "a read ended badly");
            ChainError::Broken
        })?
    }
}

/// Reads until nothing moved beneath the read.
fn consistently<M, T>(
    published: &Published,
    gather: &impl Fn(&Mempool) -> M,
    read: &impl Fn(View<'_>, M) -> Result<T, ChainError>,
) -> Result<T, ChainError> {
    for _ in 0..OPTIMISTIC_READS {
        let (tip, gathered) = published.with_mempool(gather);
        let outcome = read(View { published, tip: &tip }, gathered);
        if tip.snapshot.is_intact() {
            return outcome;
        }
    }
    loop {
        let (tip, gathered) = published.with_mempool(gather);
        let _pin = tip.snapshot.pin();
        if tip.snapshot.is_intact() {
            return read(View { published, tip: &tip }, gathered);
        }
    }
}

impl View<'_> {
    /// A stored block and its hash.
    ///
    /// # Errors
    /// When there is none.
    pub fn block(&self, block: BlockRef) -> Result<(BlockHash, BlockEntry), ChainError> {
        let hash = match block {
            BlockRef::Hash(hash) => hash,
            BlockRef::Height(height) => {
                let tip = self.tip.height;
                let hash = self.tip.snapshot.hash_at(height)?;
                hash.ok_or(ChainError::UnknownHeight { height, tip })?
            }
        };
        let entry = self.tip.snapshot.block(&hash)?.ok_or(ChainError::UnknownBlock(hash))?;
        Ok((hash, entry))
    }

    /// The certificate that a block is stored with.
    ///
    /// # Errors
    /// When the log fails.
    pub fn certificate(&self, entry: &BlockEntry) -> Result<Option<Bytes>, ChainError> {
        Ok(read_certificate(&self.published.log, entry)?.map(Bytes::from))
    }

    /// Is the block on the main chain?
    ///
    /// # Errors
    /// When the index fails.
    pub fn is_on_main_chain(
        &self,
        hash: &BlockHash,
        height: BlockHeight,
    ) -> Result<bool, ChainError> {
        Ok(self.tip.snapshot.hash_at(height)?.as_ref() == Some(hash))
    }

    /// Blocks from this one to the tip, both counted; 0 off the main chain.
    ///
    /// # Errors
    /// When the index fails.
    pub fn confirmations(&self, hash: &BlockHash, height: BlockHeight) -> Result<u32, ChainError> {
        let on_main_chain = self.is_on_main_chain(hash, height)?;
        Ok(if on_main_chain { self.depth(height) } else { 0 })
    }

    /// Blocks of the main chain from `height` to the tip, both counted.
    #[must_use]
    pub fn depth(&self, height: BlockHeight) -> u32 {
        self.tip.height.get().saturating_sub(height.get()).saturating_add(1)
    }

    /// Where on the main chain a transaction is.
    ///
    /// # Errors
    /// When the index fails.
    pub fn transaction_entry(&self, txid: &Txid) -> Result<Option<TxEntry>, ChainError> {
        Ok(self.tip.snapshot.transaction(txid)?)
    }

    /// A transaction of the main chain, its block's hash and height.
    ///
    /// # Errors
    /// When the index or the log fails.
    pub fn transaction(
        &self,
        txid: &Txid,
    ) -> Result<Option<(Transaction, BlockHash, BlockHeight)>, ChainError> {
        let Some(place) = self.transaction_entry(txid)? else {
            return Ok(None);
        };
        let (hash, entry) = self.block(BlockRef::Height(place.height))?;
        let transaction = self.read_transaction(txid, &entry, &place)?;
        Ok(Some((transaction, hash, place.height)))
    }

    fn read_transaction(
        &self,
        txid: &Txid,
        entry: &BlockEntry,
        place: &TxEntry,
    ) -> Result<Transaction, ChainError> {
        let bytes = read_transaction_bytes(&self.published.log, entry, place)?;
        let transaction = Transaction::from_bytes(&bytes).ok();
        transaction.filter(|transaction| transaction.txid() == *txid).ok_or_else(|| {
            let problem = format!("the bytes at {} are not transaction {txid}", place.start);
            StoreError::Record { position: entry.body, problem }.into()
        })
    }
}
