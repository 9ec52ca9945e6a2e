//! Timers that ran out, and suspicions.

use super::Replica;
use crate::event::Timer;
use crate::identifiers::View;
use crate::keys::Keys;
use crate::message::{Message, Phase, PrePrepare};

impl<K: Keys> Replica<K> {
    pub(super) fn on_timeout(&mut self, timer: Timer) {
        if !self.timers.expire(timer) {
            return;
        }
        match timer {
            // Section 4.4: "if the timer of a backup expires in view v, it starts a view change".
            // In a view change that does not end: section 4.5.2, on to the next.
            Timer::View => self.leave_view(),
            Timer::Resend => self.resend(),
        }
    }

    /// The driver's own observation of the primary (attacks 3 and 4).
    pub(super) fn on_suspect(&mut self, view: View) {
        if view == self.view && self.is_active && !self.is_alone() {
            self.leave_view();
        }
    }

    /// Sends again, byte for byte, what others may have missed.
    pub(super) fn resend(&mut self) {
        self.timers.resent();
        self.helped.clear();
        for checkpoint in self.checkpoints.own() {
            if checkpoint.sequence > self.checkpoints.stable_sequence() {
                self.send_all(Message::Checkpoint(checkpoint));
            }
        }
        if self.is_active {
            self.resend_in_flight();
        } else if let Some(own) = self.view_changes.get(&self.credentials.own).cloned() {
            self.send_all(Message::ViewChange(own));
        }
        self.ask_again_for_bodies();
    }

    fn resend_in_flight(&mut self) {
        let own = self.credentials.own;
        let mut to_all = Vec::new();
        let mut proposals = Vec::new();
        for slot in self.slots.values() {
            if let Some(proposal) = slot.accepted().filter(|accepted| accepted.signed.sender == own)
                && let Some(body) = slot.bodies.get(&proposal.signed.digest)
            {
                let others = self.credentials.quorum.ids().filter(|id| self.is_other(*id));
                let signed = proposal.signed.clone();
                let message = PrePrepare { signed, body: body.clone() };
                proposals.extend(
                    others.filter(|id| !slot.has_vote_of(*id)).map(|id| (id, message.clone())),
                );
            }
            to_all.extend(slot.votes(Phase::Prepare).get(&own).copied().map(Message::Prepare));
            to_all.extend(slot.votes(Phase::Commit).get(&own).copied().map(Message::Commit));
        }
        if !proposals.is_empty() {
            for replica in self.unheard() {
                self.help_with_view(replica);
            }
        }
        for (replica, message) in proposals {
            self.send_to(replica, Message::PrePrepare(message));
        }
        for message in to_all {
            self.send_all(message);
        }
    }
}
