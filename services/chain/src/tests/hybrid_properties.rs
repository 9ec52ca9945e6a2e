//! Random histories of engine hybrid: whatever branches grow, in whatever order blocks and
//! certificates arrive, over restarts and kills, the final block is the highest certified one whose
//! chain is here, the main chain the one of most work that holds it, and all else as a rebuild.

use std::collections::BTreeSet;

use pentad_api::chain::v1 as proto;
use pentad_api::chain::v1::FinalityOutcome;
use pentad_primitives::{Block, BlockHash, BlockHeight, Encode as _};
use pentad_store::DiskEngine;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use tokio::runtime::Runtime;

use super::fixture::Person;
use super::hybrid::{headers, last_final};
use super::properties::{Spend, World, config, spend};
use super::validators::{finalise, hybrid_certificate, hybrid_spec};

#[derive(Clone, Debug)]
enum Step {
    /// A block of the mempool's best on the tip.
    Mine,
    /// Blocks that follow one another on any block; they may arrive later, or never.
    Grow { parent: Index, spends: Vec<Vec<Spend>> },
    /// Any block arrives, again or before its parent, whose header comes with it.
    Arrive(Index),
    /// A block that pays its miner too much, on any block.
    Invalid(Index),
    /// Validators make any block final that stands on what they made final before.
    Certify(Index),
    /// What validators made final arrives, again or before its block.
    Certificate(Index),
    /// So does a certificate that contradicts the last final block.
    Conflict(Index),
    /// A transaction to the mempool.
    Payment(Spend),
    /// The node ends in good order and starts again.
    Restart,
    /// The node is killed and starts again.
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<Index>;
    prop_oneof![
        2 => Just(Step::Mine),
        4 => (index(), vec(vec(spend(), 0..3), 1..4))
            .prop_map(|(parent, spends)| Step::Grow { parent, spends }),
        8 => index().prop_map(Step::Arrive),
        1 => index().prop_map(Step::Invalid),
        2 => index().prop_map(Step::Certify),
        4 => index().prop_map(Step::Certificate),
        1 => index().prop_map(Step::Conflict),
        3 => spend().prop_map(Step::Payment),
        1 => Just(Step::Restart),
        1 => Just(Step::Kill),
    ]
}

/// A node, what is there to arrive, and what the node should make of what has arrived.
struct Hybrid {
    world: World,
    /// Valid blocks but genesis, as they were made.
    made: Vec<Block>,
    /// Blocks that arrived, by the order in which they did.
    here: Vec<BlockHash>,
    /// Those that its disk holds: after a start, one without its parents is as good as gone until
    /// the start after they came.
    stored: BTreeSet<BlockHash>,
    /// What validators made final, genesis first.
    certified: Vec<BlockHash>,
    last_final: BlockHash,
    awaited: Option<BlockHash>,
    tip: BlockHash,
    /// Nobody can tell after a start which of two blocks was complete first.
    knows_order: bool,
}

impl Hybrid {
    async fn new(engine: Option<DiskEngine>) -> Self {
        let world = World::new(hybrid_spec(), engine).await;
        let genesis = world.tree.tip();
        Self {
            world,
            made: Vec::new(),
            here: vec![genesis],
            stored: BTreeSet::from([genesis]),
            certified: vec![genesis],
            last_final: genesis,
            awaited: None,
            tip: genesis,
            knows_order: true,
        }
    }

    fn height(&self, hash: &BlockHash) -> u32 {
        self.world.tree.height(hash).expect("made here").get()
    }

    fn is_on(&self, hash: &BlockHash, ancestor: &BlockHash) -> bool {
        let height = BlockHeight::new(self.height(ancestor));
        self.world.tree.ancestor(hash, height) == Some(*ancestor)
    }

    /// Could both be on one chain?
    fn agree(&self, a: &BlockHash, b: &BlockHash) -> bool {
        self.is_on(a, b) || self.is_on(b, a)
    }

    fn is_complete(&self, hash: &BlockHash) -> bool {
        let way = (0..=self.height(hash)).map(BlockHeight::new);
        let way = way.filter_map(|height| self.world.tree.ancestor(hash, height));
        way.into_iter().all(|hash| self.here.contains(&hash))
    }

    /// When the last block of its chain arrived.
    fn seen(&self, hash: &BlockHash) -> Option<usize> {
        self.here.iter().rposition(|it| self.is_on(hash, it))
    }

    async fn take(&mut self, step: &Step) {
        match step {
            Step::Mine => {
                let block = self.world.node.template(&Person::new(2)).await;
                self.world.learn(&block);
                self.made.push(block.clone());
                self.arrive(&block).await;
            }
            Step::Grow { parent, spends } => {
                let mut parent = self.any(parent);
                for spends in spends {
                    let block = self.world.block_on(&parent, spends);
                    parent = block.block_hash();
                    self.made.push(block);
                }
            }
            Step::Arrive(_) if self.made.is_empty() => {}
            Step::Arrive(block) => {
                let block = block.get(&self.made).clone();
                self.arrive(&block).await;
            }
            Step::Invalid(parent) => {
                let parent = self.any(parent);
                let mut block = self.world.block_on(&parent, &[]);
                self.world.spoil(&mut block);
                // Off the main chain nobody can tell yet.
                let outcome = self.world.node.submit_block(&block).await;
                assert_ne!(outcome.ok(), Some(proto::BlockOutcome::Connected));
            }
            Step::Certify(block) => {
                let last = *self.certified.last().expect("genesis");
                let above = self.made.iter().map(Block::block_hash);
                let above: Vec<_> =
                    above.filter(|hash| *hash != last && self.is_on(hash, &last)).collect();
                if !above.is_empty() {
                    self.certified.push(*block.get(&above));
                }
            }
            Step::Certificate(block) => {
                if let Some(certified) = self.certified.get(1..).filter(|it| !it.is_empty()) {
                    let hash = *block.get(certified);
                    self.certificate(hash).await;
                }
            }
            Step::Conflict(block) => self.conflict(block).await,
            Step::Payment(spend) => self.world.pay(spend).await,
            Step::Restart => {
                self.world.restart().await;
                self.forget();
            }
            Step::Kill => {
                self.world.kill().await;
                self.forget();
            }
        }
    }

    fn any(&self, index: &Index) -> BlockHash {
        let genesis = self.world.options.spec.genesis_hash();
        let made = self.made.iter().map(Block::block_hash);
        *index.get(&[genesis].into_iter().chain(made).collect::<Vec<_>>())
    }

    fn block(&self, hash: &BlockHash) -> &Block {
        self.made.iter().find(|block| block.block_hash() == *hash).expect("made here")
    }

    fn certificate_of(&self, hash: &BlockHash) -> bytes::Bytes {
        hybrid_certificate(self.block(hash), self.height(hash))
    }

    async fn arrive(&mut self, block: &Block) {
        let hash = block.block_hash();
        let way = (1..=self.height(&hash)).map(BlockHeight::new);
        let way = way.filter_map(|height| self.world.tree.ancestor(&hash, height));
        let way: Vec<_> = way.map(|hash| self.block(&hash).clone()).collect();
        headers(&self.world.node, &way).await;
        let outcome = self.world.node.submit_block(block).await;
        if !self.agree(&hash, &self.last_final) {
            assert_ne!(outcome.ok(), Some(proto::BlockOutcome::Connected));
            return;
        }
        let is_known = self.here.contains(&hash);
        let outcome = outcome.expect("a valid block");
        assert_eq!(outcome == proto::BlockOutcome::AlreadyKnown, is_known);
        if !is_known {
            self.here.push(hash);
            self.stored.insert(hash);
        }
        if let Some(awaited) = self.awaited.filter(|awaited| self.is_complete(awaited)) {
            self.last_final = awaited;
            self.awaited = None;
        }
    }

    async fn certificate(&mut self, hash: BlockHash) {
        let expected = if self.is_on(&self.last_final, &hash) {
            FinalityOutcome::AlreadyFinal
        } else if self.is_complete(&hash) {
            self.last_final = hash;
            let height = self.height(&hash);
            self.awaited = self.awaited.filter(|awaited| self.height(awaited) > height);
            FinalityOutcome::Final
        } else {
            let height = self.height(&hash);
            let awaited = self.awaited.filter(|awaited| self.height(awaited) >= height);
            self.awaited = awaited.or(Some(hash));
            FinalityOutcome::Awaited
        };
        let outcome = finalise(&self.world.node, self.certificate_of(&hash)).await;
        assert_eq!(outcome, Ok(expected));
    }

    /// Of a block that the node knows, or one below its last final block.
    async fn conflict(&self, block: &Index) {
        let final_height = self.height(&self.last_final);
        let is_told = |hash: &BlockHash| {
            !self.agree(hash, &self.last_final)
                && (self.here.contains(hash) || self.height(hash) <= final_height)
        };
        let told: Vec<_> = self.made.iter().map(Block::block_hash).filter(is_told).collect();
        if !told.is_empty() {
            let certificate = self.certificate_of(block.get(&told));
            let refused = finalise(&self.world.node, certificate).await.expect_err("a conflict");
            assert_eq!(refused.reason, "CONFLICTING_FINALITY");
        }
    }

    /// A start knows headers of stored blocks alone, and no certificate that waited.
    fn forget(&mut self) {
        self.here = self.stored.iter().copied().collect();
        let complete = self.here.iter().filter(|hash| self.is_complete(hash));
        self.here = complete.copied().collect();
        self.awaited = None;
        self.knows_order = false;
    }

    async fn check(&mut self) {
        let tip = self.world.node.tip().await;
        let open = |hash: &&BlockHash| self.is_on(hash, &self.last_final) && self.is_complete(hash);
        let open: Vec<_> = self.here.iter().filter(open).collect();
        let best = open.iter().map(|hash| self.height(hash)).max().expect("the final block");
        let best: Vec<_> = open.into_iter().filter(|it| self.height(it) == best).collect();
        assert!(best.contains(&&tip), "most work wins among those with the final block");
        if self.knows_order {
            let first = best.iter().map(|hash| self.seen(hash)).min();
            let expected = if best.contains(&&self.tip) {
                tip == self.tip
            } else {
                Some(self.seen(&tip)) == first
            };
            assert!(expected, "the first seen wins");
        }
        self.tip = tip;
        self.world.check_set(&tip).await;
        let found = last_final(&self.world.node).await;
        assert_eq!(found.height, self.height(&self.last_final));
        if found.height > 0 {
            assert_eq!(found.header, self.block(&self.last_final).header.to_bytes());
            assert_eq!(found.certificate, self.certificate_of(&self.last_final));
        }
    }
}

fn play(steps: &[Step], engine: Option<DiskEngine>) {
    Runtime::new().expect("a runtime").block_on(async {
        let mut hybrid = Hybrid::new(engine).await;
        for step in steps {
            hybrid.take(step).await;
            hybrid.check().await;
        }
        // A rebuild has all of the disk in reach, and need not see the same block first.
        for step in [Step::Restart, Step::Mine] {
            hybrid.take(&step).await;
            hybrid.check().await;
        }
        hybrid.world.check_rebuilt().await;
    });
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_history_has_the_highest_final_block_in_memory(steps in vec(step(), 1..60)) {
        play(&steps, None);
    }

    #[test]
    fn any_history_has_the_highest_final_block_in_sled(steps in vec(step(), 1..50)) {
        play(&steps, Some(DiskEngine::Sled));
    }

    #[test]
    fn any_history_has_the_highest_final_block_in_an_lsm_tree(steps in vec(step(), 1..50)) {
        play(&steps, Some(DiskEngine::Lsm));
    }
}
