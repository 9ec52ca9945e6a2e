//! View changes (section 4.4 of the paper).

use super::slot::{Proposal, Stage};
use super::{Fault, Replica};
use crate::identifiers::{ReplicaId, View};
use crate::keys::Keys;
use crate::message::{Message, NewView, ViewChange};
use crate::record::Record;

impl<K: Keys> Replica<K> {
    /// Leaves the view, or gives up waiting for it, for the next one.
    pub(super) fn leave_view(&mut self) {
        if let Some(next) = self.view.next() {
            self.change_view(next);
        }
    }

    /// Section 4.4: "stops accepting messages … and multicasts a VIEW-CHANGE". What it says is
    /// written down with it and never changes.
    fn change_view(&mut self, view: View) {
        self.view = view;
        self.is_active = false;
        self.new_view = None;
        self.forget_view();
        self.timers.view_failed();
        self.early.drop_below(view);
        self.view_changes.retain(|_, held| held.view >= view);
        let prepared = self.slots.values().filter_map(|slot| slot.prepared.clone()).collect();
        let certificate = self.last.certificate.clone();
        let own = ViewChange::sign(&self.credentials, view, certificate, prepared);
        self.view_changes.insert(own.sender, own.clone());
        self.persist(Record::ViewChange(own.clone()));
        self.send_all(Message::ViewChange(own));
    }

    /// Drops what belongs to the view that is left.
    pub(super) fn forget_view(&mut self) {
        for slot in self.slots.values_mut() {
            slot.leave_view();
        }
        self.slots.retain(|_, slot| !slot.is_empty());
        self.early_proposals.clear();
        self.heard.clear();
        self.fetching.clear();
        self.accused.retain(|(_, fault)| *fault == Fault::Checkpoint);
    }

    /// Section 4.5.2: f + 1 VIEW-CHANGEs for higher views come from an honest replica at least;
    /// join the smallest of those views, "even if its timer has not expired".
    pub(super) fn join_view(&mut self) -> bool {
        let higher = self.view_changes.values().map(|held| held.view);
        let higher: Vec<View> = higher.filter(|view| *view > self.view).collect();
        match higher.iter().min() {
            Some(smallest) if higher.len() >= self.credentials.quorum.weak_quorum() => {
                self.change_view(*smallest);
                true
            }
            _ => false,
        }
    }

    /// Section 4.4: the primary of the view that is waited for has the VIEW-CHANGEs of a quorum.
    pub(super) fn start_new_view(&mut self) -> bool {
        if self.is_active || !self.is_primary() {
            return false;
        }
        let Some(view_changes) = self.view_changes_of_quorum() else {
            return false;
        };
        let new_view = NewView::sign(&self.credentials, self.view, view_changes);
        self.persist(Record::NewView(new_view.clone()));
        self.send_all(Message::NewView(new_view.clone()));
        self.enter_view(new_view);
        true
    }

    /// VIEW-CHANGEs into its view of a quorum, its own among them, in the order of the replicas.
    fn view_changes_of_quorum(&self) -> Option<Vec<ViewChange>> {
        let own = self.credentials.own;
        let needed = self.credentials.quorum.quorum();
        let matching = self.view_changes.values().filter(|held| held.view == self.view);
        let (mine, mut chosen): (Vec<_>, Vec<_>) = matching.partition(|held| held.sender == own);
        chosen.truncate(needed.saturating_sub(1));
        chosen.extend(mine);
        chosen.sort_by_key(|held| held.sender);
        (chosen.len() == needed).then(|| chosen.into_iter().cloned().collect())
    }

    /// Section 4.4: enters a view whose NEW-VIEW was checked and written down.
    pub(super) fn enter_view(&mut self, new_view: NewView) {
        self.install_view(new_view);
        for (phase, vote) in self.early.take(self.view) {
            self.heard.insert(vote.sender);
            self.hold_vote(phase, vote);
        }
        self.assume_view_known();
        self.bound_log();
    }

    /// The part of entering a view that a restart repeats.
    pub(super) fn install_view(&mut self, new_view: NewView) {
        let waited = self.view == new_view.view;
        let mut early = std::mem::take(&mut self.early_proposals);
        let heard = std::mem::take(&mut self.heard);
        self.forget_view();
        self.heard = heard;
        self.view = new_view.view;
        self.is_active = true;
        self.base = new_view.base_sequence();
        self.view_changes.retain(|_, held| held.view > new_view.view);
        for signed in &new_view.proposals {
            if signed.sequence > self.last.sequence {
                let slot = self.slots.entry(signed.sequence).or_default();
                let (signed, stage) = (signed.clone(), Stage::Received);
                slot.proposal = Some(Proposal { signed, is_first: false, stage });
            }
        }
        let base = new_view.base().cloned();
        self.new_view = Some(new_view);
        if let Some(certificate) = base {
            self.learn(certificate);
        }
        if waited {
            early.retain(|sequence, _| *sequence > self.base);
            for message in early.values() {
                self.hold_proposal(message);
            }
        }
    }

    /// A quorum wants to leave the views below this one: from now on its primary must act.
    pub(super) fn has_quorum_of_view_changes(&self) -> bool {
        let wanting = self.view_changes.values().filter(|held| held.view >= self.view);
        wanting.count() >= self.credentials.quorum.quorum()
    }

    /// Who wants to leave for which view.
    pub(super) fn view_changers(&self) -> Vec<(ReplicaId, View)> {
        self.view_changes.iter().map(|(replica, held)| (*replica, held.view)).collect()
    }
}
