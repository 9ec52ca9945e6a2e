//! What the safety log must hold, no more.

use super::Replica;
use super::slot::Slot;
use crate::keys::Keys;
use crate::message::{PrePrepare, SignedPrePrepare};
use crate::record::Record;

impl<K: Keys> Replica<K> {
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

fn with_body(slot: &Slot, signed: &SignedPrePrepare) -> Option<Record> {
    let body = slot.bodies.get(&signed.digest)?.clone();
    Some(Record::PrePrepare(PrePrepare { signed: signed.clone(), body }))
}
