//! What the safety log must hold, no more.

use super::Replica;
use super::slot::Slot;
use crate::event::Output;
use crate::keys::Keys;
use crate::message::{PrePrepare, SignedPrePrepare};
use crate::record::Record;

/// Bytes after which the log is rewritten, stable checkpoint or not: only what is in flight must
/// stay, for what is final has its certificate in the chain.
const LOG_BYTES_MAX: usize = 64 * 1024 * 1024;

impl<K: Keys> Replica<K> {
    /// Writes down what the outputs that follow rest on.
    pub(super) fn persist(&mut self, record: Record) {
        self.log_bytes = self.log_bytes.saturating_add(record.encoded_len());
        self.emit(Output::Persist(record));
    }

    /// Replaces the log by what must stay.
    pub(super) fn compact(&mut self) {
        let records = self.records();
        self.log_bytes = bytes_of(&records);
        self.emit(Output::Compact(records));
    }

    /// Keeps the log short where checkpoints do not: with large blocks, and through many view
    /// changes without a block.
    pub(super) fn bound_log(&mut self) {
        if self.log_bytes > LOG_BYTES_MAX {
            self.compact();
        }
    }

    /// All that a restart needs, in an order that it can be read back in.
    pub(super) fn records(&self) -> Vec<Record> {
        let mut records = Vec::new();
        records.extend(self.checkpoints.stable().cloned().map(Record::StableCheckpoint));
        records.extend(self.checkpoints.own().into_iter().map(Record::Checkpoint));
        if self.is_active {
            records.extend(self.new_view.clone().map(Record::NewView));
        } else {
            let own = self.view_changes.get(&self.credentials.own);
            records.extend(own.cloned().map(Record::ViewChange));
        }
        for slot in self.slots.values() {
            if let Some(certificate) = &slot.prepared {
                records.extend(with_body(slot, &certificate.pre_prepare));
                records.push(Record::Prepared(certificate.clone()));
            }
            let prepared = slot.prepared.as_ref().map(|certificate| &certificate.pre_prepare);
            let accepted = slot.accepted().map(|proposal| &proposal.signed);
            if let Some(accepted) = accepted.filter(|accepted| Some(*accepted) != prepared) {
                records.extend(with_body(slot, accepted));
            }
        }
        records
    }
}

/// Bytes of a log.
pub(super) fn bytes_of(records: &[Record]) -> usize {
    records.iter().map(Record::encoded_len).fold(0, usize::saturating_add)
}

fn with_body(slot: &Slot, signed: &SignedPrePrepare) -> Option<Record> {
    let body = slot.bodies.get(&signed.digest)?.clone();
    Some(Record::PrePrepare(PrePrepare { signed: signed.clone(), body }))
}
