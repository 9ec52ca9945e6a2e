//! Random histories: whatever blocks and transactions arrive in whatever order, the UTXO set and
//! the mempool are those of a rebuild from scratch, and every template is valid.

use std::collections::{BTreeMap, BTreeSet};

use pentad_ledger::connect::connect;
use pentad_ledger::mempool::{Entry, FeeRate, Mempool, Policy, Totals};
use pentad_ledger::template::BlockTemplate;
use pentad_ledger::utxo::{UtxoChanges, UtxoSet, UtxoView};
use pentad_ledger::verify::{CheckedBlock, block_signatures, verify_signatures};
use pentad_primitives::hash::{BlockHash, Txid};
use pentad_primitives::{BlockHeight, OutPoint, Transaction, TxOut};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::chain::{Chain, Coin, NOW, output, script_of, sign, units, unsigned};
use crate::mempool::admit;
use crate::mempool_reorg::follow;

#[derive(Clone, Debug)]
enum Step {
    /// A block on any known block that spends some of that branch's outputs.
    Block { parent: Index, spends: Vec<Spend> },
    /// A branch that leaves the chain below the tip and overtakes it.
    Branch { depth: u32, spends: Vec<Spend> },
    /// A block of the mempool's best on the tip.
    Template,
    /// A transaction to the mempool.
    Payment(Spend),
    /// Time passes.
    Expire(u32),
}

#[derive(Clone, Debug)]
struct Spend {
    coin: Index,
    second: Option<Index>,
    to: u8,
    parts: u8,
    fee: u64,
    replaceable: bool,
}

fn spend() -> impl Strategy<Value = Spend> {
    let index = any::<Index>;
    (index(), proptest::option::of(index()), 1..=5_u8, 1..=3_u8, 0..5_000_u64, any::<bool>())
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
    prop_oneof![
        3 => (any::<Index>(), vec(spend(), 0..4))
            .prop_map(|(parent, spends)| Step::Block { parent, spends }),
        2 => (1..4_u32, vec(spend(), 0..3))
            .prop_map(|(depth, spends)| Step::Branch { depth, spends }),
        2 => Just(Step::Template),
        6 => spend().prop_map(Step::Payment),
        1 => (0..2_000_000_u32).prop_map(Step::Expire),
    ]
}

/// The owner of a script among keys 1 to 9.
fn owner(output: &TxOut) -> Option<u8> {
    (1..=9).find(|number| script_of(*number) == output.script_pubkey)
}

fn coin(outpoint: OutPoint, output: &TxOut) -> Option<Coin> {
    Some(Coin { outpoint, output: output.clone(), owner: owner(output)? })
}

/// A payment of one or two of these coins; `None` where it cannot pay its fee.
fn payment(coins: &[Coin], spend: &Spend) -> Option<Transaction> {
    if coins.is_empty() {
        return None;
    }
    let mut spent = vec![spend.coin.get(coins).clone()];
    let second = spend.second.map(|index| index.get(coins).clone());
    spent.extend(second.filter(|second| second.outpoint != spent[0].outpoint));
    let total: u64 = spent.iter().map(|coin| coin.amount().units()).sum();
    let part = total.checked_sub(spend.fee)? / u64::from(spend.parts);
    let outputs = vec![output(spend.to, units(part)); usize::from(spend.parts)];
    let mut transaction = unsigned(&spent, outputs);
    if spend.replaceable {
        transaction.inputs[0].sequence = 0;
    }
    Some(sign(transaction, &spent))
}

/// The network under test, with the UTXO set after each block by itself.
struct World {
    chain: Chain,
    mempool: Mempool,
    sets: BTreeMap<BlockHash, UtxoSet>,
    /// What is in the mempool by what its operations told.
    told: BTreeSet<Txid>,
    now: u32,
}

impl World {
    fn new() -> Self {
        let chain = Chain::development();
        let sets = BTreeMap::from([(chain.tip(), chain.utxos.clone())]);
        let policy = Policy {
            bytes_max: 2_500,
            min_fee_rate: FeeRate(500),
            ancestors_max: 4,
            descendants_max: 5,
            ..Policy::default()
        };
        Self {
            mempool: Mempool::new(policy, &chain.spec),
            chain,
            sets,
            told: BTreeSet::new(),
            now: NOW,
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Block { parent, spends } => {
                let known: Vec<_> = self.sets.keys().copied().collect();
                self.branch(*parent.get(&known), spends);
            }
            Step::Branch { depth, spends } => {
                let tip = self.chain.tree.tip_height().get();
                let height = BlockHeight::new(tip.saturating_sub(*depth));
                let mut parent = self.chain.tree.hash_at(height).unwrap();
                for _ in 0..=*depth {
                    parent = self.branch(parent, spends);
                }
                assert_eq!(self.chain.tip(), parent);
            }
            Step::Template => self.template(),
            Step::Payment(spend) => {
                let utxos = self.chain.utxos.iter().map(|(at, utxo)| (*at, utxo.output.clone()));
                let pool = self.mempool.iter().flat_map(|entry| {
                    let outputs = (0..).zip(entry.transaction().outputs.clone());
                    outputs.map(|(vout, output)| (OutPoint { txid: entry.txid(), vout }, output))
                });
                let coins: Vec<_> =
                    utxos.chain(pool).filter_map(|(at, output)| coin(at, &output)).collect();
                if let Some(transaction) = payment(&coins, spend) {
                    // Conflicts, dust, low fees: many are refused, and that is the point.
                    if let Ok(admitted) = admit(&mut self.mempool, &self.chain, &transaction) {
                        assert!(self.told.insert(admitted.txid));
                        let gone = admitted.replaced.iter().chain(&admitted.evicted);
                        gone.for_each(|txid| assert!(self.told.remove(txid)));
                    }
                }
            }
            Step::Expire(seconds) => {
                self.now += seconds;
                let expired = self.mempool.expire(self.now);
                expired.iter().for_each(|txid| assert!(self.told.remove(txid)));
            }
        }
    }

    /// Mines on `parent` what its own branch allows.
    fn branch(&mut self, parent: BlockHash, spends: &[Spend]) -> BlockHash {
        let mut set = self.sets[&parent].clone();
        let context = self.chain.tree.context(&parent).unwrap();
        let mut coins: Vec<_> =
            set.iter().filter_map(|(at, utxo)| coin(*at, &utxo.output)).collect();
        let mut transactions = Vec::new();
        for spend in spends {
            if let Some(transaction) = payment(&coins, spend) {
                let spent = transaction.inputs.iter().map(|input| input.previous_output);
                let spent: BTreeSet<_> = spent.collect();
                coins.retain(|coin| !spent.contains(&coin.outpoint));
                let txid = transaction.txid();
                let outputs = (0..).zip(&transaction.outputs);
                coins.extend(outputs.filter_map(|(vout, out)| coin(OutPoint { txid, vout }, out)));
                transactions.push(transaction);
            }
        }
        let block = self.chain.block_on(&parent, &transactions);
        let checked = CheckedBlock::check(block.clone(), &self.chain.spec).unwrap();
        let connected = connect(&checked, &context, &self.chain.spec, &set).unwrap();
        set.apply(&UtxoChanges::of_block(&checked, context.height, &connected.undo).unwrap());
        self.sets.insert(checked.hash(), set);
        let from = self.chain.tip();
        self.chain.submit(&block).unwrap();
        self.follow(&from);
        block.block_hash()
    }

    fn follow(&mut self, from: &BlockHash) {
        let updated = follow(&mut self.mempool, &self.chain, from);
        for (txid, reason) in &updated.removed {
            assert!(self.told.remove(txid), "{txid} {reason:?}");
        }
        for txid in updated.returned {
            assert!(self.told.insert(txid));
        }
    }

    fn build(&self) -> BlockTemplate {
        let context = self.chain.context();
        let payout = script_of(9);
        BlockTemplate::build(&context, &self.mempool, &self.chain.spec, payout, NOW).unwrap()
    }

    fn template(&mut self) {
        let mut block = self.build().into_block();
        crate::chain::solve(&mut block.header);
        let from = self.chain.tip();
        assert_eq!(self.chain.submit(&block), Ok(block.block_hash()));
        self.sets.insert(block.block_hash(), self.chain.utxos.clone());
        self.follow(&from);
    }

    fn check(&self) {
        assert_eq!(self.mempool.iter().map(Entry::txid).collect::<BTreeSet<_>>(), self.told);
        assert_eq!(self.chain.utxos, self.sets[&self.chain.tip()]);
        self.check_relations();
        self.check_template();
    }

    /// The mempool's bounds and its bookkeeping, counted afresh.
    fn check_relations(&self) {
        let policy = self.mempool.policy();
        let mut spent = BTreeSet::new();
        let mut bytes = 0;
        for entry in self.mempool.iter() {
            bytes += entry.bytes();
            for input in &entry.transaction().inputs {
                let outpoint = input.previous_output;
                assert!(spent.insert(outpoint), "{outpoint} is spent twice");
                assert_eq!(self.mempool.spender(&outpoint), Some(entry.txid()));
                let confirmed = self.chain.utxos.utxo(&outpoint).unwrap().is_some();
                let unconfirmed = self.mempool.output(&outpoint).is_some();
                assert!(confirmed != unconfirmed, "{outpoint} {confirmed} {unconfirmed}");
            }
            assert_eq!(entry.ancestors(), self.count(entry, |e| self.parents(e)));
            assert_eq!(entry.descendants(), self.count(entry, |e| self.children(e)));
            assert!(entry.ancestors().count <= policy.ancestors_max);
            assert!(entry.descendants().count <= policy.descendants_max);
        }
        assert_eq!(self.mempool.total_bytes(), bytes);
        assert!(bytes <= policy.bytes_max);
        for number in 1..=9 {
            self.check_script(number);
        }
        let by_score: Vec<_> = self.mempool.by_mining_score().collect();
        assert_eq!(by_score.len(), self.mempool.len());
    }

    fn check_script(&self, number: u8) {
        let script = script_of(number);
        let own = |output: &TxOut| {
            let units = output.amount.units() as i64;
            if output.script_pubkey == script { units } else { 0 }
        };
        let effect = |entry: &Entry| -> i64 {
            let received: i64 = entry.transaction().outputs.iter().map(own).sum();
            received - entry.spent().iter().map(own).sum::<i64>()
        };
        let pending: i64 = self.mempool.iter().map(effect).sum();
        assert_eq!(self.mempool.pending(&script), pending);
    }

    fn parents(&self, entry: &Entry) -> Vec<&Entry> {
        let inputs = entry.transaction().inputs.iter();
        inputs.filter_map(|input| self.mempool.get(&input.previous_output.txid)).collect()
    }

    fn children(&self, entry: &Entry) -> Vec<&Entry> {
        let txid = entry.txid();
        let spends = |other: &&Entry| {
            other.transaction().inputs.iter().any(|input| input.previous_output.txid == txid)
        };
        self.mempool.iter().filter(spends).collect()
    }

    fn count<'a>(&'a self, entry: &'a Entry, next: impl Fn(&'a Entry) -> Vec<&'a Entry>) -> Totals {
        let mut reached: BTreeMap<Txid, &Entry> = BTreeMap::new();
        let mut open = vec![entry];
        while let Some(entry) = open.pop() {
            if reached.insert(entry.txid(), entry).is_none() {
                open.extend(next(entry));
            }
        }
        reached.values().fold(Totals::default(), |totals, entry| Totals {
            count: totals.count + 1,
            bytes: totals.bytes + entry.bytes(),
            fees: totals.fees + entry.fee().units(),
        })
    }

    /// The template connects; so does all of the mempool, since everything fits one block.
    fn check_template(&self) {
        let template = self.build();
        assert_eq!(template.block().transactions.len(), self.mempool.len() + 1);
        let block = CheckedBlock::check(template.into_block(), &self.chain.spec).unwrap();
        let context = self.chain.context();
        let connected = connect(&block, &context, &self.chain.spec, &self.chain.utxos).unwrap();
        verify_signatures(block_signatures(&block, &connected.undo)).unwrap();
    }

    /// What comes of the same transactions in an empty mempool.
    fn check_rebuilt_mempool(&self) {
        let policy = self.mempool.policy().clone();
        let mut rebuilt = Mempool::new(policy, &self.chain.spec);
        for entry in self.mempool.gather(|entry| entry).in_topological_order() {
            admit(&mut rebuilt, &self.chain, entry.transaction()).unwrap();
        }
        for ours in self.mempool.iter() {
            let theirs = rebuilt.get(&ours.txid()).unwrap();
            assert_eq!(ours.fee(), theirs.fee());
            assert_eq!(ours.spent(), theirs.spent());
            assert_eq!(ours.ancestors(), theirs.ancestors());
            assert_eq!(ours.descendants(), theirs.descendants());
        }
        assert_eq!(rebuilt.len(), self.mempool.len());
    }

    /// All the way down and up again, by undo data alone.
    fn check_undo(&mut self) {
        let tip = self.chain.tip();
        let genesis = self.chain.spec.genesis_hash();
        let path = self.chain.tree.path(&tip, &genesis).unwrap();
        let mut utxos = self.chain.utxos.clone();
        for hash in &path.undo {
            assert_eq!(utxos, self.sets[hash]);
            let height = self.chain.tree.height(hash).unwrap();
            let (body, undo) = (&self.chain.bodies[hash], &self.chain.undos[hash]);
            let changes = pentad_ledger::connect::disconnect(body, height, undo).unwrap();
            utxos.apply(&changes);
        }
        assert_eq!(utxos, self.sets[&genesis]);
        assert_eq!(self.chain.rebuilt(), self.chain.utxos);
        assert_eq!(self.chain.tree.hash_at(BlockHeight::GENESIS), Some(genesis));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_history_is_as_a_rebuild(steps in vec(step(), 1..50)) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
            world.check();
        }
        world.check_rebuilt_mempool();
        world.check_undo();
    }
}
