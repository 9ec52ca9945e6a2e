//! The nodes of the tree, parents before children.

use std::collections::HashMap;
use std::ops::{Index, IndexMut};

use pentad_primitives::hash::{BlockHash, MerkleRoot};
use pentad_primitives::pow::{CompactTarget, Work};
use pentad_primitives::{BlockHeader, BlockHeight};

/// Position of a node in the [`Arena`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NodeId(u32);

/// What is known about a block's validity and whereabouts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags {
    /// Its body is stored.
    pub(super) has_body: bool,
    /// So are those of all its ancestors.
    pub(super) is_complete: bool,
    /// It counts as a header that leads nowhere.
    pub(super) is_low_work: bool,
    /// It, or an ancestor, broke a rule.
    pub(super) is_invalid: bool,
}

/// A header and its place: [`NODE_BYTES_MAX`], and some 60 bytes in the index.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) hash: BlockHash,
    merkle_root: MerkleRoot,
    /// Sum of the work from genesis to here.
    pub(super) work: Work,
    version: i32,
    pub(super) time: u32,
    pub(super) bits: CompactTarget,
    nonce: u32,
    pub(super) height: BlockHeight,
    /// Genesis is its own.
    parent: NodeId,
    /// An ancestor further down: skips make walks logarithmic.
    skip: NodeId,
    /// Order in which bodies became complete: the first seen wins a tie.
    pub(super) arrival: u32,
    pub(super) flags: Flags,
}

/// The nodes, found by id or hash. Genesis is always there.
#[derive(Debug)]
pub(super) struct Arena {
    nodes: Vec<Node>,
    index: HashMap<BlockHash, NodeId>,
}

/// A million headers, 115 days of blocks ten seconds apart, stay within 200 MB.
const NODE_BYTES_MAX: usize = 144;
const _: () = assert!(size_of::<Node>() <= NODE_BYTES_MAX);

/// Genesis, the root.
pub(super) const GENESIS: NodeId = NodeId(0);

impl Arena {
    /// A tree of genesis alone.
    pub(super) fn new(genesis: &BlockHeader, work: Work) -> Self {
        let hash = genesis.block_hash();
        let node = Node {
            flags: Flags { has_body: true, is_complete: true, ..Flags::default() },
            ..Node::new(genesis, hash, BlockHeight::GENESIS, work, GENESIS, GENESIS)
        };
        Self { nodes: vec![node], index: HashMap::from([(hash, GENESIS)]) }
    }

    pub(super) fn find(&self, hash: &BlockHash) -> Option<NodeId> {
        self.index.get(hash).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// All ids, parents before children.
    pub(super) fn ids(&self) -> impl DoubleEndedIterator<Item = NodeId> + use<> {
        (0..u32::try_from(self.nodes.len()).unwrap_or(u32::MAX)).map(NodeId)
    }

    /// Appends a child. `None` at the end of heights, work or ids: four thousand million headers.
    pub(super) fn push(
        &mut self,
        parent: NodeId,
        header: &BlockHeader,
        hash: BlockHash,
        work: Work,
    ) -> Option<NodeId> {
        let id = NodeId(u32::try_from(self.nodes.len()).ok()?);
        let height = self[parent].height.next()?;
        let total = self[parent].work.checked_add(work)?;
        let skip = self.ancestor(parent, skip_height(height));
        self.nodes.push(Node::new(header, hash, height, total, parent, skip));
        self.index.insert(hash, id);
        Some(id)
    }

    /// The parent; `None` above genesis.
    pub(super) fn parent(&self, id: NodeId) -> Option<NodeId> {
        (id != GENESIS).then(|| self[id].parent)
    }

    /// This node, its parent and so on down to genesis.
    pub(super) fn walk(&self, from: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        std::iter::successors(Some(from), |id| self.parent(*id))
    }

    /// The ancestor of `id` at `height`, or `id` itself where it is not above that.
    pub(super) fn ancestor(&self, id: NodeId, height: BlockHeight) -> NodeId {
        let mut at = id;
        while self[at].height > height {
            at = if self.skip_pays(at, height) { self[at].skip } else { self[at].parent };
        }
        at
    }

    /// Bitcoin Core's rule: skip, unless that overshoots or the parent's own skip leads further.
    fn skip_pays(&self, at: NodeId, height: BlockHeight) -> bool {
        let node = &self[at];
        let skip = self[node.skip].height;
        let parent_skip = self[self[node.parent].skip].height;
        let parent_leads_further =
            parent_skip.get().saturating_add(2) < skip.get() && parent_skip >= height;
        skip == height || (skip > height && !parent_leads_further)
    }

    /// The last common ancestor.
    pub(super) fn fork(&self, a: NodeId, b: NodeId) -> NodeId {
        let height = self[a].height.min(self[b].height);
        let (mut a, mut b) = (self.ancestor(a, height), self.ancestor(b, height));
        while a != b {
            let (skip_a, skip_b) = (self[a].skip, self[b].skip);
            // Equal heights have skips of equal height: while those differ, so do all above them.
            (a, b) =
                if skip_a == skip_b { (self[a].parent, self[b].parent) } else { (skip_a, skip_b) };
        }
        a
    }

    pub(super) fn header(&self, id: NodeId) -> BlockHeader {
        let node = &self[id];
        BlockHeader {
            version: node.version,
            prev_block_hash: self.parent(id).map_or(BlockHash::ZERO, |parent| self[parent].hash),
            merkle_root: node.merkle_root,
            time: node.time,
            bits: node.bits,
            nonce: node.nonce,
        }
    }

    /// Keeps the nodes for which `keep` holds (an ancestor-closed set, genesis included) and tells
    /// their new ids.
    pub(super) fn retain(&mut self, keep: impl Fn(NodeId) -> bool) -> HashMap<NodeId, NodeId> {
        let mut moved = HashMap::new();
        let mut kept = Vec::new();
        for (id, node) in self.ids().zip(std::mem::take(&mut self.nodes)) {
            if keep(id) {
                let at = NodeId(u32::try_from(kept.len()).unwrap_or(u32::MAX));
                moved.insert(id, at);
                kept.push(node);
            }
        }
        for node in &mut kept {
            node.parent = moved.get(&node.parent).copied().unwrap_or(GENESIS);
            node.skip = moved.get(&node.skip).copied().unwrap_or(GENESIS);
        }
        self.nodes = kept;
        self.index = self.ids().map(|id| (self[id].hash, id)).collect();
        moved
    }
}

#[allow(clippy::indexing_slicing, reason = "ids come from `push`, and `retain` renames them all")]
impl Index<NodeId> for Arena {
    type Output = Node;

    fn index(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }
}

#[allow(clippy::indexing_slicing, reason = "as for `Index`")]
impl IndexMut<NodeId> for Arena {
    fn index_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.0 as usize]
    }
}

impl Node {
    fn new(
        header: &BlockHeader,
        hash: BlockHash,
        height: BlockHeight,
        work: Work,
        parent: NodeId,
        skip: NodeId,
    ) -> Self {
        Self {
            hash,
            merkle_root: header.merkle_root,
            work,
            version: header.version,
            time: header.time,
            bits: header.bits,
            nonce: header.nonce,
            height,
            parent,
            skip,
            arrival: 0,
            flags: Flags::default(),
        }
    }
}

/// Height that a node's skip leads to (Bitcoin Core's `GetSkipHeight`): clearing low bits makes any
/// ancestor reachable in O(log n) steps.
fn skip_height(height: BlockHeight) -> BlockHeight {
    let clear_lowest_one = |n: u32| n & n.wrapping_sub(1);
    let height = height.get();
    BlockHeight::new(match height {
        0 | 1 => 0,
        even if even & 1 == 0 => clear_lowest_one(even),
        odd => clear_lowest_one(clear_lowest_one(odd.wrapping_sub(1))).wrapping_add(1),
    })
}
