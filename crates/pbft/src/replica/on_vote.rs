//! PREPARE and COMMIT (section 4.2 of the paper).

use super::{Fault, Replica};
use crate::evidence::Evidence;
use crate::keys::Keys;
use crate::message::{Phase, Vote};

impl<K: Keys> Replica<K> {
    /// Section 4.2: votes are kept "provided their signatures are correct, their view number
    /// equals the replica's current view, and their sequence number is between h and H"; before
    /// the proposal as well, and in bounds for views not entered yet.
    pub(super) fn on_vote(&mut self, phase: Phase, vote: Vote) {
        // The primary's PRE-PREPARE is its PREPARE (attack 5).
        if phase == Phase::Prepare && vote.sender == self.credentials.quorum.primary(vote.view) {
            return;
        }
        if vote.view < self.view || vote.sequence <= self.last.sequence {
            return self.help_straggler(Some(phase), vote.view, vote.sequence, &vote.of(phase));
        }
        if !self.is_in_window(vote.sequence) {
            return;
        }
        if vote.view > self.view || !self.is_active {
            if self.early.wants(phase, &vote) && self.credentials.is_authentic(&vote.of(phase)) {
                self.early.keep(phase, vote);
            }
            return;
        }
        let held = self.slots.get(&vote.sequence).and_then(|slot| {
            let votes = slot.votes(phase);
            votes.get(&vote.sender).copied()
        });
        let fault = Fault::Vote(phase, vote.sequence);
        match held {
            // Sent again.
            Some(first) if first.digest == vote.digest => {}
            // Attack 6: the first one counts.
            Some(first) => {
                if !self.is_accused(vote.sender, fault)
                    && self.credentials.is_authentic(&vote.of(phase))
                {
                    let evidence = Evidence::DoubleVote { phase, first, second: vote };
                    self.accuse(vote.sender, fault, evidence);
                }
            }
            None => {
                if self.credentials.is_authentic(&vote.of(phase)) {
                    self.heard.insert(vote.sender);
                    self.hold_vote(phase, vote);
                }
            }
        }
    }

    /// Holds a vote of this view whose signature was checked, if its sender has none.
    pub(super) fn hold_vote(&mut self, phase: Phase, vote: Vote) {
        if self.is_in_window(vote.sequence) {
            let slot = self.slots.entry(vote.sequence).or_default();
            slot.votes_mut(phase).entry(vote.sender).or_insert(vote);
        }
    }
}
