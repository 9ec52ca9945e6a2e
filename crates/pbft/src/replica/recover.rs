//! Coming back after a restart.

use std::collections::BTreeMap;
use std::sync::Arc;

use pentad_primitives::Hash256;

use super::Replica;
use super::log::bytes_of;
use super::slot::{Proposal, Stage};
use crate::identifiers::Sequence;
use crate::keys::Keys;
use crate::message::{Phase, PrePrepare, ViewChange};
use crate::record::Record;

type Bodies = BTreeMap<Hash256, Arc<[u8]>>;

impl<K: Keys> Replica<K> {
    /// Reads the safety log back, then says again what was under way, in the same bytes.
    pub(super) fn recover(
        &mut self,
        records: Vec<Record>,
        checkpoint: Option<(Sequence, Hash256, Hash256)>,
    ) {
        self.log_bytes = bytes_of(&records);
        let mut bodies = Bodies::new();
        for record in records {
            self.restore(record, &mut bodies);
        }
        self.restore_bodies(&bodies);
        self.restore_own_votes();
        if let Some((sequence, digest, root)) = checkpoint {
            let has_said = self.checkpoints.own().iter().any(|own| own.sequence == sequence);
            self.checkpoints.forget_all_own_but(sequence, digest, root);
            if !has_said {
                self.take_checkpoint(sequence, digest, root);
            }
        }
        if !self.is_alone() {
            self.resend();
        }
    }

    fn restore(&mut self, record: Record, bodies: &mut Bodies) {
        match record {
            Record::ViewChange(own) => self.restore_view_change(own),
            Record::NewView(new_view) => {
                if new_view.view >= self.view {
                    self.install_view(new_view);
                }
            }
            Record::PrePrepare(accepted) => self.restore_accepted(accepted, bodies),
            Record::Prepared(certificate) => {
                if certificate.sequence() > self.last.sequence {
                    let slot = self.slots.entry(certificate.sequence()).or_default();
                    if slot.prepared.as_ref().is_none_or(|held| held.view() < certificate.view()) {
                        slot.prepared = Some(certificate);
                    }
                }
            }
            Record::Checkpoint(own) => self.checkpoints.keep_own(own),
            Record::StableCheckpoint(stable) => {
                if stable.sequence > self.checkpoints.stable_sequence() {
                    self.checkpoints.set_stable(stable);
                }
            }
        }
    }

    fn restore_view_change(&mut self, own: ViewChange) {
        if own.view > self.view {
            self.view = own.view;
            self.is_active = false;
            self.new_view = None;
            self.forget_view();
            self.view_changes.clear();
            self.view_changes.insert(own.sender, own);
        }
    }

    fn restore_accepted(&mut self, accepted: PrePrepare, bodies: &mut Bodies) {
        let PrePrepare { signed, body } = accepted;
        if signed.sequence <= self.last.sequence {
            return;
        }
        bodies.insert(signed.digest, body);
        let slot = self.slots.entry(signed.sequence).or_default();
        if self.is_active && signed.view == self.view {
            // A proposal that a NEW-VIEW repeats is no first one.
            let is_first = slot.proposal.is_none();
            slot.proposal = Some(Proposal { signed, is_first, stage: Stage::Accepted });
        } else {
            slot.accepted_before = Some(signed.digest);
        }
    }

    fn restore_bodies(&mut self, bodies: &Bodies) {
        for slot in self.slots.values_mut() {
            for (digest, body) in bodies {
                slot.keep_body(*digest, body);
            }
        }
    }

    /// The same signatures as before: signing is deterministic.
    fn restore_own_votes(&mut self) {
        if !self.is_active {
            return;
        }
        let mut votes = Vec::new();
        for (sequence, slot) in &self.slots {
            if let Some(proposal) = slot.accepted()
                && proposal.signed.sender != self.credentials.own
            {
                votes.push((Phase::Prepare, *sequence, proposal.signed.digest));
            }
            if let Some(certificate) = &slot.prepared
                && certificate.view() == self.view
            {
                votes.push((Phase::Commit, *sequence, certificate.pre_prepare.digest));
            }
        }
        for (phase, sequence, digest) in votes {
            self.count_own_vote(phase, sequence, digest);
        }
    }
}
