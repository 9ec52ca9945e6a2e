//! A bound on branches of headers that overtake the tip, yet are not the best.
//!
//! A node that has few blocks cannot tell a flood by its work: every valid header overtakes its
//! tip, and each costs the flooder no more than the easiest target. One chain is bounded by time,
//! since difficulty follows the clock; the number of branches is not. So they are cut back now and
//! then to those of most work. Nothing is refused: who drops out may come again, and a branch that
//! grows to be the best is never dropped.

use std::collections::BTreeSet;

use super::HeaderTree;
use super::arena::NodeId;

/// Headers off the best header's chain that come before such branches are cut back: about 20 MB.
pub const SIDE_HEADERS_MAX: usize = 100_000;

impl HeaderTree {
    /// Counts a header that is about to be added to `parent` and overtakes the tip; tells where
    /// `parent` is afterwards.
    pub(super) fn cut_back_side_branches(&mut self, parent: NodeId) -> NodeId {
        if parent == self.best_header {
            return parent;
        }
        self.side_headers = self.side_headers.saturating_add(1);
        if self.side_headers < self.side_headers_max {
            return parent;
        }
        self.side_headers = 0;
        let hash = self.arena[parent].hash;
        let kept = self.best_side_branches(parent);
        self.keep_only(|arena, id| {
            let flags = arena[id].flags;
            flags.has_body || flags.is_low_work || kept.contains(&id)
        });
        self.arena.find(&hash).unwrap_or(parent)
    }

    /// The chain of the best header, the branch that grows at `parent`, and those of most work that
    /// fill half of the room.
    fn best_side_branches(&self, parent: NodeId) -> BTreeSet<NodeId> {
        let mut kept = BTreeSet::new();
        let keep_branch = |kept: &mut BTreeSet<NodeId>, end: NodeId| {
            for id in self.arena.walk(end) {
                // Below a complete block, all have bodies.
                if self.arena[id].flags.is_complete || !kept.insert(id) {
                    return;
                }
            }
        };
        keep_branch(&mut kept, self.best_header);
        keep_branch(&mut kept, parent);
        let room = kept.len().saturating_add(self.side_headers_max / 2);
        let is_side = |id: &NodeId| !self.arena[*id].flags.has_body && !kept.contains(id);
        let mut ends: Vec<NodeId> = self.arena.ids().filter(is_side).collect();
        // Of equal work, the first seen comes first.
        ends.sort_by_key(|id| std::cmp::Reverse(self.arena[*id].work));
        for end in ends {
            if kept.len() >= room {
                break;
            }
            keep_branch(&mut kept, end);
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use pentad_primitives::hash::{BlockHash, MerkleRoot};
    use pentad_primitives::pow::{CompactTarget, HeaderHasher, Target};
    use pentad_primitives::{BlockHeader, BlockHeight};

    use crate::spec::{ChainSpec, Engine, Parameters};

    use super::super::HeaderTree;

    const START: u32 = 1_700_000_000;

    /// A network whose difficulty follows the clock, on a node that has genesis alone.
    fn fresh(side_headers_max: usize) -> HeaderTree {
        let mut parameters = Parameters::new("test", START, vec![]).unwrap();
        let Engine::Pow(pow) = &mut parameters.engine else { unreachable!() };
        pow.limit = CompactTarget(0x207f_ffff);
        let spec = ChainSpec::new(parameters).unwrap();
        assert!(!spec.is_development());
        HeaderTree { side_headers_max, ..HeaderTree::new(&spec) }
    }

    /// Solved headers on top of `parent`, ten seconds apart; `branch` makes siblings differ.
    fn extend(tree: &mut HeaderTree, parent: &BlockHash, branch: u32, count: usize) -> BlockHash {
        let mut tip = *parent;
        for _ in 0..count {
            let context = tree.context(&tip).unwrap();
            let mut salt = [0; 32];
            salt[..4].copy_from_slice(&branch.to_le_bytes());
            let mut header = BlockHeader {
                version: 1,
                prev_block_hash: tip,
                merkle_root: MerkleRoot::from_bytes(salt),
                time: START + 10 * context.height.get(),
                bits: context.bits,
                nonce: 0,
            };
            let target = Target::from_compact(header.bits).unwrap();
            let hasher = HeaderHasher::new(&header);
            header.nonce = (0..).find(|nonce| target.is_met_by(&hasher.hash(*nonce))).unwrap();
            tip = tree.insert(&header, START + 1_000_000).unwrap().hash;
        }
        tip
    }

    /// Attack 37 on a node that knows genesis alone: whatever has work overtakes its tip.
    #[test]
    fn low_work_header_flood_is_bounded_on_a_fresh_node() {
        let mut tree = fresh(40);
        let genesis = tree.tip();
        let mut honest = genesis;
        for branch in 0..300 {
            extend(&mut tree, &genesis, 1_000 + branch, 2);
            if branch % 3 == 0 {
                honest = extend(&mut tree, &honest, 1, 1);
            }
            let chain = tree.height(&honest).unwrap().get() as usize;
            assert!(tree.header_count() <= 1 + chain + 2 * 40, "after {branch} branches");
        }
        assert_eq!(tree.best_header(), honest);
        assert_eq!(tree.missing_bodies(1_000).len(), 100);
        assert_eq!(tree.ancestor(&honest, BlockHeight::GENESIS), Some(genesis));
    }

    /// Two long chains of somebody's own, then a flood: the honest chain, shorter than both at
    /// first, grows past them.
    #[test]
    fn a_growing_branch_is_not_shut_out_by_longer_ones() {
        let mut tree = fresh(40);
        let genesis = tree.tip();
        extend(&mut tree, &genesis, 2, 100);
        let best = extend(&mut tree, &genesis, 3, 101);
        assert_eq!(tree.best_header(), best);
        let honest = extend(&mut tree, &genesis, 1, 150);
        assert_eq!(tree.best_header(), honest);
        extend(&mut tree, &genesis, 4, 100);
        assert!(tree.header_count() <= 1 + 150 + 101 + 100 + 2 * 40, "{}", tree.header_count());
    }

    #[test]
    fn what_has_a_body_stays() {
        let mut tree = fresh(10);
        let genesis = tree.tip();
        let stored = extend(&mut tree, &genesis, 1, 3);
        tree.body_known(&stored);
        extend(&mut tree, &genesis, 2, 6);
        for branch in 10..60 {
            extend(&mut tree, &genesis, branch, 1);
        }
        assert!(tree.contains(&stored));
        assert_eq!(tree.ancestor(&stored, BlockHeight::GENESIS), Some(genesis));
        assert!(tree.header_count() < 60, "{}", tree.header_count());
    }
}
