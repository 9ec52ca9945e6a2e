//! The block log and the index over it as one store.

use std::thread;

use pentad_primitives::{Block, BlockHash, BlockHeader, BlockHeight, Txid, Utxo, Work};
use thiserror::Error;

use crate::engine::{CoinCacheUsage, CoinReads, Pair};
use crate::index::{Index, Snapshot, Tip};
use crate::layer::Step;
use crate::log::{BlockLog, LogError, LogPosition, LogReader, Record, RecordKind};
use crate::payload;
use crate::read::{IndexError, IndexRead};
use crate::rows::{BlockEntry, TxEntry, UndoMismatch, block_key, rows};

/// Why the store cannot go on. None of it is the fault of a block: the node stops and says so.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The block log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The index.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// Undo data that does not belong to its block.
    #[error(transparent)]
    Undo(#[from] UndoMismatch),
    /// A record that is whole but does not decode.
    #[error("the record at {position} does not decode: {problem}")]
    Record {
        /// Where it stands.
        position: LogPosition,
        /// What is wrong.
        problem: String,
    },
    /// A block that is not stored was asked for.
    #[error("block {0} is not in the store")]
    UnknownBlock(BlockHash),
    /// A step that does not fit the tip: a bug of the caller.
    #[error("block {block} cannot be connected to or disconnected from the tip")]
    NotAtTip {
        /// The block.
        block: BlockHash,
    },
}

/// The writer's side: every change of the chain goes through here.
///
/// Changes become visible to [`Self::commit`]'s snapshot, after the block log is durable.
#[derive(Debug)]
pub struct ChainStore {
    log: BlockLog,
    index: Index,
    layer_bytes_max: usize,
    coin_cache: CoinCacheUsage,
}

/// What a store keeps in memory, bytes, about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreMemory {
    /// Changes that are not in the engine yet.
    pub layers: usize,
    /// Unspent outputs of the engine.
    pub coin_cache: usize,
}

impl ChainStore {
    pub(crate) fn new(
        log: BlockLog,
        index: Index,
        layer_bytes_max: usize,
        coin_cache: CoinCacheUsage,
    ) -> Self {
        Self { log, index, layer_bytes_max, coin_cache }
    }

    /// Lets so many bytes of recent changes wait above the engine from now on; returns the bound
    /// until now.
    pub fn set_layer_bytes_max(&mut self, bytes: usize) -> usize {
        std::mem::replace(&mut self.layer_bytes_max, bytes)
    }

    /// What it keeps in memory.
    #[must_use]
    pub fn memory(&self) -> StoreMemory {
        StoreMemory { layers: self.index.layer_bytes(), coin_cache: self.coin_cache.bytes() }
    }

    /// Reads of unspent outputs that were not among the changes in memory.
    #[must_use]
    pub fn coin_reads(&self) -> CoinReads {
        self.coin_cache.reads()
    }

    /// The tip, once the genesis block is connected.
    #[must_use]
    pub fn tip(&self) -> Option<Tip> {
        self.index.state().tip
    }

    /// A handle that reads records.
    #[must_use]
    pub fn log_reader(&self) -> LogReader {
        self.log.reader()
    }

    /// Every stored block, in the order in which they came; a child may stand before its parent.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn entries(&self) -> Result<Vec<(BlockHash, BlockEntry)>, StoreError> {
        /// Rows read at once.
        const PAGE_LEN: usize = 1024;
        let mut entries = Vec::new();
        loop {
            let after = entries.last().map(|(hash, _)| *hash);
            let page = self.index.blocks(after.as_ref(), PAGE_LEN)?;
            if page.is_empty() {
                break;
            }
            entries.extend(page);
        }
        entries.sort_by_key(|(_, entry): &(BlockHash, BlockEntry)| entry.body);
        Ok(entries)
    }

    /// Stores a block without connecting it, with the certificate that makes it final if it has
    /// one. Of a block that is there the certificate alone is stored, unless it is there too.
    ///
    /// # Errors
    /// When the log or the index fails.
    pub fn append_block(
        &mut self,
        block: &Block,
        height: BlockHeight,
        chain_work: Work,
        certificate: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        let hash = block.block_hash();
        let certificate = certificate.unwrap_or_default();
        if self.index.block(&hash)?.is_some() {
            return self.append_certificate(&hash, certificate);
        }
        let (kind, record) = payload::block_record(block, height, &chain_work, certificate);
        let body = self.log.append(kind, &record)?;
        let certificate_len = u32::try_from(certificate.len()).expect("the record has room for it");
        let entry = BlockEntry {
            header: block.header,
            height,
            chain_work,
            body,
            certificate_len,
            certificate: None,
            undo: None,
            is_invalid: false,
        };
        self.set_entry(&hash, &entry);
        Ok(())
    }

    /// Stores the certificate that makes a stored block final, beside it. Nothing happens if the
    /// block has one; an empty one is none.
    ///
    /// # Errors
    /// When the block is not stored, and when the log or the index fails.
    pub fn append_certificate(
        &mut self,
        hash: &BlockHash,
        certificate: &[u8],
    ) -> Result<(), StoreError> {
        let mut entry = self.block_entry(hash)?;
        if certificate.is_empty() || entry.has_certificate() {
            return Ok(());
        }
        let record = payload::certificate_to_bytes(hash, certificate);
        entry.certificate = Some(self.log.append(RecordKind::Certificate, &record)?);
        self.set_entry(hash, &entry);
        Ok(())
    }

    /// Puts a stored block on the tip; `txids` are those of its transactions, `spent` the outputs
    /// that its inputs spend, in block order.
    ///
    /// # Errors
    /// When the block is not stored or its parent is not the tip, and when the log or the index
    /// fails.
    pub fn connect(
        &mut self,
        block: &Block,
        txids: &[Txid],
        spent: &[Utxo],
    ) -> Result<(), StoreError> {
        let hash = block.block_hash();
        let mut entry = self.block_entry(&hash)?;
        let parent = self.tip().map_or(BlockHash::ZERO, |tip| tip.hash);
        if parent != entry.header.prev_block_hash {
            return Err(StoreError::NotAtTip { block: hash });
        }
        let rows = rows(block, txids, entry.height, spent)?;
        if entry.undo.is_none() {
            let record = payload::undo_to_bytes(&hash, spent);
            entry.undo = Some(self.log.append(RecordKind::Undo, &record)?);
            self.set_entry(&hash, &entry);
        }
        let tip = Tip { hash, height: entry.height };
        self.index.step(Step::Connect(hash), rows, Some(tip));
        Ok(())
    }

    /// Takes the tip off; `txids` are those of its transactions, `spent` is its undo data.
    ///
    /// # Errors
    /// When `block` is not the tip or is genesis, and when the index fails.
    pub fn disconnect(
        &mut self,
        block: &Block,
        txids: &[Txid],
        spent: &[Utxo],
    ) -> Result<(), StoreError> {
        let hash = block.block_hash();
        let not_at_tip = StoreError::NotAtTip { block: hash };
        let Some(tip) = self.tip().filter(|tip| tip.hash == hash) else {
            return Err(not_at_tip);
        };
        let Some(height) = tip.height.prev() else {
            return Err(not_at_tip);
        };
        let rows = rows(block, txids, tip.height, spent)?;
        let tip = Tip { hash: block.header.prev_block_hash, height };
        self.index.step(Step::Disconnect(hash), rows, Some(tip));
        Ok(())
    }

    /// Remembers that a stored block is invalid on top of its parent.
    ///
    /// # Errors
    /// When the block is not stored or the index fails.
    pub fn mark_invalid(&mut self, hash: &BlockHash) -> Result<(), StoreError> {
        let mut entry = self.block_entry(hash)?;
        entry.is_invalid = true;
        self.set_entry(hash, &entry);
        Ok(())
    }

    /// Forgets where the undo data of a stored block is, because it is wrong: connecting the block
    /// writes it anew.
    ///
    /// # Errors
    /// When the block is not stored or the index fails.
    pub fn forget_undo(&mut self, hash: &BlockHash) -> Result<(), StoreError> {
        let mut entry = self.block_entry(hash)?;
        entry.undo = None;
        self.set_entry(hash, &entry);
        Ok(())
    }

    /// A stored block.
    ///
    /// # Errors
    /// When it is not stored, damaged or the store fails.
    pub fn block(&self, hash: &BlockHash) -> Result<Block, StoreError> {
        read_block(&self.log.reader(), self.block_entry(hash)?.body)
    }

    /// The certificate that makes a stored block final, if one is stored.
    ///
    /// # Errors
    /// When the block is not stored, damaged or the store fails.
    pub fn certificate(&self, hash: &BlockHash) -> Result<Option<Vec<u8>>, StoreError> {
        read_certificate(&self.log.reader(), &self.block_entry(hash)?)
    }

    /// What a block spends, if it has ever been connected.
    ///
    /// # Errors
    /// When it is not stored, damaged or the store fails.
    pub fn undo(&self, hash: &BlockHash) -> Result<Option<Vec<Utxo>>, StoreError> {
        let Some(position) = self.block_entry(hash)?.undo else {
            return Ok(None);
        };
        read_undo(&self.log.reader(), position).map(Some)
    }

    /// Makes everything done so far durable and returns the view of it, to be given to readers.
    ///
    /// # Errors
    /// When the log cannot be synced: the process must stop.
    pub fn commit(&mut self) -> Result<Snapshot, StoreError> {
        self.sync()?;
        self.index.set_log_end(self.log.end());
        Ok(self.index.seal())
    }

    /// Syncs the log; meanwhile, changes are put in order on another core.
    fn sync(&mut self) -> Result<(), StoreError> {
        let Self { log, index, .. } = self;
        if !index.is_open_large() {
            return Ok(log.sync()?);
        }
        thread::scope(|scope| {
            scope.spawn(|| index.sort_open());
            Ok(log.sync()?)
        })
    }

    /// Writes older changes into the engine when there are many. Call it after readers have
    /// been given the snapshot of the last [`Self::commit`].
    ///
    /// # Errors
    /// When the index fails.
    pub fn tidy(&mut self) -> Result<(), StoreError> {
        Ok(self.index.descend_if_due(self.layer_bytes_max)?)
    }

    /// Whether so many changes wait that a commit should come before more are made.
    #[must_use]
    pub fn wants_commit(&self) -> bool {
        // Some layers above the engine, some on their way into it, one that grows.
        self.index.open_bytes() >= self.layer_bytes_max / 4
    }

    /// Whether what was changed since the last commit takes all the memory that changes may take.
    #[must_use]
    pub fn must_commit(&self) -> bool {
        self.index.open_bytes() >= self.layer_bytes_max
    }

    /// Makes everything durable, the index too. The store can be dropped without it: the next
    /// start then has a few blocks to replay.
    ///
    /// # Errors
    /// When the log or the index fails.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.commit()?;
        Ok(self.index.descend_all()?)
    }

    /// What is known about a stored block.
    ///
    /// # Errors
    /// When it is not stored or the index fails.
    pub fn block_entry(&self, hash: &BlockHash) -> Result<BlockEntry, StoreError> {
        self.index.block(hash)?.ok_or(StoreError::UnknownBlock(*hash))
    }

    pub(crate) fn make_set_hash(&mut self) -> Result<(), StoreError> {
        Ok(self.index.make_set_hash()?)
    }

    pub(crate) fn set_entry(&mut self, hash: &BlockHash, entry: &BlockEntry) {
        self.index.set(&block_key(hash), &entry.to_bytes());
    }

    pub(crate) fn log_end(&self) -> LogPosition {
        self.log.end()
    }

    pub(crate) fn records(
        &self,
        from: LogPosition,
    ) -> impl Iterator<Item = Result<(LogPosition, Record), LogError>> + use<> {
        self.log.records(from)
    }

    /// Writes everything into the engine; records before `log_end` have their rows.
    pub(crate) fn settle(&mut self, log_end: LogPosition) -> Result<(), StoreError> {
        self.index.set_log_end(log_end);
        self.index.seal();
        Ok(self.index.descend_all()?)
    }
}

impl IndexRead for ChainStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        self.index.get(key)
    }

    fn page(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, IndexError> {
        self.index.page(prefix, after, limit)
    }
}

/// The block whose record stands at `position`.
///
/// # Errors
/// When the record is damaged or no block.
pub fn read_block(log: &LogReader, position: LogPosition) -> Result<Block, StoreError> {
    payload::block_from_record(&log.read(position)?)
        .map(|stored| stored.block)
        .map_err(|problem| StoreError::Record { position, problem })
}

/// The bytes of the block whose record stands at `position`.
///
/// # Errors
/// When the record is damaged or no block.
pub fn read_block_bytes(log: &LogReader, position: LogPosition) -> Result<Vec<u8>, StoreError> {
    payload::block_bytes(log.read(position)?)
        .map_err(|problem| StoreError::Record { position, problem })
}

/// The 80 bytes of a stored block's header. Compare the hash: the record's checksum is not.
///
/// # Errors
/// When the log cannot be read or ends before.
pub fn read_header_bytes(log: &LogReader, entry: &BlockEntry) -> Result<Vec<u8>, LogError> {
    let length = u32::try_from(BlockHeader::LEN).expect("80 bytes");
    log.read_part(entry.body, payload::block_start(entry.certificate_len), length)
}

/// The certificate of a block, in its record or in one of its own, if it has one.
///
/// # Errors
/// When the record is damaged or belongs to another block.
pub fn read_certificate(
    log: &LogReader,
    entry: &BlockEntry,
) -> Result<Option<Vec<u8>>, StoreError> {
    let (position, certificate) = match entry.certificate {
        None if entry.certificate_len == 0 => return Ok(None),
        None => (entry.body, payload::certificate_of_block(&log.read(entry.body)?)),
        Some(position) => {
            let record = log.read(position)?;
            let found = payload::certificate_from_record(&record);
            let certificate = found.and_then(|(block, certificate)| {
                if block != entry.header.block_hash() {
                    return Err(format!("it is the certificate of block {block}"));
                }
                Ok(certificate.to_vec())
            });
            (position, certificate)
        }
    };
    certificate.map(Some).map_err(|problem| StoreError::Record { position, problem })
}

/// The outputs that a block spends, in block order, from its undo record at `position`.
///
/// # Errors
/// When the record is damaged or no undo data.
pub fn read_undo(log: &LogReader, position: LogPosition) -> Result<Vec<Utxo>, StoreError> {
    let record = log.read(position)?;
    payload::undo_from_bytes(&record.payload)
        .map(|(_, spent)| spent)
        .map_err(|problem| StoreError::Record { position, problem })
}

/// The bytes of a transaction of a stored block. Compare the id: the record's checksum is not.
///
/// # Errors
/// When the log cannot be read or ends before.
pub fn read_transaction_bytes(
    log: &LogReader,
    block: &BlockEntry,
    entry: &TxEntry,
) -> Result<Vec<u8>, StoreError> {
    let start = entry.start.saturating_add(payload::block_start(block.certificate_len));
    Ok(log.read_part(block.body, start, entry.length)?)
}
