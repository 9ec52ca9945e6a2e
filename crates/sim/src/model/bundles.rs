//! Which messages a replica receives in one move.
//!
//! A vote by itself makes a replica do nothing; it waits for a quorum of them. Since what was sent
//! stays there to be received, a run in which votes come one by one has the same effects as one in
//! which those that make the quorum come together, when the last of them did. So PREPAREs and
//! COMMITs for one block, and VIEW-CHANGEs into one view, are received in bundles; the order within
//! a bundle is that of the senders. Of PREPAREs and COMMITs, the first that make a quorum are
//! received: which others would, makes no difference but in the names of the signers. A weak quorum
//! of VIEW-CHANGEs makes a replica join a view, as its own timer may, or a NEW-VIEW, so it needs no
//! move of its own.
//!
//! Left out is what has no effect but repetition: messages of views that the replica has left, and
//! of views that it has not entered, which it can receive once it has. The simulation has both.

use std::collections::{BTreeMap, BTreeSet};

use pentad_pbft::{Message, ReplicaId};
use pentad_primitives::Hash256;

use super::tables::Move;
use super::{Pbft, REPLICAS};

/// Votes for one block at one sequence, by kind.
type Votes = BTreeMap<(bool, u64, Hash256), Vec<u32>>;

impl Pbft {
    /// Everything that replica `node` can receive, by the numbers of the bundles.
    pub(super) fn bundles(&self, id: u32, node: usize, posts: &[u32]) -> Vec<u32> {
        let local = self.tables.local(id);
        let (view, waits) = (local.view(), local.is_in_view_change());
        let mut found = Vec::new();
        let mut votes = Votes::new();
        let mut view_changes: BTreeMap<u64, BTreeMap<ReplicaId, Vec<u32>>> = BTreeMap::new();
        for number in posts.iter().copied().filter(|post| self.tables.is_for(*post, node)) {
            let post = self.tables.post(number);
            match &post.message {
                Message::Prepare(vote) | Message::Commit(vote) => {
                    if vote.view.get() == view && !waits && vote.sequence.get() > local.height() {
                        let is_commit = matches!(post.message, Message::Commit(_));
                        let key = (is_commit, vote.sequence.get(), vote.digest);
                        votes.entry(key).or_default().push(number);
                    }
                }
                Message::PrePrepare(proposal) => {
                    let signed = &proposal.signed;
                    if signed.view.get() == view && !waits && signed.sequence.get() > local.height()
                    {
                        found.push(self.tables.bundle(&[number]));
                    }
                }
                Message::ViewChange(message) => {
                    if message.view.get() == view && waits {
                        let senders = view_changes.entry(view).or_default();
                        senders.entry(message.sender).or_default().push(number);
                    }
                }
                Message::NewView(message) => {
                    if message.view.get() > view || (message.view.get() == view && waits) {
                        found.push(self.tables.bundle(&[number]));
                    }
                }
                _ => found.push(self.tables.bundle(&[number])),
            }
        }
        found.extend(votes.into_values().filter_map(|mut votes| {
            votes.sort_by_key(|post| self.tables.post(*post).from);
            let mut bundles = (1..=votes.len()).map(|count| self.tables.bundle(&votes[..count]));
            bundles.find(|bundle| self.is_quorum(id, *bundle))
        }));
        // A primary needs a quorum to start its view, anyone to time its NEW-VIEW.
        let is_primary = view % REPLICAS as u64 == node as u64;
        if is_primary || view < self.scope.last_view {
            for senders in view_changes.into_values() {
                found.extend(self.quorums(&senders));
            }
        }
        found
    }

    /// Whether the votes make the replica do something.
    fn is_quorum(&self, local: u32, bundle: u32) -> bool {
        self.tables.perform(local, Move::Deliver(bundle)).is_some_and(|moved| {
            let height = |local| self.tables.local(local).height();
            moved.records > 0 || !moved.posts.is_empty() || height(moved.local) > height(local)
        })
    }

    /// Every choice of one VIEW-CHANGE from each of two others: with its own, a quorum.
    fn quorums(&self, senders: &BTreeMap<ReplicaId, Vec<u32>>) -> BTreeSet<u32> {
        let mut found = BTreeSet::new();
        for (one, first) in senders {
            for (_, second) in senders.iter().filter(|(other, _)| *other > one) {
                for left in first {
                    found.extend(second.iter().map(|right| self.tables.bundle(&[*left, *right])));
                }
            }
        }
        found
    }
}
