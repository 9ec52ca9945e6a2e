//! The primary's own proposals, and the ledger's verdict on those of others.

use std::sync::Arc;

use pentad_primitives::Hash256;

use super::Replica;
use super::slot::Stage;
use crate::event::Output;
use crate::evidence::Evidence;
use crate::identifiers::{Sequence, View};
use crate::keys::Keys;
use crate::message::{Message, PrePrepare, SignedPrePrepare};

impl<K: Keys> Replica<K> {
    /// Asks for a block to propose, once there is work and a place for it.
    pub(super) fn ask_for_proposal(&mut self) -> bool {
        let place = self.next_place();
        if place == self.proposing {
            return false;
        }
        self.proposing = place;
        if let Some((view, sequence, parent)) = place {
            self.emit(Output::Propose { view, sequence, parent });
        }
        true
    }

    /// The lowest sequence without a proposal, and the block below it.
    fn next_place(&self) -> Option<(View, Sequence, Hash256)> {
        if !self.is_active || !self.is_primary() || !self.is_pending {
            return None;
        }
        let (mut last, mut parent) = (self.last.sequence, self.last.digest);
        loop {
            let sequence = last.next().filter(|sequence| self.is_votable(*sequence))?;
            let Some(slot) = self.slots.get(&sequence) else {
                return Some((self.view, sequence, parent));
            };
            if slot.proposal.is_none() && slot.certificate.is_none() {
                return Some((self.view, sequence, parent));
            }
            (last, parent) = (sequence, slot.digest()?);
        }
    }

    /// Section 4.2: the primary "multicasts a pre-prepare message to all the backups".
    pub(super) fn on_proposal(
        &mut self,
        view: View,
        sequence: Sequence,
        digest: Hash256,
        parent: Hash256,
        body: Arc<[u8]>,
    ) {
        if self.next_place() != Some((view, sequence, parent)) {
            return;
        }
        let signed = SignedPrePrepare::sign(&self.credentials, view, sequence, digest, parent);
        let message = PrePrepare { signed, body };
        self.hold_proposal(&message);
        self.accept(message.clone());
        for replica in self.unheard() {
            self.help_with_view(replica);
        }
        self.send_all(Message::PrePrepare(message));
    }

    /// Those of whom nothing shows that they are in this view.
    pub(super) fn unheard(&self) -> Vec<crate::identifiers::ReplicaId> {
        let others = self.credentials.quorum.ids().filter(|replica| self.is_other(*replica));
        others.filter(|replica| !self.heard.contains(replica)).collect()
    }

    /// A refused proposal stays where it is, so that a primary costs one check for each sequence
    /// of its view (attack 17); without progress the timer runs out.
    pub(super) fn on_checked(
        &mut self,
        view: View,
        sequence: Sequence,
        digest: Hash256,
        verdict: Result<(), String>,
    ) {
        if view != self.view || !self.is_active {
            return;
        }
        let Some(slot) = self.slots.get(&sequence) else {
            return;
        };
        let asked = slot.proposal.as_ref().filter(|proposal| {
            proposal.stage == Stage::Checking && proposal.signed.digest == digest
        });
        let Some(proposal) = asked.cloned() else {
            return;
        };
        let signed = proposal.signed;
        match (verdict, slot.bodies.get(&digest).cloned()) {
            (Ok(()), Some(body)) => self.accept(PrePrepare { signed, body }),
            (Ok(()), None) => {}
            (Err(reason), _) => {
                self.set_stage(sequence, Stage::Rejected);
                if proposal.is_first {
                    let evidence = Evidence::InvalidProposal { proposal: signed, reason };
                    self.emit(Output::Evidence(evidence));
                }
            }
        }
    }
}
