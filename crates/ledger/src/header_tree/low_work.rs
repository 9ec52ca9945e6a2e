//! A bound on headers that lead nowhere.
//!
//! A header with no more work than the tip and without a body is of no consequence, yet a chain
//! that will overtake the tip begins with such headers. They are counted until a descendant passes
//! the tip, or their body arrives. At the cap, the branch of most work stays and the others go.

use std::collections::{BTreeSet, HashMap};

use pentad_primitives::pow::Work;

use super::arena::NodeId;
use super::{HeaderTree, InsertError};

/// Headers held that have less work than the tip: about 20 MB, or eleven days of blocks ten seconds
/// apart. A reorganisation deeper than this needs its headers in one go.
pub const LOW_WORK_HEADERS_MAX: usize = 100_000;

impl HeaderTree {
    /// Sees to it that a child of `parent` may be added, and tells where `parent` is now.
    pub(super) fn make_room(
        &mut self,
        parent: NodeId,
        child_work: Work,
    ) -> Result<NodeId, InsertError> {
        let tip_work = self.arena[self.tip_id()].work;
        let overtakes = self.arena[parent].work.checked_add(child_work) > Some(tip_work);
        if overtakes || self.low_work < self.low_work_max {
            return Ok(parent);
        }
        let hash = self.arena[parent].hash;
        let kept = self.best_low_work_branch();
        if kept.len().saturating_mul(2) > self.low_work_max {
            return Err(InsertError::LowWork);
        }
        self.drop_low_work(&kept);
        self.arena
            .find(&hash)
            .ok_or(InsertError::UnknownParent { parent: hash })
    }

    /// Counts a new header; if it overtakes the tip, none of its ancestors counts any more.
    pub(super) fn count_low_work(&mut self, id: NodeId) {
        if self.arena[id].work <= self.arena[self.tip_id()].work {
            self.arena[id].flags.is_low_work = true;
            self.low_work = self.low_work.saturating_add(1);
            return;
        }
        let mut at = self.arena.parent(id);
        while let Some(ancestor) = at.filter(|id| self.arena[*id].flags.is_low_work) {
            self.uncount_low_work(ancestor);
            at = self.arena.parent(ancestor);
        }
    }

    pub(super) fn uncount_low_work(&mut self, id: NodeId) {
        if std::mem::replace(&mut self.arena[id].flags.is_low_work, false) {
            self.low_work = self.low_work.saturating_sub(1);
        }
    }

    fn best_low_work_branch(&self) -> BTreeSet<NodeId> {
        let is_low_work = |id: &NodeId| self.arena[*id].flags.is_low_work;
        let best = self
            .arena
            .ids()
            .filter(is_low_work)
            .max_by_key(|id| self.arena[*id].work);
        let branch = best.into_iter().flat_map(|best| self.arena.walk(best));
        branch.take_while(is_low_work).collect()
    }

    fn drop_low_work(&mut self, kept: &BTreeSet<NodeId>) {
        let mut needed: BTreeSet<NodeId> = kept.clone();
        for id in self.arena.ids().rev() {
            let is_needed = needed.contains(&id) || !self.arena[id].flags.is_low_work;
            if is_needed {
                needed.insert(id);
                needed.extend(self.arena.parent(id));
            }
        }
        let moved = self.arena.retain(|id| needed.contains(&id));
        self.rename(&moved);
        self.low_work = self
            .arena
            .ids()
            .filter(|id| self.arena[*id].flags.is_low_work)
            .count();
    }

    /// Follows the arena's renaming. These nodes are all kept: the chain has bodies, and who waits
    /// has one.
    fn rename(&mut self, moved: &HashMap<NodeId, NodeId>) {
        let new = |id: &NodeId| moved.get(id).copied().unwrap_or(*id);
        self.active = self.active.iter().map(new).collect();
        self.last_final = new(&self.last_final);
        let waiting = std::mem::take(&mut self.waiting);
        let rename = |(parent, children): (NodeId, Vec<NodeId>)| {
            (new(&parent), children.iter().map(new).collect())
        };
        self.waiting = waiting.into_iter().map(rename).collect();
        self.rebuild_candidates();
        self.rebuild_best_header();
    }
}
