//! CHECKPOINT (section 4.3 of the paper).

use super::{Fault, Replica};
use crate::evidence::Evidence;
use crate::keys::Keys;
use crate::message::Checkpoint;

impl<K: Keys> Replica<K> {
    pub(super) fn on_checkpoint(&mut self, message: Checkpoint) {
        if !self.is_checkpoint(message.sequence) {
            return;
        }
        if message.sequence <= self.checkpoints.stable_sequence() {
            return self.help_with_checkpoint(message.sender, &message);
        }
        // Far ahead of what is executed here it can wait: its sender answers later with a newer.
        let distance = self.checkpoint_interval.saturating_mul(2);
        if message.sequence > self.last.sequence.plus(distance) {
            return;
        }
        match self.checkpoints.held(message.sender, message.sequence) {
            None => {
                if self.credentials.is_authentic(&message) {
                    self.checkpoints.keep(message);
                }
            }
            Some(first) if (first.digest, first.root) == (message.digest, message.root) => {}
            Some(first) => {
                if !self.is_accused(message.sender, Fault::Checkpoint)
                    && self.credentials.is_authentic(&message)
                {
                    let evidence = Evidence::DoubleCheckpoint { first, second: message };
                    self.accuse(message.sender, Fault::Checkpoint, evidence);
                }
            }
        }
    }
}
