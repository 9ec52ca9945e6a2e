//! Help for replicas that are behind: each gets each thing once per tick of the resend timer, and
//! only on a message that it signed.

use pentad_primitives::Hash256;

use super::Replica;
use crate::credentials::Signed;
use crate::identifiers::{ReplicaId, Sequence, View};
use crate::keys::Keys;
use crate::message::{Message, Phase};

/// What a replica is helped with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Help {
    NewView,
    Checkpoint,
    Certified(Sequence),
    Body(Hash256),
}

impl<K: Keys> Replica<K> {
    /// Someone speaks of a view that was left, or of a sequence that is executed.
    ///
    /// In the normal case the last votes for a block come after its execution: only what comes a
    /// second time shows that its sender waits.
    pub(super) fn help_straggler(
        &mut self,
        kind: Option<Phase>,
        view: View,
        sequence: Sequence,
        signed: &impl Signed,
    ) {
        let replica = signed.sender();
        let is_repeated = self.recent.contains_key(&sequence)
            && !self.late_votes.insert((sequence, replica, kind));
        let lacks_block = is_repeated && self.can_help_with_block(replica, sequence);
        let lacks_view = view < self.view && self.can_help_with_view(replica);
        if (lacks_view || lacks_block) && self.credentials.is_authentic(signed) {
            if lacks_view {
                self.help_with_view(replica);
            }
            if lacks_block {
                self.help_with_blocks(replica, sequence);
            }
        }
    }

    pub(super) fn can_help_with_view(&self, replica: ReplicaId) -> bool {
        self.is_active && self.new_view.is_some() && self.can_help(replica, Help::NewView)
    }

    pub(super) fn can_help_with_block(&self, replica: ReplicaId, sequence: Sequence) -> bool {
        self.recent.contains_key(&sequence) && self.can_help(replica, Help::Certified(sequence))
    }

    fn can_help(&self, replica: ReplicaId, help: Help) -> bool {
        !self.helped.contains(&(replica, help))
    }

    /// Sends the NEW-VIEW of this replica's view, which anybody may pass on.
    pub(super) fn help_with_view(&mut self, replica: ReplicaId) {
        if let Some(new_view) = self.new_view.clone()
            && self.helped.insert((replica, Help::NewView))
        {
            self.send_to(replica, Message::NewView(new_view));
        }
    }

    /// Others have it on the way to them: they are helped after the next tick at the earliest.
    pub(super) fn assume_view_known(&mut self) {
        let quorum = self.credentials.quorum;
        for replica in quorum.ids().filter(|replica| *replica != self.credentials.own) {
            self.helped.insert((replica, Help::NewView));
        }
    }

    /// Sends the blocks from `first` on, if it holds the first: with a gap they are of no use.
    pub(super) fn help_with_blocks(&mut self, replica: ReplicaId, first: Sequence) {
        if !self.recent.contains_key(&first) {
            return;
        }
        let blocks: Vec<_> =
            self.recent.range(first..).map(|(s, block)| (*s, block.clone())).collect();
        for (sequence, block) in blocks {
            if self.helped.insert((replica, Help::Certified(sequence))) {
                self.send_to(replica, Message::Certified(block));
            }
        }
    }

    /// Sends this replica's own checkpoints to one whose watermarks lag.
    pub(super) fn help_with_checkpoint(&mut self, replica: ReplicaId, signed: &impl Signed) {
        if !self.can_help(replica, Help::Checkpoint) || !self.credentials.is_authentic(signed) {
            return;
        }
        self.helped.insert((replica, Help::Checkpoint));
        for checkpoint in self.checkpoints.own() {
            self.send_to(replica, Message::Checkpoint(checkpoint));
        }
    }

    /// Sends what it has of a block that a replica asks for.
    pub(super) fn help_with_body(&mut self, replica: ReplicaId, digest: Hash256, s: &impl Signed) {
        let Some(answer) = self.find_body(digest) else {
            return;
        };
        if self.can_help(replica, Help::Body(digest)) && self.credentials.is_authentic(s) {
            self.helped.insert((replica, Help::Body(digest)));
            self.send_to(replica, answer);
        }
    }
}
