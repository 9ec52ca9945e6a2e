use std::io;

use pentad_primitives::{BlockHash, BlockHeight, OutPoint, Script, Txid, Utxo};
use thiserror::Error;

use crate::engine::{EngineError, Pair};
use crate::rows::{
    self, BlockEntry, MalformedRow, Table, TxEntry, block_key, height_key, outpoint_of_key,
    outpoint_suffix, script_key, transaction_key, utxo_from_bytes, utxo_key,
};

/// Why the index cannot answer.
#[derive(Debug, Error)]
pub enum IndexError {
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A value does not decode.
    #[error("{0}; delete the index directory, it is rebuilt from the block log")]
    Malformed(#[from] MalformedRow),
    /// The operator wants the index rebuilt.
    #[error("the index is to be rebuilt, as was asked for: start the node again")]
    RebuildRequested,
    /// Somebody who reads a snapshot found the index damaged.
    #[error("a read of the index failed: {0}")]
    Reported(String),
    /// The engine's files cannot be removed or made.
    #[error("cannot {action} the index directory: {source}")]
    Directory {
        /// What was tried.
        action: &'static str,
        /// The reason.
        source: io::Error,
    },
}

/// Reading an index: the writer's own view of it or a snapshot.
pub trait IndexRead {
    /// The value of a key.
    ///
    /// # Errors
    /// When the engine fails.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError>;

    /// Up to `limit` pairs in key order whose keys begin with `prefix` and are greater than
    /// `after`.
    ///
    /// # Errors
    /// When the engine fails.
    fn page(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, IndexError>;

    /// A stored block, on the main chain or not.
    ///
    /// # Errors
    /// When the engine fails or the row is damaged; so for all methods below.
    fn block(&self, hash: &BlockHash) -> Result<Option<BlockEntry>, IndexError> {
        decoded(self.get(&block_key(hash))?, Table::Block, BlockEntry::from_bytes)
    }

    /// The main chain's block at a height.
    ///
    /// # Errors
    /// See [`Self::block`].
    fn hash_at(&self, height: BlockHeight) -> Result<Option<BlockHash>, IndexError> {
        decoded(self.get(&height_key(height))?, Table::Height, |bytes| {
            Some(BlockHash::from_bytes(bytes.try_into().ok()?))
        })
    }

    /// A transaction of the main chain.
    ///
    /// # Errors
    /// See [`Self::block`].
    fn transaction(&self, txid: &Txid) -> Result<Option<TxEntry>, IndexError> {
        decoded(self.get(&transaction_key(txid))?, Table::Transaction, TxEntry::from_bytes)
    }

    /// An unspent output.
    ///
    /// # Errors
    /// See [`Self::block`].
    fn utxo(&self, outpoint: &OutPoint) -> Result<Option<Utxo>, IndexError> {
        decoded(self.get(&utxo_key(outpoint))?, Table::Utxo, utxo_from_bytes)
    }

    /// Up to `limit` unspent outputs of a script behind `after`, in the order of their outpoints
    /// (txid in internal byte order, vout).
    ///
    /// # Errors
    /// See [`Self::block`].
    fn utxos_of(
        &self,
        script: &Script,
        after: Option<&OutPoint>,
        limit: usize,
    ) -> Result<Vec<(OutPoint, Utxo)>, IndexError> {
        let Some(prefix) = script_key(Table::ScriptUtxo, script) else {
            return Ok(Vec::new());
        };
        let after = after.map(|outpoint| [&prefix[..], &outpoint_suffix(outpoint)].concat());
        let pairs = self.page(&prefix, after.as_deref(), limit)?;
        pairs.iter().map(|pair| utxo_of_pair(pair, Table::ScriptUtxo)).collect()
    }

    /// Up to `limit` unspent outputs of the whole set behind `after`, in the order of their
    /// outpoints.
    ///
    /// # Errors
    /// See [`Self::block`].
    fn utxos(
        &self,
        after: Option<&OutPoint>,
        limit: usize,
    ) -> Result<Vec<(OutPoint, Utxo)>, IndexError> {
        let after = after.map(utxo_key);
        let pairs = self.page(&[Table::Utxo as u8], after.as_deref(), limit)?;
        pairs.iter().map(|pair| utxo_of_pair(pair, Table::Utxo)).collect()
    }

    /// Up to `limit` transactions of the main chain that touch a script, oldest first, behind
    /// the transaction `after` (height, index in its block).
    ///
    /// # Errors
    /// See [`Self::block`].
    fn history_of(
        &self,
        script: &Script,
        after: Option<(BlockHeight, u32)>,
        limit: usize,
    ) -> Result<Vec<HistoryEntry>, IndexError> {
        let Some(prefix) = script_key(Table::ScriptHistory, script) else {
            return Ok(Vec::new());
        };
        let after = after.map(|(height, index)| {
            [&prefix[..], &height.get().to_be_bytes(), &index.to_be_bytes()].concat()
        });
        let pairs = self.page(&prefix, after.as_deref(), limit)?;
        let entries = pairs.iter().map(|pair| {
            HistoryEntry::of_pair(pair).ok_or(MalformedRow(Table::ScriptHistory).into())
        });
        entries.collect()
    }

    /// Up to `limit` stored blocks behind `after`, in the order of their hashes.
    ///
    /// # Errors
    /// See [`Self::block`].
    fn blocks(
        &self,
        after: Option<&BlockHash>,
        limit: usize,
    ) -> Result<Vec<(BlockHash, BlockEntry)>, IndexError> {
        let after = after.map(block_key);
        let pairs = self.page(&[Table::Block as u8], after.as_deref(), limit)?;
        let entry = |(key, value): &Pair| {
            let hash = BlockHash::from_bytes(*key.last_chunk()?);
            Some((hash, BlockEntry::from_bytes(value)?))
        };
        let entries = pairs.iter().map(|pair| entry(pair).ok_or(MalformedRow(Table::Block).into()));
        entries.collect()
    }
}

/// A transaction in the history of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// Height of its block.
    pub height: BlockHeight,
    /// Its place in that block.
    pub index: u32,
    /// Its id.
    pub txid: Txid,
}

impl HistoryEntry {
    fn of_pair((key, value): &Pair) -> Option<Self> {
        let suffix = key.last_chunk::<8>()?;
        let (height, index) = suffix.split_first_chunk()?;
        Some(Self {
            height: BlockHeight::new(u32::from_be_bytes(*height)),
            index: u32::from_be_bytes(index.try_into().ok()?),
            txid: Txid::from_bytes(value.as_slice().try_into().ok()?),
        })
    }
}

fn utxo_of_pair((key, value): &Pair, table: Table) -> Result<(OutPoint, Utxo), IndexError> {
    let outpoint = outpoint_of_key(key).ok_or(MalformedRow(table))?;
    Ok((outpoint, rows::utxo_from_bytes(value).ok_or(MalformedRow(table))?))
}

fn decoded<T>(
    value: Option<Vec<u8>>,
    table: Table,
    decode: impl FnOnce(&[u8]) -> Option<T>,
) -> Result<Option<T>, IndexError> {
    match value {
        None => Ok(None),
        Some(bytes) => Ok(Some(decode(&bytes).ok_or(MalformedRow(table))?)),
    }
}
