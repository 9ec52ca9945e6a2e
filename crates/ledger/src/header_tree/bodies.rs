//! From headers to a tip: bodies, candidates, invalid branches, finality.

use std::cmp::Reverse;

use pentad_primitives::BlockHeight;
use pentad_primitives::hash::BlockHash;
use pentad_primitives::pow::Work;

use super::arena::{GENESIS, NodeId};
use super::{HeaderTree, TipError};

/// A block that could be the tip; the greatest is the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    work: Work,
    /// First seen wins.
    arrival: Reverse<u32>,
    id: NodeId,
}

impl HeaderTree {
    /// Notes that the body of a block is stored. At a start, bodies are noted in the order of the
    /// log, so that the first seen keeps winning ties. `false`: the header is unknown.
    pub fn body_known(&mut self, hash: &BlockHash) -> bool {
        let Some(id) = self.arena.find(hash) else {
            return false;
        };
        if std::mem::replace(&mut self.arena[id].flags.has_body, true) {
            return true;
        }
        self.uncount_low_work(id);
        match self.arena.parent(id) {
            Some(parent) if !self.arena[parent].flags.is_complete => {
                self.waiting.entry(parent).or_default().push(id);
            }
            _ => self.complete(id),
        }
        true
    }

    /// Are the bodies of this block and of all below it stored?
    #[must_use]
    pub fn is_complete(&self, hash: &BlockHash) -> bool {
        self.arena.find(hash).is_some_and(|id| self.arena[id].flags.is_complete)
    }

    /// Notes that a chain of bodies leads up to this block, and to those that waited for it.
    fn complete(&mut self, id: NodeId) {
        let mut completed = vec![id];
        while let Some(id) = completed.pop() {
            self.arrivals = self.arrivals.saturating_add(1);
            let node = &mut self.arena[id];
            node.flags.is_complete = true;
            node.arrival = self.arrivals;
            if self.is_candidate(id) {
                self.candidates.insert(self.candidate(id));
            }
            // The last goes first: so does, among siblings, the first that arrived.
            let waiting = self.waiting.remove(&id).unwrap_or_default();
            completed.extend(waiting.into_iter().rev());
        }
    }

    /// Could this block be the tip? Of less work than the tip only where the tip is invalid.
    fn is_candidate(&self, id: NodeId) -> bool {
        let (node, tip) = (&self.arena[id], &self.arena[self.tip_id()]);
        let is_open = node.flags.is_complete && !node.flags.is_invalid;
        let is_enough = node.work >= tip.work || tip.flags.is_invalid;
        is_open && is_enough && self.keeps_finality(id)
    }

    fn candidate(&self, id: NodeId) -> Candidate {
        let node = &self.arena[id];
        Candidate { work: node.work, arrival: Reverse(node.arrival), id }
    }

    /// The block that should be the tip: of most work among those whose bodies are known and that
    /// are not known to be invalid. The tip itself, unless another has strictly more work or the
    /// tip has become invalid.
    #[must_use]
    pub fn best_candidate(&self) -> BlockHash {
        let tip = self.tip_id();
        let tip_stays = |best: &Candidate| {
            !self.arena[tip].flags.is_invalid && best.work <= self.arena[tip].work
        };
        let best = self.candidates.last().filter(|best| !tip_stays(best));
        self.arena[best.map_or(tip, |best| best.id)].hash
    }

    /// Notes that the chain is connected up to this block.
    ///
    /// # Errors
    /// The block cannot be a tip; nothing has changed.
    pub fn set_tip(&mut self, hash: &BlockHash) -> Result<(), TipError> {
        let id = self.arena.find(hash).ok_or(TipError::Unknown(*hash))?;
        let node = &self.arena[id];
        if node.flags.is_invalid {
            return Err(TipError::Invalid(*hash));
        }
        if !node.flags.is_complete {
            return Err(TipError::Incomplete(*hash));
        }
        if !self.keeps_finality(id) {
            return Err(TipError::BelowFinality(*hash));
        }
        let old = self.tip_id();
        let fork = self.arena.fork(old, id);
        let kept = self.arena[fork].height.get().saturating_add(1);
        self.active.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
        let mut branch: Vec<_> = self.arena.walk(id).take_while(|id| *id != fork).collect();
        branch.reverse();
        self.active.append(&mut branch);
        if self.arena[id].work < self.arena[old].work {
            self.rebuild_candidates();
            self.uncount_overtaking();
        } else {
            self.drop_lesser_candidates();
        }
        Ok(())
    }

    /// Notes that a block breaks a rule; so do all its descendants, known or to come. Where the tip
    /// is among them, [`best_candidate`](Self::best_candidate) leads away from it. Never call this
    /// for a [mutation](crate::verify::BlockError::is_mutation). `false`: unknown, or genesis.
    pub fn mark_invalid(&mut self, hash: &BlockHash) -> bool {
        let Some(invalid) = self.arena.find(hash).filter(|id| *id > self.last_final) else {
            return false;
        };
        if self.arena[invalid].flags.is_invalid {
            return true;
        }
        self.arena[invalid].flags.is_invalid = true;
        for id in self.arena.ids().filter(|id| *id > invalid) {
            let parent = self.arena.parent(id);
            if parent.is_some_and(|parent| self.arena[parent].flags.is_invalid) {
                self.arena[id].flags.is_invalid = true;
            }
        }
        self.rebuild_candidates();
        self.rebuild_best_header();
        true
    }

    /// Makes a connected block final: no chain without it is accepted from now on.
    ///
    /// # Errors
    /// It is not connected, or not above the last final block.
    pub fn finalise(&mut self, hash: &BlockHash) -> Result<(), TipError> {
        let id = self.arena.find(hash).ok_or(TipError::Unknown(*hash))?;
        if !self.is_active_id(id) {
            return Err(TipError::NotActive(*hash));
        }
        if self.arena[id].height < self.arena[self.last_final].height {
            return Err(TipError::BelowFinality(*hash));
        }
        self.last_final = id;
        // Finality only takes away, mostly nothing: under PBFT it comes with every block, and must
        // not go through all headers.
        let mut candidates = std::mem::take(&mut self.candidates);
        candidates.retain(|candidate| self.keeps_finality(candidate.id));
        self.candidates = candidates;
        if !self.keeps_finality(self.best_header) {
            self.rebuild_best_header();
        }
        Ok(())
    }

    /// Height of the last final block; genesis is final from the start.
    #[must_use]
    pub fn final_height(&self) -> BlockHeight {
        self.arena[self.last_final].height
    }

    /// Does this chain hold the last final block?
    pub(super) fn keeps_finality(&self, id: NodeId) -> bool {
        let final_height = self.arena[self.last_final].height;
        self.arena.ancestor(id, final_height) == self.last_final
    }

    fn drop_lesser_candidates(&mut self) {
        let work = self.arena[self.tip_id()].work;
        let least = Candidate { work, arrival: Reverse(u32::MAX), id: GENESIS };
        self.candidates = self.candidates.split_off(&least);
    }

    /// Goes through all blocks: after the tip lost work, or validity changed.
    pub(super) fn rebuild_candidates(&mut self) {
        let candidates = self.arena.ids().filter(|id| self.is_candidate(*id));
        self.candidates = candidates.map(|id| self.candidate(id)).collect();
    }

    pub(super) fn rebuild_best_header(&mut self) {
        let mut best = self.last_final;
        for id in self.arena.ids() {
            let is_open =
                !self.arena[id].flags.is_invalid && self.arena[id].work > self.arena[best].work;
            if is_open && self.keeps_finality(id) {
                best = id;
            }
        }
        self.best_header = best;
    }
}
