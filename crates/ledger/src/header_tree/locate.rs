//! Ways through the tree: between two blocks, and between two nodes' chains.

use std::num::NonZeroUsize;

use pentad_primitives::hash::BlockHash;
use pentad_primitives::{BlockHeader, BlockHeight};

use super::HeaderTree;
use super::arena::{GENESIS, NodeId};

/// Hashes of a locator at most: ten, then ever fewer; 32-bit heights need no more.
pub const LOCATOR_LEN_MAX: usize = 48;
/// The first hashes of a locator follow one another; then the distance doubles.
const LOCATOR_DENSE: usize = 10;
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

    /// Hashes of the best header's chain, ever sparser from its end to genesis: what to send when
    /// asking a peer for headers.
    #[must_use]
    pub fn locator(&self) -> Vec<BlockHash> {
        self.locator_of(self.best_header)
    }

    /// The locator of a known block: how to ask for more after a batch of headers whose last is not
    /// the best header (a branch has less work at first).
    #[must_use]
    pub fn locator_from(&self, hash: &BlockHash) -> Option<Vec<BlockHash>> {
        Some(self.locator_of(self.arena.find(hash)?))
    }

    fn locator_of(&self, from: NodeId) -> Vec<BlockHash> {
        let mut locator = Vec::new();
        let mut at = from;
        let mut step: u32 = 1;
        loop {
            locator.push(self.arena[at].hash);
            if at == GENESIS {
                return locator;
            }
            if locator.len() > LOCATOR_DENSE {
                step = step.saturating_mul(2);
            }
            let below = self.arena[at].height.get().saturating_sub(step);
            at = self.arena.ancestor(at, BlockHeight::new(below));
        }
    }

    /// Headers of the connected chain after the last block it shares with a peer's locator, up to
    /// and including `stop`, at most `max`. Without a shared block: from genesis on.
    #[must_use]
    pub fn locate_headers(
        &self,
        locator: &[BlockHash],
        stop: Option<&BlockHash>,
        max: NonZeroUsize,
    ) -> Vec<BlockHeader> {
        let known = locator.iter().take(LOCATOR_LEN_MAX).filter_map(|hash| self.arena.find(hash));
        let shared = known.map(|id| self.arena.fork(id, self.tip_id())).next();
        let after = shared.map_or(0, |id| self.arena[id].height.get()).saturating_add(1);
        let mut headers = Vec::new();
        let chain = self.active.iter().skip(usize::try_from(after).unwrap_or(usize::MAX));
        for id in chain.take(max.get()) {
            headers.push(self.arena.header(*id));
            if stop.is_some_and(|stop| *stop == self.arena[*id].hash) {
                break;
            }
        }
        headers
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

    /// Is the body of this block worth fetching and keeping? Only if its branch has, or had, at
    /// least the work of the tip (attack: cheap old blocks that fill the disk).
    #[must_use]
    pub fn wants_body(&self, hash: &BlockHash) -> bool {
        let Some(id) = self.arena.find(hash) else {
            return false;
        };
        let (node, tip) = (&self.arena[id], &self.arena[self.tip_id()]);
        let is_open = !node.flags.has_body && !node.flags.is_invalid;
        is_open && (!node.flags.is_low_work || node.work >= tip.work)
    }
}
