//! Votes that arrive before this replica has entered their view.

use std::collections::BTreeMap;

use crate::identifiers::{ReplicaId, Sequence, View};
use crate::message::{Phase, Vote};

/// For each sender its votes of one view, the highest seen: a sender crowds out none but its own,
/// and honest ones never go back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct EarlyVotes {
    senders: BTreeMap<ReplicaId, (View, Votes)>,
}

type Votes = BTreeMap<(Sequence, Phase), Vote>;

impl EarlyVotes {
    /// Whether the vote would be kept; asked before its signature is checked.
    pub fn wants(&self, phase: Phase, vote: &Vote) -> bool {
        self.senders.get(&vote.sender).is_none_or(|(view, votes)| {
            vote.view > *view
                || (vote.view == *view && !votes.contains_key(&(vote.sequence, phase)))
        })
    }

    pub fn keep(&mut self, phase: Phase, vote: Vote) {
        if !self.wants(phase, &vote) {
            return;
        }
        let (view, votes) = self.senders.entry(vote.sender).or_default();
        if vote.view > *view {
            *view = vote.view;
            votes.clear();
        }
        votes.insert((vote.sequence, phase), vote);
    }

    /// The votes of a view that is entered; those below it are dropped.
    pub fn take(&mut self, entered: View) -> Vec<(Phase, Vote)> {
        let mut taken = Vec::new();
        self.senders.retain(|_, (view, votes)| {
            if *view == entered {
                taken.extend(votes.iter().map(|((_, phase), vote)| (*phase, *vote)));
            }
            *view > entered
        });
        taken
    }

    /// Drops the votes of views below one that was left for it.
    pub fn drop_below(&mut self, view: View) {
        self.senders.retain(|_, (of, _)| *of >= view);
    }

    /// Drops the votes for sequences that are executed.
    pub fn drop_executed(&mut self, last: Sequence) {
        for (_, votes) in self.senders.values_mut() {
            votes.retain(|(sequence, _), _| *sequence > last);
        }
        self.senders.retain(|_, (_, votes)| !votes.is_empty());
    }

    pub fn len(&self) -> usize {
        self.senders.values().map(|(_, votes)| votes.len()).sum()
    }
}
