//! A block is final and durable here.

use pentad_primitives::Hash256;

use super::Replica;
use super::slot::Slot;
use crate::certificate::CommitCertificate;
use crate::identifiers::{ReplicaId, Sequence};
use crate::keys::Keys;
use crate::message::{Certified, Phase};

impl<K: Keys> Replica<K> {
    /// By this replica's own doing or by sync, in any view and in the middle of a view change.
    pub(super) fn on_executed(
        &mut self,
        sequence: Sequence,
        digest: Hash256,
        certificate: CommitCertificate,
    ) {
        // A certificate for another block than one that is certified already.
        self.learn(certificate.clone());
        if sequence <= self.last.sequence || self.halted.is_some() {
            return;
        }
        let above = sequence.next().map(|next| self.slots.split_off(&next)).unwrap_or_default();
        let below = std::mem::replace(&mut self.slots, above);
        for (sequence, slot) in &below {
            self.remember_voters(*sequence, slot);
        }
        let body = below.get(&sequence).and_then(|slot| slot.bodies.get(&digest)).cloned();
        if let Some(body) = body {
            let certificate = certificate.clone();
            self.recent.insert(sequence, Certified { certificate, body });
        }
        self.last.sequence = sequence;
        self.last.digest = digest;
        self.last.certificate = Some(certificate);
        self.forget_executed();
        self.bound_log();
    }

    fn remember_voters(&mut self, sequence: Sequence, slot: &Slot) {
        let mut remember = |replica: ReplicaId, kind: Option<Phase>| {
            self.late_votes.insert((sequence, replica, kind));
        };
        if let Some(proposal) = &slot.proposal {
            remember(proposal.signed.sender, None);
        }
        for phase in [Phase::Prepare, Phase::Commit] {
            for replica in slot.votes(phase).keys() {
                remember(*replica, Some(phase));
            }
        }
    }

    fn forget_executed(&mut self) {
        let last = self.last.sequence;
        let kept = usize::try_from(self.window.saturating_mul(2)).unwrap_or(usize::MAX);
        while self.recent.len() > kept {
            self.recent.pop_first();
        }
        // Blocks below a gap are of no use to those who lack the gap.
        let mut oldest = last;
        while let Some(below) = oldest.prev().filter(|below| self.recent.contains_key(below)) {
            oldest = below;
        }
        self.recent.retain(|sequence, _| *sequence >= oldest);
        let recent = &self.recent;
        self.late_votes.retain(|(sequence, _, _)| recent.contains_key(sequence));
        self.executing = self.executing.filter(|sequence| *sequence > last);
        self.early.drop_executed(last);
        self.early_proposals.retain(|sequence, _| *sequence > last);
        self.fetching.clear();
        self.accused.retain(|(_, fault)| match fault {
            super::Fault::Vote(_, sequence) => *sequence > last,
            super::Fault::ViewChange | super::Fault::Checkpoint => true,
        });
        self.timers.made_progress(self.is_active);
    }
}
