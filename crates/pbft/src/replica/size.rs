//! What a replica holds, so that a test and a metric can bound it.

use super::Replica;

/// What a replica holds in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Votes, proposals, certificates, VIEW-CHANGEs and notes about others.
    pub items: usize,
    /// Bodies.
    pub bodies: usize,
    /// Bytes of the bodies.
    pub body_bytes: usize,
}

impl<K> Replica<K> {
    /// What it holds; bounded by the window and the number of replicas.
    #[must_use]
    pub fn size(&self) -> Size {
        let in_slots = self.slots.values().flat_map(|slot| slot.bodies.values());
        let recent = self.recent.values().map(|block| &block.body);
        let early = self.early_proposals.values().map(|proposal| &proposal.body);
        let bodies: Vec<usize> = in_slots.chain(recent).chain(early).map(|b| b.len()).collect();
        let of_slots = self.slots.values().map(|slot| {
            let single = [
                slot.proposal.is_some(),
                slot.prepared.is_some(),
                slot.certificate.is_some(),
                slot.accepted_before.is_some(),
            ];
            let single = single.iter().filter(|is_there| **is_there).count();
            sum([1, single, slot.prepares.len(), slot.commits.len()])
        });
        let items = [
            sum(of_slots),
            self.view_changes.len(),
            self.recent.len(),
            self.early.len(),
            self.early_proposals.len(),
            self.checkpoints.len(),
            self.fetching.len(),
            self.helped.len(),
            self.late_votes.len(),
            self.heard.len(),
            self.accused.len(),
        ];
        Size { items: sum(items), bodies: bodies.len(), body_bytes: sum(bodies) }
    }
}

fn sum(numbers: impl IntoIterator<Item = usize>) -> usize {
    numbers.into_iter().fold(0, usize::saturating_add)
}
