//! Random histories of the whole service: whatever blocks, branches and payments arrive in
//! whatever order, over restarts and kills, the unspent outputs, all tables of the index and the
//! mempool are those of a rebuild from scratch.

use std::collections::{BTreeMap, BTreeSet};

use pentad_api::chain::v1 as proto;
use pentad_ledger::connect::connect;
use pentad_ledger::utxo::{UtxoChanges, UtxoSet};
use pentad_ledger::verify::CheckedBlock;
use pentad_ledger::{ChainSpec, HeaderTree, coinbase};
use pentad_primitives::{
    Amount, Block, BlockHash, BlockHeader, BlockHeight, Encode as _, OutPoint, Transaction, TxOut,
    Utxo,
};
use pentad_store::{DiskEngine, EngineKind};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::crash::consistency::assert_sound;
use super::crash::copy;
use super::crash::victim::{choose, small};
use super::fixture::{COIN, Node, Person, START, directory, reseal, spec};
use super::set_hash;
use crate::Options;

/// Keys that own coins; Alice, whom genesis pays, is the first.
const OWNERS: u8 = 4;
/// Far enough after genesis that no block is too far ahead.
pub const NOW: u32 = START + 100_000;

#[derive(Clone, Debug)]
enum Step {
    /// A block of the mempool's best on the tip.
    Mine,
    /// Blocks on a block so far below the tip, parents first or last; the last may be invalid.
    Branch { depth: u32, spends: Vec<Vec<Spend>>, order: Order },
    /// A transaction to the mempool.
    Payment(Spend),
    /// The node ends in good order and starts again.
    Restart,
    /// The node is killed and starts again.
    Kill,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    ParentsFirst,
    /// The headers first, then bodies from the last to the first.
    ParentsLast,
    /// Parents first; the last block pays its miner too much.
    LastInvalid,
}

#[derive(Clone, Debug)]
pub struct Spend {
    coin: Index,
    second: Option<Index>,
    to: u8,
    parts: u8,
    fee: u64,
    replaceable: bool,
}

pub fn spend() -> impl Strategy<Value = Spend> {
    let index = any::<Index>;
    let owners = 1..=OWNERS;
    (index(), proptest::option::of(index()), owners, 1..=3_u8, 1_000..9_000_u64, any::<bool>())
        .prop_map(|(coin, second, to, parts, fee, replaceable)| Spend {
            coin,
            second,
            to,
            parts,
            fee,
            replaceable,
        })
}

fn step() -> impl Strategy<Value = Step> {
    let order = prop_oneof![
        3 => Just(Order::ParentsFirst),
        2 => Just(Order::ParentsLast),
        1 => Just(Order::LastInvalid),
    ];
    prop_oneof![
        4 => Just(Step::Mine),
        4 => (0..4_u32, vec(vec(spend(), 0..3), 1..5), order)
            .prop_map(|(depth, spends, order)| Step::Branch { depth, spends, order }),
        8 => spend().prop_map(Step::Payment),
        1 => Just(Step::Restart),
        1 => Just(Step::Kill),
    ]
}

fn owner(output: &TxOut) -> Option<Person> {
    (1..=OWNERS).map(Person::new).find(|person| person.script() == output.script_pubkey)
}

/// A payment of one or two coins of one owner; `None` where they cannot pay the fee.
fn payment(coins: &BTreeMap<OutPoint, TxOut>, spend: &Spend) -> Option<Transaction> {
    let coins: Vec<_> = coins.iter().filter(|(_, output)| owner(output).is_some()).collect();
    if coins.is_empty() {
        return None;
    }
    let first = spend.coin.get(&coins);
    let mut spent = vec![*first];
    let second = spend.second.map(|index| *index.get(&coins));
    spent.extend(
        second.filter(|second| {
            second.0 != first.0 && second.1.script_pubkey == first.1.script_pubkey
        }),
    );
    let total: u64 = spent.iter().map(|(_, output)| output.amount.units()).sum();
    let part = total.checked_sub(spend.fee)? / u64::from(spend.parts);
    let to = Person::new(spend.to);
    let inputs: Vec<OutPoint> = spent.iter().map(|(outpoint, _)| **outpoint).collect();
    let outputs = vec![(&to, part); usize::from(spend.parts)];
    let sequence = if spend.replaceable { 0 } else { u32::MAX };
    Some(owner(first.1)?.spend_with(&inputs, &outputs, sequence))
}

/// A node, and what the pure rules say about every valid block that it was given.
pub struct World {
    pub options: Options,
    pub node: Node,
    directory: TempDir,
    pub tree: HeaderTree,
    pub sets: BTreeMap<BlockHash, UtxoSet>,
    /// Makes blocks with the same transactions differ.
    salt: u64,
}

impl World {
    /// Its index is in memory or kept by an engine.
    pub async fn new(spec: ChainSpec, engine: Option<DiskEngine>) -> Self {
        let directory = directory();
        let mut options = Options { spec, ..small(directory.path()) };
        match engine {
            Some(engine) => choose(directory.path(), engine),
            None => options.store.engine = EngineKind::Memory,
        }
        let node = open(&options);
        let mut set = UtxoSet::new();
        set.apply(&pentad_ledger::connect::genesis(&options.spec));
        let sets = BTreeMap::from([(node.tip().await, set)]);
        Self { tree: HeaderTree::new(&options.spec), options, node, directory, sets, salt: 0 }
    }

    async fn take(&mut self, step: &Step) {
        match step {
            Step::Mine => {
                let block = self.node.template(&Person::new(2)).await;
                self.learn(&block);
                self.node.submit_block(&block).await.expect("a valid block");
            }
            Step::Branch { depth, spends, order } => self.branch(*depth, spends, *order).await,
            Step::Payment(spend) => self.pay(spend).await,
            Step::Restart => self.restart().await,
            Step::Kill => self.kill().await,
        }
    }

    pub async fn pay(&self, spend: &Spend) {
        if let Some(payment) = payment(&self.coins().await, spend) {
            // Conflicts, immature coins, dust: many are refused, and that is the point.
            drop(self.node.submit_transaction(&payment).await);
        }
    }

    pub async fn restart(&mut self) {
        self.node.chain.stop().await.expect("a working disk");
        self.node = open(&self.options);
    }

    pub async fn kill(&mut self) {
        let killed = directory();
        copy(self.directory.path(), killed.path());
        self.node.chain.stop().await.expect("a working disk");
        self.options.data_dir = killed.path().to_owned();
        self.node = open(&self.options);
        self.directory = killed;
    }

    /// Outputs that the node knows, confirmed or not.
    async fn coins(&self) -> BTreeMap<OutPoint, TxOut> {
        let confirmed = self.sets[&self.node.tip().await].iter();
        let mut coins: BTreeMap<_, _> =
            confirmed.map(|(outpoint, utxo)| (*outpoint, utxo.output.clone())).collect();
        for transaction in self.waiting() {
            coins.extend(outputs(&transaction));
        }
        coins
    }

    fn waiting(&self) -> Vec<Transaction> {
        let mempool = self.node.chain.published().mempool();
        let all = mempool.gather(|entry| Transaction::clone(entry.transaction()));
        all.in_topological_order()
    }

    async fn branch(&mut self, depth: u32, spends: &[Vec<Spend>], order: Order) {
        let height = self.node.info().await.height.saturating_sub(depth);
        let mut parent = self.node.block_at(height).await.block_hash();
        let mut blocks = Vec::new();
        for spends in spends {
            let block = self.block_on(&parent, spends);
            parent = block.block_hash();
            blocks.push(block);
        }
        match order {
            Order::ParentsFirst => {}
            Order::ParentsLast => {
                let headers = blocks.iter().map(|block| block.header.to_bytes().into()).collect();
                let request = proto::CheckHeadersRequest { headers, ..Default::default() };
                self.node.assembly.clone().check_headers(request).await.expect("valid headers");
                blocks.reverse();
            }
            Order::LastInvalid => {
                let last = blocks.last_mut().expect("at least one");
                self.spoil(last);
            }
        }
        for block in &blocks {
            let is_valid = self.sets.contains_key(&block.block_hash());
            let outcome = self.node.submit_block(block).await;
            // Off the main chain nobody can tell yet.
            let is_side = outcome.as_ref().is_ok_and(|it| *it == proto::BlockOutcome::SideBranch);
            assert!(is_side || outcome.is_ok() == is_valid, "{outcome:?}");
        }
    }

    /// Has a block pay its miner too much.
    pub fn spoil(&mut self, block: &mut Block) {
        self.sets.remove(&block.block_hash());
        let reward = &mut block.transactions[0].outputs[0].amount;
        *reward = Amount::from_units(reward.units() + COIN).expect("an amount");
        *block = reseal(block.clone());
    }

    /// A solved block on `parent` with what its branch allows.
    pub fn block_on(&mut self, parent: &BlockHash, spends: &[Spend]) -> Block {
        let context = self.tree.context(parent).expect("a known parent");
        self.salt += 1;
        let tag = coinbase::tag(self.options.spec.genesis_hash().as_bytes());
        let extra = [&[8], &self.salt.to_le_bytes()[..]].concat();
        let reward = TxOut {
            amount: self.options.spec.subsidy(context.height),
            script_pubkey: Person::new(3).script(),
        };
        let script_sig = coinbase::script_sig(context.height, &tag, &extra);
        let mut transactions = vec![coinbase::transaction(script_sig, vec![reward])];
        let mut coins: BTreeMap<OutPoint, TxOut> =
            self.sets[parent].iter().map(|(at, utxo)| (*at, utxo.output.clone())).collect();
        for spend in spends {
            if let Some(payment) = payment(&coins, spend) {
                payment.inputs.iter().for_each(|input| drop(coins.remove(&input.previous_output)));
                coins.extend(outputs(&payment));
                transactions.push(payment);
            }
        }
        let header = BlockHeader {
            version: coinbase::BLOCK_VERSION,
            prev_block_hash: *parent,
            merkle_root: pentad_primitives::MerkleRoot::ZERO,
            time: context.median_time_past + 1,
            bits: context.bits,
            nonce: 0,
        };
        let block = reseal(Block { header, transactions });
        self.learn(&block);
        block
    }

    /// What a valid block makes of the set of its parent.
    pub fn learn(&mut self, block: &Block) {
        let parent = block.header.prev_block_hash;
        let context = self.tree.context(&parent).expect("a known parent");
        let checked = CheckedBlock::check(block.clone(), &self.options.spec).expect("well-formed");
        let mut set = self.sets[&parent].clone();
        let connected = connect(&checked, &context, &self.options.spec, &set).expect("valid");
        let changes = UtxoChanges::of_block(&checked, context.height, &connected.undo);
        set.apply(&changes.expect("its own undo data"));
        self.tree.insert(&block.header, NOW).expect("a valid header");
        self.sets.insert(checked.hash(), set);
    }

    async fn check(&self) {
        let tip = self.node.tip().await;
        let heights = self.sets.keys().filter_map(|hash| self.tree.height(hash));
        let best = heights.max().expect("genesis");
        assert_eq!(BlockHeight::new(self.node.info().await.height), best, "most work wins");
        self.check_set(&tip).await;
        let expected = |hash: &BlockHash| (*hash, set_hash::of(self.sets[hash].iter()));
        let below = best.get().saturating_sub(2);
        let (block, root) = set_hash::root_at(&self.node, below).await.expect("near the tip");
        assert_eq!((block, root), expected(&block), "two blocks below the tip");
    }

    /// The unspent outputs are those after the tip.
    pub async fn check_set(&self, tip: &BlockHash) {
        let expected: Vec<(OutPoint, Utxo)> =
            self.sets[tip].iter().map(|(outpoint, utxo)| (*outpoint, utxo.clone())).collect();
        assert_eq!(self.node.utxo_set().await, expected);
        let expected = (*tip, set_hash::of(self.sets[tip].iter()));
        assert_eq!(set_hash::at_tip(&self.node).await, expected);
    }

    /// The index against a new one; the mempool against an empty one that was given the same.
    pub async fn check_rebuilt(self) {
        // A restart is over once the writer does what it is asked.
        let template = self.node.template(&Person::new(2)).await;
        assert_sound(&self.node, &self.options).await;
        let fresh = directory();
        let mut options = Options { data_dir: fresh.path().to_owned(), ..self.options.clone() };
        options.store.engine = EngineKind::Memory;
        let fresh = Node::try_open(options).expect("an empty directory");
        fresh.clock.set(NOW);
        for height in 1..=self.node.info().await.height {
            fresh.submit_block(&self.node.block_at(height).await).await.expect("a valid block");
        }
        let waiting = self.waiting();
        for transaction in &waiting {
            let is_new = fresh.submit_transaction(transaction).await;
            assert!(is_new.expect("admitted here too"));
        }
        let ids = |transactions: &[Transaction]| -> BTreeSet<_> {
            transactions.iter().map(Transaction::txid).collect()
        };
        let rebuilt = fresh.template(&Person::new(2)).await;
        assert_eq!(ids(&rebuilt.transactions[1..]), ids(&template.transactions[1..]));
        assert_eq!(ids(&waiting), ids(&template.transactions[1..]), "all fit in a block");
        for owner in 1..=OWNERS {
            let person = Person::new(owner);
            assert_eq!(self.node.balance(&person).await, fresh.balance(&person).await);
        }
        fresh.stop().await;
        self.node.stop().await;
    }
}

fn outputs(transaction: &Transaction) -> impl Iterator<Item = (OutPoint, TxOut)> {
    let txid = transaction.txid();
    (0..)
        .zip(&transaction.outputs)
        .map(move |(vout, output)| (OutPoint { txid, vout }, output.clone()))
}

fn open(options: &Options) -> Node {
    let node = Node::try_open(options.clone()).expect("a sound data directory");
    node.clock.set(NOW);
    node
}

fn play(steps: &[Step], engine: Option<DiskEngine>) {
    Runtime::new().expect("a runtime").block_on(async {
        let mut world = World::new(spec(), engine).await;
        for step in steps {
            world.take(step).await;
            world.check().await;
        }
        world.check_rebuilt().await;
    });
}

/// More in a long campaign.
pub fn config() -> ProptestConfig {
    let cases =
        std::env::var("PENTAD_TEST_CASES").map_or(12, |text| text.parse().expect("a number"));
    ProptestConfig { cases, max_shrink_iters: 300, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_history_is_as_a_rebuild_in_memory(steps in vec(step(), 1..40)) {
        play(&steps, None);
    }

    #[test]
    fn any_history_is_as_a_rebuild_in_sled(steps in vec(step(), 1..30)) {
        play(&steps, Some(DiskEngine::Sled));
    }

    #[test]
    fn any_history_is_as_a_rebuild_in_an_lsm_tree(steps in vec(step(), 1..30)) {
        play(&steps, Some(DiskEngine::Lsm));
    }
}
