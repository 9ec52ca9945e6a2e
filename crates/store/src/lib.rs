//! Durable storage: the block log, which is the truth, and the indexes over it, which can be
//! rebuilt from it.
//!
//! ```text
//! data directory
//!   LOCK              held while a node works on the directory; names its process
//!   FORMAT            version of the layout, hash of the chain spec
//!   blocks/000000.blocks …   the block log: checksummed records, fsynced in order
//!   index/            headers, UTXOs, transactions and addresses, kept by the engine it names
//!   REINDEX           asks the next start to rebuild the index
//!   mempool           transactions that waited when the node was last asked
//! ```

mod chain_store;
mod data_dir;
mod engine;
pub mod fail_point;
mod format;
#[cfg(fuzzing)]
pub mod fuzzing;
mod index;
mod layer;
pub mod log;
mod open;
mod payload;
mod read;
mod recovery;
mod rows;
pub mod safety_log;
mod set_hash;
#[cfg(test)]
mod tests;
mod transaction_file;

pub use chain_store::{
    ChainStore, StoreError, StoreMemory, read_block, read_block_bytes, read_certificate,
    read_header_bytes, read_transaction_bytes, read_undo,
};
pub use data_dir::{DataDir, DataDirError, request_reindex};
pub use engine::{
    Batch, CoinCache, CoinCacheUsage, CoinReads, DiskEngine, DiskOptions, EngineError, IndexEngine,
    LsmEngine, LsmOptions, MemoryEngine, Pair, SledEngine, SledOptions, open_sled,
};
pub use format::DATA_FORMAT;
pub use index::{Index, IndexState, Interrupted, Pin, Snapshot, Tip, set_hash_key};
pub use layer::Step;
pub use open::{EngineKind, StoreOptions};
pub use payload::{Contents, StoredBlock, contents};
pub use read::{HistoryEntry, IndexError, IndexRead};
pub use recovery::{RebuildReason, Recovery};
pub use rows::{
    BlockEntry, MalformedRow, Row, Rows, Table, TxEntry, UndoMismatch, block_key, rows,
};
pub use set_hash::{insert as insert_coin, remove as remove_coin, step as step_set_hash};
pub use transaction_file::{TransactionFile, TransactionFileError};
