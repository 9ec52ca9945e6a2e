//! PRE-PREPARE (section 4.2 of the paper).

use super::Replica;
use super::slot::{Proposal, Stage};
use crate::event::Output;
use crate::evidence::Evidence;
use crate::keys::Keys;
use crate::message::PrePrepare;

impl<K: Keys> Replica<K> {
    /// Section 4.2: "is in view v", "h < n ≤ H", "has not accepted a pre-prepare message for view
    /// v and sequence number n containing a different digest"; what it costs to check comes last.
    pub(super) fn on_pre_prepare(&mut self, message: PrePrepare) {
        let signed = &message.signed;
        if signed.sender != self.credentials.quorum.primary(signed.view) || signed.view > self.view
        {
            return;
        }
        if signed.view < self.view || signed.sequence <= self.last.sequence {
            return self.help_straggler(None, signed.view, signed.sequence, signed);
        }
        if !self.is_in_window(signed.sequence) {
            return;
        }
        if !self.is_active {
            let is_new = !self.early_proposals.contains_key(&signed.sequence);
            if is_new && self.credentials.is_authentic(signed) {
                self.early_proposals.insert(signed.sequence, message);
            }
        } else if signed.sequence > self.base {
            self.take_proposal(&message);
        }
    }

    fn take_proposal(&mut self, message: &PrePrepare) {
        let signed = &message.signed;
        let held = self.slots.get(&signed.sequence).and_then(|slot| slot.proposal.as_ref());
        match held.map(|proposal| proposal.signed.clone()) {
            None => {
                if self.credentials.is_authentic(signed) {
                    self.heard.insert(signed.sender);
                    self.hold_proposal(message);
                }
            }
            Some(held) if held == *signed => {
                // Of a proposal that a NEW-VIEW repeated, the body may be missing.
                if let Some(slot) = self.slots.get_mut(&signed.sequence) {
                    slot.keep_body(signed.digest, &message.body);
                }
            }
            // Attack 1: the primary contradicts itself.
            Some(first) => {
                let differs = (first.digest, first.parent) != (signed.digest, signed.parent);
                if differs && self.credentials.is_authentic(signed) {
                    let second = signed.clone();
                    self.emit(Output::Evidence(Evidence::Equivocation { first, second }));
                    self.leave_view();
                }
            }
        }
    }

    /// Holds a proposal whose signature was checked, if there is none.
    pub(super) fn hold_proposal(&mut self, message: &PrePrepare) {
        let signed = message.signed.clone();
        let slot = self.slots.entry(signed.sequence).or_default();
        if slot.proposal.is_none() {
            let digest = signed.digest;
            slot.proposal = Some(Proposal { signed, is_first: true, stage: Stage::Received });
            slot.keep_body(digest, &message.body);
        }
    }
}
