//! Ways through the tree, and the bodies that are missing on them.

use pentad_primitives::BlockHeight;
use pentad_primitives::hash::BlockHash;

use super::HeaderTree;
use super::arena::NodeId;

/// Heights looked through at once for missing bodies.
const MISSING_WINDOW: u32 = 1_024;

/// The way from one block to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// The crossing point: the last block both have in common.
    pub fork: BlockHash,
    /// Its height.
    pub fork_height: BlockHeight,
    /// Blocks to disconnect, highest first.
    pub undo: Vec<BlockHash>,
    /// Blocks to connect, lowest first.
    pub apply: Vec<BlockHash>,
}

impl HeaderTree {
    /// The way from one known block to another; `None` if either is unknown.
    #[must_use]
    pub fn path(&self, from: &BlockHash, to: &BlockHash) -> Option<Path> {
        let (from, to) = (self.arena.find(from)?, self.arena.find(to)?);
        let fork = self.arena.fork(from, to);
        let above_fork = |id| {
            let walk = self.arena.walk(id).take_while(|id| *id != fork);
            walk.map(|id| self.arena[id].hash).collect::<Vec<_>>()
        };
        let (undo, mut apply) = (above_fork(from), above_fork(to));
        apply.reverse();
        let node = &self.arena[fork];
        Some(Path { fork: node.hash, fork_height: node.height, undo, apply })
    }

    /// The ancestor of a known block at a height that is not above it.
    #[must_use]
    pub fn ancestor(&self, hash: &BlockHash, height: BlockHeight) -> Option<BlockHash> {
        let id = self.arena.find(hash)?;
        let is_below = height <= self.arena[id].height;
        is_below.then(|| self.arena[self.arena.ancestor(id, height)].hash)
    }

    /// The lowest blocks between the connected chain and the best header whose bodies are missing,
    /// at most `max`: what to fetch next.
    #[must_use]
    pub fn missing_bodies(&self, max: usize) -> Vec<BlockHash> {
        self.missing_up_to(self.best_header, max)
    }

    /// As [`missing_bodies`](Self::missing_bodies), towards another known block: where the best
    /// header's bodies are withheld, those of the next best are to be had (attack: announce, then
    /// withhold).
    #[must_use]
    pub fn missing_bodies_to(&self, hash: &BlockHash, max: usize) -> Vec<BlockHash> {
        self.arena.find(hash).map(|id| self.missing_up_to(id, max)).unwrap_or_default()
    }

    fn missing_up_to(&self, end: NodeId, max: usize) -> Vec<BlockHash> {
        let fork = self.arena.fork(end, self.tip_id());
        let end_height = self.arena[end].height;
        let mut missing = Vec::new();
        let mut from = self.arena[fork].height;
        while from < end_height && missing.len() < max {
            let to = BlockHeight::new(from.get().saturating_add(MISSING_WINDOW)).min(end_height);
            let window = self.arena.walk(self.arena.ancestor(end, to));
            let mut window: Vec<NodeId> =
                window.take_while(|id| self.arena[*id].height > from).collect();
            window.reverse();
            let without_body = window.iter().filter(|id| !self.arena[**id].flags.has_body);
            missing.extend(without_body.map(|id| self.arena[*id].hash));
            from = to;
        }
        missing.truncate(max);
        missing
    }

    /// The branch up to this block, which may not be known yet, is wanted whatever its work: the
    /// validators chose it. Replaces the one that was wanted before.
    pub fn await_block(&mut self, hash: Option<BlockHash>) {
        self.awaited = hash;
    }

    /// Is the body of this block worth fetching and keeping? Only if it is awaited, or its branch
    /// has, or had, at least the work of the tip (attack: cheap old blocks that fill the disk).
    #[must_use]
    pub fn wants_body(&self, hash: &BlockHash) -> bool {
        let Some(id) = self.arena.find(hash) else {
            return false;
        };
        let (node, tip) = (&self.arena[id], &self.arena[self.tip_id()]);
        let is_open = !node.flags.has_body && !node.flags.is_invalid;
        let has_work = !node.flags.is_low_work || node.work >= tip.work;
        is_open && (has_work || self.is_awaited(id))
    }

    fn is_awaited(&self, id: NodeId) -> bool {
        let end = self.awaited.and_then(|hash| self.arena.find(&hash));
        end.is_some_and(|end| self.arena.ancestor(end, self.arena[id].height) == id)
    }
}
