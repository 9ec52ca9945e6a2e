use std::fmt;

use pentad_primitives::Transaction;

use crate::chain_store::{ChainStore, StoreError};
use crate::index::Interrupted;
use crate::layer::Step;
use crate::log::{LogError, LogPosition, Record, RecordKind, TornTail};
use crate::payload::{self, StoredBlock};
use crate::read::{IndexError, IndexRead};
use crate::rows::{BlockEntry, MalformedRow, Table};

/// What opening a store had to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// A torn record was cut off the block log.
    pub torn: Option<TornTail>,
    /// The index was thrown away, to be rebuilt, and why.
    pub rebuilt: Option<RebuildReason>,
    /// Blocks in the log that the index did not know yet.
    pub blocks_replayed: u64,
    /// Tip moves that had been interrupted and were made again.
    pub steps_redone: usize,
}

/// Why an index is rebuilt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RebuildReason {
    /// The operator wanted it, or a node that found the index damaged.
    AskedFor,
    /// It could not be read.
    Damaged,
    /// It knew of records that the block log does not hold.
    AheadOfLog,
    /// Another engine was chosen to keep it.
    OtherEngine,
}

impl fmt::Display for RebuildReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AskedFor => "asked for",
            Self::Damaged => "it was damaged",
            Self::AheadOfLog => "it was ahead of the block log",
            Self::OtherEngine => "another engine is to keep it",
        })
    }
}

impl Recovery {
    /// Nothing says that the last run did not end in good order.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        match self.rebuilt {
            // An index that is empty on purpose knows of no block.
            Some(RebuildReason::AskedFor | RebuildReason::OtherEngine) => self.torn.is_none(),
            _ => *self == Self::default(),
        }
    }
}

/// Brings the index up to the end of the log: rows for records from `from` on, interrupted moves
/// of the tip made again. Moving the tip to the best block is the caller's next task.
pub fn replay(
    store: &mut ChainStore,
    from: LogPosition,
    interrupted: Option<Interrupted>,
) -> Result<Recovery, StoreError> {
    let mut recovery = Recovery::default();
    let end = store.log_end();
    if let Some(Interrupted { log_end, .. }) = interrupted.as_ref().filter(|it| it.log_end > end) {
        return Err(LogError::LostTail { end, position: *log_end }.into());
    }
    for record in store.records(from) {
        let (position, record) = record?;
        if interrupted.is_none() && store.wants_commit() {
            store.settle(position)?;
            tracing::info!(at = %position, end = %end, "reading the block log");
        }
        match record.kind {
            RecordKind::Block | RecordKind::CertifiedBlock => {
                replay_block(store, position, &record)?;
                recovery.blocks_replayed += 1;
            }
            RecordKind::Undo => replay_undo(store, position, &record)?,
            RecordKind::Certificate => replay_certificate(store, position, &record)?,
        }
    }
    if let Some(Interrupted { steps, .. }) = interrupted {
        recovery.steps_redone = steps.len();
        for step in steps {
            redo(store, step).map_err(inconsistent)?;
        }
        store.settle(end)?;
    }
    Ok(recovery)
}

fn replay_block(
    store: &mut ChainStore,
    position: LogPosition,
    record: &Record,
) -> Result<(), StoreError> {
    let StoredBlock { height, chain_work, block, certificate_len } =
        payload::block_from_record(record)
            .map_err(|problem| StoreError::Record { position, problem })?;
    let hash = block.block_hash();
    // Before format 5 a block came again, with its certificate.
    let known = match record.kind {
        RecordKind::CertifiedBlock => IndexRead::block(store, &hash)?,
        RecordKind::Block | RecordKind::Undo | RecordKind::Certificate => None,
    };
    let entry = BlockEntry {
        header: block.header,
        height,
        chain_work,
        body: position,
        certificate_len,
        certificate: None,
        undo: known.as_ref().and_then(|it| it.undo),
        is_invalid: known.is_some_and(|it| it.is_invalid),
    };
    store.set_entry(&hash, &entry);
    Ok(())
}

fn replay_undo(
    store: &mut ChainStore,
    position: LogPosition,
    record: &Record,
) -> Result<(), StoreError> {
    let hash = payload::undo_block(&record.payload)
        .map_err(|problem| StoreError::Record { position, problem })?;
    let mut entry = store.block_entry(&hash).map_err(inconsistent)?;
    entry.undo = Some(position);
    store.set_entry(&hash, &entry);
    Ok(())
}

fn replay_certificate(
    store: &mut ChainStore,
    position: LogPosition,
    record: &Record,
) -> Result<(), StoreError> {
    let (hash, _) = payload::certificate_from_record(record)
        .map_err(|problem| StoreError::Record { position, problem })?;
    let mut entry = store.block_entry(&hash).map_err(inconsistent)?;
    entry.certificate = Some(position);
    store.set_entry(&hash, &entry);
    Ok(())
}

fn redo(store: &mut ChainStore, step: Step) -> Result<(), StoreError> {
    let (Step::Connect(hash) | Step::Disconnect(hash)) = step;
    let block = store.block(&hash)?;
    let spent = store.undo(&hash)?.ok_or(StoreError::NotAtTip { block: hash })?;
    let txids: Vec<_> = block.transactions.iter().map(Transaction::txid).collect();
    match step {
        Step::Connect(_) => store.connect(&block, &txids, &spent),
        Step::Disconnect(_) => store.disconnect(&block, &txids, &spent),
    }
}

/// An index whose notes do not fit the log is damaged: the caller rebuilds it.
fn inconsistent(error: StoreError) -> StoreError {
    match error {
        StoreError::UnknownBlock(_) | StoreError::NotAtTip { .. } | StoreError::Undo(_) => {
            IndexError::Malformed(MalformedRow(Table::State)).into()
        }
        other => other,
    }
}
