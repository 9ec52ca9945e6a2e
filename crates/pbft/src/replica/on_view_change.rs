//! VIEW-CHANGE (section 4.4 of the paper).

use super::{Fault, Replica};
use crate::evidence::Evidence;
use crate::keys::Keys;
use crate::message::ViewChange;

impl<K: Keys> Replica<K> {
    /// One of each replica is kept, the one of the highest view. One that does not verify is
    /// dropped whole and stands in nobody's way (attack 10).
    pub(super) fn on_view_change(&mut self, message: ViewChange) {
        if message.view < self.view || (message.view == self.view && self.is_active) {
            return self.help_view_changer(&message);
        }
        let sender = message.sender;
        match self.view_changes.get(&sender) {
            Some(held) if held.view > message.view => return,
            // Sent again: its sender lacks what has become final here since it left its view.
            Some(held) if *held == message => return self.help_with_missed(&message),
            Some(held) if held.view == message.view => {
                let first = Box::new(held.clone());
                if !self.is_accused(sender, Fault::ViewChange)
                    && self.credentials.is_authentic(&message)
                {
                    let second = Box::new(message);
                    let evidence = Evidence::DoubleViewChange { first, second };
                    self.accuse(sender, Fault::ViewChange, evidence);
                }
                return;
            }
            _ => {}
        }
        if message.verify(&self.credentials, self.window).is_err() {
            return;
        }
        self.help_with_missed(&message);
        if let Some(certificate) = message.last_final.clone() {
            self.learn(certificate);
        }
        self.view_changes.insert(sender, message);
    }

    /// The blocks that the sender of a VIEW-CHANGE, which was checked, has not executed.
    fn help_with_missed(&mut self, message: &ViewChange) {
        if message.last_final_sequence() < self.last.sequence
            && let Some(missed) = message.last_final_sequence().next()
        {
            self.help_with_blocks(message.sender, missed);
        }
    }

    /// Its sender is behind, or lost the NEW-VIEW.
    fn help_view_changer(&mut self, message: &ViewChange) {
        let missed = message.last_final_sequence().next();
        let missed = missed.filter(|missed| self.can_help_with_block(message.sender, *missed));
        let lacks_view = self.can_help_with_view(message.sender);
        if (lacks_view || missed.is_some()) && self.credentials.is_authentic(message) {
            if lacks_view {
                self.help_with_view(message.sender);
            }
            if let Some(missed) = missed {
                self.help_with_blocks(message.sender, missed);
            }
        }
    }
}
