//! All known headers and the choice among them.
//!
//! A header enters with its work and times checked. Its body may follow later, in any order; a
//! chain of bodies without a gap makes a block a *candidate*. Most work wins, the first seen breaks
//! ties. Whoever connects blocks walks the [`path`](HeaderTree::path) to the
//! [`best_candidate`](HeaderTree::best_candidate), then calls [`set_tip`](HeaderTree::set_tip), or
//! [`mark_invalid`](HeaderTree::mark_invalid) where a rule failed, and asks again.

mod arena;
mod bodies;
mod error;
mod insert;
mod locate;
mod low_work;
mod side_branches;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};

use pentad_primitives::hash::BlockHash;
use pentad_primitives::pow::{CompactTarget, Target, Work};
use pentad_primitives::{BlockHeader, BlockHeight};

use self::arena::{Arena, GENESIS, NodeId};
use self::bodies::Candidate;
use crate::spec::ChainSpec;
use crate::verify::contextual::{self, BlockContext};

pub use error::{InsertError, TipError};
pub use insert::Inserted;
pub use locate::Path;
pub use low_work::LOW_WORK_HEADERS_MAX;
pub use side_branches::SIDE_HEADERS_MAX;

/// All known headers, the tip that is connected, and the choice of the next.
#[derive(Debug)]
pub struct HeaderTree {
    spec: ChainSpec,
    arena: Arena,
    /// The connected chain by height; its last is the tip.
    active: Vec<NodeId>,
    /// The header of most work that is not known to be invalid.
    best_header: NodeId,
    /// Complete, not known to be invalid, and of at least the tip's work.
    candidates: BTreeSet<Candidate>,
    /// Blocks with a body whose parent's chain has a gap, by parent.
    waiting: HashMap<NodeId, Vec<NodeId>>,
    /// Number of blocks that became complete.
    arrivals: u32,
    /// Headers of no consequence so far; see [`LOW_WORK_HEADERS_MAX`].
    low_work: usize,
    /// [`LOW_WORK_HEADERS_MAX`]; tests make do with less.
    low_work_max: usize,
    /// Headers that came since side branches were last cut back; see [`SIDE_HEADERS_MAX`].
    side_headers: usize,
    /// [`SIDE_HEADERS_MAX`]; tests make do with less.
    side_headers_max: usize,
    /// No chain without this block is a candidate.
    last_final: NodeId,
    /// See [`await_block`](HeaderTree::await_block).
    awaited: Option<BlockHash>,
}

/// What is known about a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockStatus {
    /// The header alone.
    HeaderOnly,
    /// Header and body.
    Stored,
    /// Part of the connected chain.
    Active,
    /// It or an ancestor broke a rule.
    Invalid,
}

impl HeaderTree {
    /// A tree of the spec's genesis block, which is connected.
    #[must_use]
    pub fn new(spec: &ChainSpec) -> Self {
        let genesis = &spec.genesis_block().header;
        Self {
            spec: spec.clone(),
            arena: Arena::new(genesis, work(genesis.bits)),
            active: vec![GENESIS],
            best_header: GENESIS,
            candidates: BTreeSet::new(),
            waiting: HashMap::new(),
            arrivals: 0,
            low_work: 0,
            low_work_max: LOW_WORK_HEADERS_MAX,
            side_headers: 0,
            side_headers_max: SIDE_HEADERS_MAX,
            last_final: GENESIS,
            awaited: None,
        }
    }

    /// The block up to which the chain is connected.
    #[must_use]
    pub fn tip(&self) -> BlockHash {
        self.arena[self.tip_id()].hash
    }

    /// Its height.
    #[must_use]
    pub fn tip_height(&self) -> BlockHeight {
        self.arena[self.tip_id()].height
    }

    /// The header of most work that is not known to be invalid, with or without its body: what a
    /// node syncs to.
    #[must_use]
    pub fn best_header(&self) -> BlockHash {
        self.arena[self.best_header].hash
    }

    /// Number of headers held.
    #[must_use]
    pub fn header_count(&self) -> usize {
        self.arena.len()
    }

    /// Is the header known?
    #[must_use]
    pub fn contains(&self, hash: &BlockHash) -> bool {
        self.arena.find(hash).is_some()
    }

    /// A known header.
    #[must_use]
    pub fn header(&self, hash: &BlockHash) -> Option<BlockHeader> {
        Some(self.arena.header(self.arena.find(hash)?))
    }

    /// The height of a known header.
    #[must_use]
    pub fn height(&self, hash: &BlockHash) -> Option<BlockHeight> {
        Some(self.arena[self.arena.find(hash)?].height)
    }

    /// The work from genesis up to a known header.
    #[must_use]
    pub fn chain_work(&self, hash: &BlockHash) -> Option<Work> {
        Some(self.arena[self.arena.find(hash)?].work)
    }

    /// What is known about a block.
    #[must_use]
    pub fn status(&self, hash: &BlockHash) -> Option<BlockStatus> {
        let id = self.arena.find(hash)?;
        let flags = self.arena[id].flags;
        Some(if flags.is_invalid {
            BlockStatus::Invalid
        } else if self.is_active_id(id) {
            BlockStatus::Active
        } else if flags.has_body {
            BlockStatus::Stored
        } else {
            BlockStatus::HeaderOnly
        })
    }

    /// The connected block of a height.
    #[must_use]
    pub fn hash_at(&self, height: BlockHeight) -> Option<BlockHash> {
        let id = self.active.get(usize::try_from(height.get()).ok()?)?;
        Some(self.arena[*id].hash)
    }

    /// Is the block part of the connected chain?
    #[must_use]
    pub fn is_active(&self, hash: &BlockHash) -> bool {
        self.arena.find(hash).is_some_and(|id| self.is_active_id(id))
    }

    /// What the chain demands of a child of this block.
    #[must_use]
    pub fn context(&self, parent: &BlockHash) -> Option<BlockContext> {
        self.context_of(self.arena.find(parent)?)
    }

    /// What the chain demands of the block after the tip.
    #[must_use]
    pub fn tip_context(&self) -> Option<BlockContext> {
        self.context_of(self.tip_id())
    }

    /// Median time of the 11 blocks up to this one, Unix seconds.
    #[must_use]
    pub fn median_time_past(&self, hash: &BlockHash) -> Option<u32> {
        Some(self.median_time_past_of(self.arena.find(hash)?))
    }

    fn tip_id(&self) -> NodeId {
        self.active.last().copied().unwrap_or(GENESIS)
    }

    fn is_active_id(&self, id: NodeId) -> bool {
        let height = usize::try_from(self.arena[id].height.get());
        height.is_ok_and(|height| self.active.get(height) == Some(&id))
    }

    fn context_of(&self, parent: NodeId) -> Option<BlockContext> {
        let node = &self.arena[parent];
        let times = self.arena.walk(parent).map(|id| self.arena[id].time);
        BlockContext::after(&self.spec, node.hash, node.height, times)
    }

    fn median_time_past_of(&self, id: NodeId) -> u32 {
        contextual::median_time(self.arena.walk(id).map(|id| self.arena[id].time))
    }
}

/// The work that a target stands for.
fn work(bits: CompactTarget) -> Work {
    // Called for checked headers only.
    Target::from_compact(bits).map(|target| Work::from_target(&target)).unwrap_or_default()
}
