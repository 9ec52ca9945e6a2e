//! Random histories: whatever headers, bodies, final and invalid blocks come in whatever order,
//! under caps that are always full, the final chain stays whole and the choice stands on it.

use std::collections::BTreeMap;

use pentad_primitives::hash::{BlockHash, MerkleRoot};
use pentad_primitives::pow::{HeaderHasher, Target};
use pentad_primitives::{BlockHeader, BlockHeight};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::{BlockStatus, HeaderTree, InsertError};
use crate::spec::ChainSpec;

const NOW: u32 = 2_000_000_000;
/// Both caps: a branch fills them.
const HEADERS_MAX: usize = 6;

#[derive(Clone, Debug)]
enum Step {
    /// Headers that follow one another on any block.
    Headers { parent: Index, count: u8 },
    /// So many blocks on any block, with their bodies.
    Blocks { parent: Index, count: u8 },
    /// The body of any block.
    Body(Index),
    /// A certificate of any block that validators may have made final.
    Final(Index),
    /// Any block turns out to be invalid.
    Invalid(Index),
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<Index>;
    prop_oneof![
        3 => (index(), 1..9_u8).prop_map(|(parent, count)| Step::Headers { parent, count }),
        3 => (index(), 1..5_u8).prop_map(|(parent, count)| Step::Blocks { parent, count }),
        3 => index().prop_map(Step::Body),
        2 => index().prop_map(Step::Final),
        1 => index().prop_map(Step::Invalid),
    ]
}

/// A tree, and all that ever came into it.
struct World {
    tree: HeaderTree,
    /// By the order in which they came: their parents, and whether their bodies did.
    blocks: Vec<(BlockHash, BlockHash)>,
    bodies: BTreeMap<BlockHash, BlockHash>,
    last_final: BlockHash,
    salt: u32,
}

impl World {
    fn new() -> Self {
        let spec = ChainSpec::development("test", 1_700_000_000, vec![]).unwrap();
        let tree = HeaderTree {
            low_work_max: HEADERS_MAX,
            side_headers_max: HEADERS_MAX,
            ..HeaderTree::new(&spec)
        };
        let genesis = tree.tip();
        Self {
            tree,
            blocks: vec![(genesis, genesis)],
            bodies: BTreeMap::from([(genesis, genesis)]),
            last_final: genesis,
            salt: 0,
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Headers { parent, count } => drop(self.extend(parent, *count)),
            Step::Blocks { parent, count } => {
                for hash in self.extend(parent, *count) {
                    self.body(&hash);
                }
            }
            Step::Body(block) => {
                let (hash, _) = *block.get(&self.blocks);
                self.body(&hash);
            }
            Step::Final(block) => {
                let may_be = |(hash, _): &&(BlockHash, BlockHash)| {
                    self.tree.is_complete(hash) && self.is_open(hash)
                };
                let open: Vec<_> = self.blocks.iter().filter(may_be).collect();
                let (hash, _) = **block.get(&open);
                if !self.tree.is_active(&hash) {
                    self.tree.set_tip(&hash).unwrap();
                }
                self.tree.finalise(&hash).unwrap();
                self.last_final = hash;
            }
            Step::Invalid(block) => {
                let (hash, _) = *block.get(&self.blocks);
                let is_open = self.is_open(&hash) && hash != self.last_final;
                assert!(self.tree.mark_invalid(&hash) || !is_open);
            }
        }
        let best = self.tree.best_candidate();
        self.tree.set_tip(&best).unwrap();
    }

    /// Could it be part of the main chain?
    fn is_open(&self, hash: &BlockHash) -> bool {
        let is_valid = self.tree.status(hash).is_some_and(|it| it != BlockStatus::Invalid);
        is_valid && self.is_on(hash, &self.last_final)
    }

    fn is_on(&self, hash: &BlockHash, ancestor: &BlockHash) -> bool {
        let height = self.tree.height(ancestor).unwrap();
        self.tree.ancestor(hash, height) == Some(*ancestor)
    }

    fn body(&mut self, hash: &BlockHash) {
        if self.tree.body_known(hash) {
            let parent = self.tree.header(hash).unwrap().prev_block_hash;
            self.bodies.insert(*hash, parent);
        }
    }

    fn extend(&mut self, parent: &Index, count: u8) -> Vec<BlockHash> {
        let (mut parent, _) = *parent.get(&self.blocks);
        let mut added = Vec::new();
        for _ in 0..count {
            let Some(header) = self.child(&parent) else { break };
            let is_open = self.is_open(&parent);
            let overtakes = self.tree.chain_work(&parent) >= self.tree.chain_work(&self.tree.tip());
            match self.tree.insert(&header, NOW) {
                Ok(inserted) => {
                    self.blocks.push((inserted.hash, parent));
                    added.push(inserted.hash);
                    parent = inserted.hash;
                }
                Err(error) => {
                    assert!(!(is_open && overtakes), "{error}");
                    let is_below = matches!(error, InsertError::BelowFinality { .. });
                    assert!(!is_below || !self.is_on(&parent, &self.last_final));
                    break;
                }
            }
        }
        added
    }

    /// A solved header on a block that is still known.
    fn child(&mut self, parent: &BlockHash) -> Option<BlockHeader> {
        let context = self.tree.context(parent)?;
        self.salt += 1;
        let mut salt = [0; 32];
        salt[..4].copy_from_slice(&self.salt.to_le_bytes());
        let mut header = BlockHeader {
            version: 1,
            prev_block_hash: *parent,
            merkle_root: MerkleRoot::from_bytes(salt),
            time: context.median_time_past + 1,
            bits: context.bits,
            nonce: 0,
        };
        let target = Target::from_compact(header.bits).unwrap();
        let hasher = HeaderHasher::new(&header);
        header.nonce = (0..).find(|nonce| target.is_met_by(&hasher.hash(*nonce)))?;
        Some(header)
    }

    fn check(&self) {
        let tree = &self.tree;
        assert!(tree.is_active(&self.last_final), "the final block is on the main chain");
        assert_eq!(tree.height(&self.last_final), Some(tree.final_height()));
        for height in 0..=tree.final_height().get() {
            let hash = tree.hash_at(BlockHeight::new(height)).unwrap();
            assert_eq!(tree.ancestor(&self.last_final, BlockHeight::new(height)), Some(hash));
            assert_eq!(tree.status(&hash), Some(BlockStatus::Active));
        }
        assert!(self.bodies.keys().all(|hash| tree.contains(hash)), "what has a body stays");
        let open = || self.blocks.iter().map(|(hash, _)| hash).filter(|hash| self.is_open(hash));
        let most = |work: Option<_>, hash: &BlockHash| work.max(tree.chain_work(hash));
        let is_whole = |hash: &&BlockHash| self.is_whole(hash);
        assert!(open().all(|hash| tree.is_complete(hash) == self.is_whole(hash)));
        assert_eq!(tree.chain_work(&tree.tip()), open().filter(is_whole).fold(None, most));
        assert!(self.is_open(&tree.tip()));
        assert_eq!(tree.chain_work(&tree.best_header()), open().fold(None, most));
        assert!(self.is_open(&tree.best_header()));
        for hash in tree.missing_bodies(usize::MAX) {
            assert!(tree.wants_body(&hash), "what is asked for is let in");
        }
    }

    /// Are all bodies there, down to genesis?
    fn is_whole(&self, hash: &BlockHash) -> bool {
        let (genesis, _) = self.blocks[0];
        let mut at = *hash;
        while let Some(parent) = self.bodies.get(&at) {
            if at == genesis {
                return true;
            }
            at = *parent;
        }
        false
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_the_choice_stands_on_the_final_block(steps in vec(step(), 1..60)) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
            world.check();
        }
    }
}
