//! Asking for bodies that are missing.

use std::collections::btree_map::Entry;

use pentad_primitives::Hash256;

use super::Replica;
use crate::identifiers::ReplicaId;
use crate::keys::Keys;
use crate::message::{Body, FetchBody, Message};

impl<K: Keys> Replica<K> {
    /// Asks for a body, unless it was asked for.
    pub(super) fn want_body(&mut self, digest: Hash256) {
        if let Entry::Vacant(entry) = self.fetching.entry(digest) {
            entry.insert(0);
            self.ask_for_body(digest, 0);
        }
    }

    /// Asks the next replicas in turn for the bodies that did not come, and for a block that a
    /// proposal names as its parent while nothing else of it came.
    pub(super) fn ask_again_for_bodies(&mut self) {
        let attempts: Vec<_> = self
            .fetching
            .iter_mut()
            .map(|(digest, attempts)| {
                *attempts = attempts.wrapping_add(1);
                (*digest, *attempts)
            })
            .collect();
        for (digest, attempt) in attempts {
            self.ask_for_body(digest, attempt);
        }
        if let Some(parent) = self.missed_parent() {
            self.want_body(parent);
        }
    }

    /// The parent of the lowest proposal, if nothing stands at its sequence.
    fn missed_parent(&self) -> Option<Hash256> {
        let (sequence, proposal) = self
            .slots
            .iter()
            .find_map(|(sequence, slot)| Some((*sequence, slot.proposal.as_ref()?)))?;
        let below = sequence.prev().filter(|below| *below > self.last.sequence)?;
        let is_known = self.slots.get(&below).is_some_and(|slot| slot.digest().is_some());
        (!is_known).then_some(proposal.signed.parent)
    }

    /// f + 1 at a time, so that an honest one is among them.
    fn ask_for_body(&mut self, digest: Hash256, attempt: u32) {
        let message = FetchBody::sign(&self.credentials, digest);
        for replica in self.next_to_ask(attempt) {
            self.send_to(replica, Message::FetchBody(message));
        }
    }

    fn next_to_ask(&self, attempt: u32) -> Vec<ReplicaId> {
        let quorum = self.credentials.quorum;
        let others: Vec<_> = quorum.ids().filter(|replica| self.is_other(*replica)).collect();
        let count = quorum.weak_quorum();
        // A different first one for each replica, so that not all ask the same.
        let skipped = usize::try_from(attempt)
            .unwrap_or_default()
            .saturating_mul(count)
            .saturating_add(usize::from(self.credentials.own.get()));
        let start = skipped.checked_rem(others.len()).unwrap_or_default();
        others.iter().cycle().skip(start).take(count.min(others.len())).copied().collect()
    }

    /// A certified block, or at least its body.
    pub(super) fn find_body(&self, digest: Hash256) -> Option<Message> {
        let executed = self.recent.values().find(|block| block.certificate.digest == digest);
        if let Some(block) = executed {
            return Some(Message::Certified(block.clone()));
        }
        let body = self.slots.values().find_map(|slot| slot.bodies.get(&digest))?;
        Some(Message::Body(Body { digest, body: body.clone() }))
    }
}
