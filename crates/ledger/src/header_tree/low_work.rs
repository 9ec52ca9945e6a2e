//! A bound on headers that lead nowhere.
//!
//! A header with no more work than the tip and without a body is of no consequence, yet a chain
//! that will overtake the tip begins with such headers. They are counted until a descendant passes
//! the tip, or their body arrives. At the cap, the branch of most work stays and the others go: a
//! flood cannot keep an honest branch out without outdoing its work.

use std::collections::{BTreeSet, HashMap};

use pentad_primitives::pow::Work;

use super::arena::{Arena, NodeId};
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
        if overtakes {
            return Ok(self.cut_back_side_branches(parent));
        }
        if self.low_work < self.low_work_max {
            return Ok(parent);
        }
        let hash = self.arena[parent].hash;
        let (kept, is_best) = self.best_low_work_branch(parent, child_work);
        // Going through all headers must pay: half of the room is freed, unless it is for the best.
        let room = if is_best { self.low_work_max } else { self.low_work_max / 2 };
        if kept.len() >= room {
            return Err(InsertError::LowWork);
        }
        self.drop_low_work(&kept);
        self.arena.find(&hash).ok_or(InsertError::UnknownParent { parent: hash })
    }

    /// Counts a new header; if it overtakes the tip, none of its ancestors counts any more.
    pub(super) fn count_low_work(&mut self, id: NodeId) {
        if self.arena[id].work <= self.arena[self.tip_id()].work {
            self.arena[id].flags.is_low_work = true;
            self.low_work = self.low_work.saturating_add(1);
        } else {
            self.uncount_below(id);
        }
    }

    /// The tip has less work than before: headers that overtake it now are of consequence, and with
    /// them all below.
    pub(super) fn uncount_overtaking(&mut self) {
        let tip_work = self.arena[self.tip_id()].work;
        for id in self.arena.ids().rev() {
            if self.arena[id].work > tip_work {
                self.uncount_as_side(id);
                self.uncount_below(id);
            }
        }
    }

    /// None of a header's ancestors counts any more.
    fn uncount_below(&mut self, id: NodeId) {
        let mut at = self.arena.parent(id);
        while let Some(ancestor) = at {
            let flags = self.arena[ancestor].flags;
            // Below a complete block, all have bodies; below one that counts no more though it has
            // none, this was done before.
            let is_done = flags.is_complete || !(flags.is_low_work || flags.has_body);
            if is_done {
                return;
            }
            self.uncount_as_side(ancestor);
            at = self.arena.parent(ancestor);
        }
    }

    fn uncount_as_side(&mut self, id: NodeId) {
        if self.arena[id].flags.is_low_work {
            self.side_headers = self.side_headers.saturating_add(1);
        }
        self.uncount_low_work(id);
    }

    pub(super) fn uncount_low_work(&mut self, id: NodeId) {
        if std::mem::replace(&mut self.arena[id].flags.is_low_work, false) {
            self.low_work = self.low_work.saturating_sub(1);
        }
    }

    /// The branch of most work, and whether it is the one that a child of `parent` would lengthen.
    fn best_low_work_branch(&self, parent: NodeId, child_work: Work) -> (BTreeSet<NodeId>, bool) {
        let is_low_work = |id: &NodeId| self.arena[*id].flags.is_low_work;
        let best = self.arena.ids().filter(is_low_work).max_by_key(|id| self.arena[*id].work);
        let child_total = self.arena[parent].work.checked_add(child_work);
        let is_best = best.is_none_or(|best| child_total > Some(self.arena[best].work));
        let end = if is_best { Some(parent) } else { best };
        let branch = end.into_iter().flat_map(|end| self.arena.walk(end));
        (branch.take_while(is_low_work).collect(), is_best)
    }

    fn drop_low_work(&mut self, kept: &BTreeSet<NodeId>) {
        self.keep_only(|arena, id| kept.contains(&id) || !arena[id].flags.is_low_work);
    }

    /// Drops every header that is neither wanted, or awaited, nor an ancestor of one that is.
    pub(super) fn keep_only(&mut self, is_wanted: impl Fn(&Arena, NodeId) -> bool) {
        let awaited = self.awaited.and_then(|hash| self.arena.find(&hash));
        let mut needed: BTreeSet<NodeId> = awaited.into_iter().collect();
        for id in self.arena.ids().rev() {
            if needed.contains(&id) || is_wanted(&self.arena, id) {
                needed.insert(id);
                needed.extend(self.arena.parent(id));
            }
        }
        let moved = self.arena.retain(|id| needed.contains(&id));
        self.rename(&moved);
        self.low_work = self.arena.ids().filter(|id| self.arena[*id].flags.is_low_work).count();
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

#[cfg(test)]
mod tests {
    use pentad_primitives::hash::{BlockHash, MerkleRoot};
    use pentad_primitives::pow::{HeaderHasher, Target};
    use pentad_primitives::{BlockHeader, BlockHeight};

    use crate::spec::ChainSpec;

    use super::super::{HeaderTree, InsertError};

    const NOW: u32 = 2_000_000_000;

    fn tree(low_work_max: usize) -> HeaderTree {
        let spec = ChainSpec::development("test", 1_700_000_000, vec![]).unwrap();
        HeaderTree { low_work_max, ..HeaderTree::new(&spec) }
    }

    /// Inserts a solved child; `branch` makes siblings differ.
    fn insert(
        tree: &mut HeaderTree,
        parent: &BlockHash,
        branch: u8,
    ) -> Result<BlockHash, InsertError> {
        let context = tree.context(parent).unwrap();
        let mut header = BlockHeader {
            version: 1,
            prev_block_hash: *parent,
            merkle_root: MerkleRoot::from_bytes([branch; 32]),
            time: context.median_time_past + 1,
            bits: context.bits,
            nonce: 0,
        };
        let target = Target::from_compact(header.bits).unwrap();
        let hasher = HeaderHasher::new(&header);
        header.nonce = (0..).find(|nonce| target.is_met_by(&hasher.hash(*nonce))).unwrap();
        tree.insert(&header, NOW).map(|inserted| inserted.hash)
    }

    fn extend(tree: &mut HeaderTree, from: &BlockHash, branch: u8, count: usize) -> BlockHash {
        (0..count).fold(*from, |parent, _| insert(tree, &parent, branch).unwrap())
    }

    /// A connected chain of so many blocks.
    fn connected(count: usize, low_work_max: usize) -> HeaderTree {
        let mut tree = tree(low_work_max);
        for _ in 0..count {
            let tip = tree.tip();
            let hash = extend(&mut tree, &tip, 0, 1);
            tree.body_known(&hash);
            tree.set_tip(&hash).unwrap();
        }
        tree
    }

    /// The flags, counted afresh.
    fn counted(tree: &HeaderTree) -> usize {
        tree.arena.ids().filter(|id| tree.arena[*id].flags.is_low_work).count()
    }

    /// Attack 37.
    #[test]
    fn low_work_header_flood_is_bounded() {
        let mut tree = connected(30, 20);
        let genesis = tree.hash_at(BlockHeight::GENESIS).unwrap();
        for branch in 1..=200 {
            let leaf = insert(&mut tree, &genesis, branch).unwrap();
            insert(&mut tree, &leaf, branch).unwrap();
            assert!(tree.header_count() <= 31 + 20);
            assert_eq!(tree.low_work, counted(&tree));
        }
        // The chain itself is untouched by all the renaming.
        assert_eq!(tree.tip_height(), BlockHeight::new(30));
        for height in 1..=30 {
            let hash = tree.hash_at(BlockHeight::new(height)).unwrap();
            assert_eq!(tree.height(&hash), Some(BlockHeight::new(height)));
            assert!(tree.is_active(&hash));
        }
        let tip = tree.tip();
        assert_eq!((tree.best_header(), tree.best_candidate()), (tip, tip));
        let hash = extend(&mut tree, &tip, 0, 1);
        tree.body_known(&hash);
        assert_eq!(tree.best_candidate(), hash);
        assert_eq!(tree.set_tip(&hash), Ok(()));
    }

    #[test]
    fn a_branch_that_overtakes_the_tip_gets_through_a_flood() {
        let mut tree = connected(15, 20);
        let genesis = tree.hash_at(BlockHeight::GENESIS).unwrap();
        let mut honest = genesis;
        for branch in 1..=16 {
            honest = insert(&mut tree, &honest, 200).unwrap();
            for sibling in 0..6 {
                // Once the honest branch fills half of the room, the flood is refused.
                insert(&mut tree, &genesis, 10 * branch + sibling).ok();
            }
            assert_eq!(tree.low_work, counted(&tree));
        }
        assert_eq!(tree.best_header(), honest);
        assert_eq!(tree.missing_bodies(100).len(), 16);
    }

    #[test]
    fn a_branch_that_fills_the_room_stays() {
        let mut tree = connected(40, 20);
        let genesis = tree.hash_at(BlockHeight::GENESIS).unwrap();
        let branch = extend(&mut tree, &genesis, 1, 20);
        assert_eq!(insert(&mut tree, &genesis, 2), Err(InsertError::LowWork));
        assert_eq!(insert(&mut tree, &branch, 1), Err(InsertError::LowWork));
        // What is no low work is let in.
        let tip = tree.tip();
        assert!(insert(&mut tree, &tip, 3).is_ok());
    }

    #[test]
    fn an_awaited_branch_outlives_a_flood() {
        for is_awaited in [true, false] {
            let mut tree = connected(30, 20);
            let genesis = tree.hash_at(BlockHeight::GENESIS).unwrap();
            let first = insert(&mut tree, &genesis, 1).unwrap();
            let last = extend(&mut tree, &first, 1, 2);
            tree.await_block(is_awaited.then_some(last));
            assert_eq!(tree.wants_body(&first), is_awaited);
            extend(&mut tree, &genesis, 2, 4);
            for branch in 10..100 {
                insert(&mut tree, &genesis, branch).unwrap();
                assert!(tree.header_count() <= 31 + 3 + 20);
            }
            assert_eq!((tree.contains(&first), tree.contains(&last)), (is_awaited, is_awaited));
            assert_eq!(tree.wants_body(&last), is_awaited);
        }
    }

    #[test]
    fn a_body_in_the_middle_hides_nothing() {
        let mut tree = connected(5, 20);
        let genesis = tree.hash_at(BlockHeight::GENESIS).unwrap();
        let first = extend(&mut tree, &genesis, 1, 2);
        let middle = extend(&mut tree, &first, 1, 1);
        tree.body_known(&middle);
        let leaf = extend(&mut tree, &middle, 1, 2);
        assert!(!tree.wants_body(&first));
        extend(&mut tree, &leaf, 1, 1);
        assert!(tree.wants_body(&first));
        assert_eq!((tree.low_work, counted(&tree)), (0, 0));
    }

    #[test]
    fn headers_count_no_more_once_they_matter() {
        let mut tree = connected(5, 20);
        let genesis = tree.hash_at(BlockHeight::GENESIS).unwrap();
        let leaf = extend(&mut tree, &genesis, 1, 5);
        assert_eq!(tree.low_work, 5);
        tree.body_known(&leaf);
        assert_eq!(tree.low_work, 4);
        let other = extend(&mut tree, &genesis, 2, 5);
        assert_eq!(tree.low_work, 9);
        extend(&mut tree, &other, 2, 1);
        assert_eq!(tree.low_work, 4);
        assert_eq!(tree.low_work, counted(&tree));
    }
}
