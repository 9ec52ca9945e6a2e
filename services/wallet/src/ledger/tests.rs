//! The ledger against a plain model: whatever the chain and the mempool do, each coin is where a
//! look at all blocks would put it.

use std::collections::{BTreeMap, HashMap, HashSet};

use pentad_crypto::{Address, KeyHash};
use pentad_keystore::WalletName;
use pentad_primitives::{
    Amount, Block, BlockHash, BlockHeader, CompactTarget, MerkleRoot, OutPoint, Script,
    Transaction, TxIn, TxOut, Txid,
};
use proptest::prelude::*;

use super::rows::Rows;
use super::scan::Scan;
use super::store::Store;
use super::{Class, Coin, Place, State};
use crate::balance::Balance;

const MATURITY: u32 = 4;

/// What happens, in numbers that are taken modulo what there is.
#[derive(Clone, Debug)]
enum Step {
    /// A block with the first so many transactions of the mempool, whose reward goes to an address.
    Mine(usize, usize),
    Undo,
    /// A transaction of some coins to some addresses.
    Pay(Vec<usize>, Vec<usize>),
    /// A transaction leaves the mempool, and all that hang on it.
    Expire(usize),
    Claim(usize),
    Release(usize),
    /// The process ends, in good order or not, and starts again.
    Restart(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0_usize..4, 0_usize..6).prop_map(|(count, to)| Step::Mine(count, to)),
        1 => Just(Step::Undo),
        4 => (prop::collection::vec(0_usize..99, 1..4), prop::collection::vec(0_usize..6, 1..4))
            .prop_map(|(from, to)| Step::Pay(from, to)),
        1 => (0_usize..9).prop_map(Step::Expire),
        1 => (0_usize..99).prop_map(Step::Claim),
        1 => (0_usize..9).prop_map(Step::Release),
        1 => any::<bool>().prop_map(Step::Restart),
    ]
}

fn name(text: &str) -> WalletName {
    text.parse().expect("a name")
}

/// Addresses 0 and 1 are one wallet's, 2 another's, 3 both's, 4 and 5 of others.
fn address(number: usize) -> Address {
    Address::P2pkh(KeyHash::from_bytes([u8::try_from(number).expect("few"); 20]))
}

fn wallets() -> [(WalletName, Vec<usize>); 2] {
    [(name("a"), vec![0, 1, 3]), (name("b"), vec![2, 3])]
}

#[derive(Default)]
struct Model {
    blocks: Vec<Block>,
    /// Blocks that were undone, with their heights.
    undone: HashMap<BlockHash, (u32, Block)>,
    mempool: Vec<Transaction>,
    claims: Vec<OutPoint>,
    serial: u32,
}

type Unspent = BTreeMap<OutPoint, (TxOut, Option<u32>, bool)>;

impl Model {
    fn tip(&self) -> Place {
        let height = u32::try_from(self.blocks.len()).expect("few") - 1;
        let hash = self.blocks.last().expect("genesis").block_hash();
        Place { height, hash, final_height: 0 }
    }

    fn block(&mut self, transactions: Vec<Transaction>, reward_to: usize) -> Block {
        self.serial += 1;
        let input = TxIn {
            previous_output: OutPoint::NULL,
            script_sig: Script::from(self.serial.to_le_bytes().to_vec()),
            sequence: u32::MAX,
        };
        let output = output(1_000 + u64::from(self.serial), reward_to);
        let coinbase =
            Transaction { version: 1, inputs: vec![input], outputs: vec![output], lock_time: 0 };
        let header = BlockHeader {
            version: 1,
            prev_block_hash: self.blocks.last().map_or(BlockHash::ZERO, Block::block_hash),
            merkle_root: MerkleRoot::ZERO,
            time: self.serial,
            bits: CompactTarget(0),
            nonce: self.serial,
        };
        Block { header, transactions: [coinbase].into_iter().chain(transactions).collect() }
    }

    /// All outputs that no block has spent, then those that the mempool makes.
    fn outputs(&self) -> Unspent {
        let mut outputs = Unspent::new();
        for (height, block) in (0..).zip(&self.blocks) {
            for transaction in &block.transactions {
                for input in &transaction.inputs {
                    outputs.remove(&input.previous_output);
                }
                for (vout, output) in (0..).zip(&transaction.outputs) {
                    let outpoint = OutPoint { txid: transaction.txid(), vout };
                    let made = (output.clone(), Some(height), transaction.is_coinbase());
                    outputs.insert(outpoint, made);
                }
            }
        }
        for transaction in &self.mempool {
            for (vout, output) in (0..).zip(&transaction.outputs) {
                let outpoint = OutPoint { txid: transaction.txid(), vout };
                outputs.insert(outpoint, (output.clone(), None, false));
            }
        }
        outputs
    }

    fn spent_in_mempool(&self) -> HashSet<OutPoint> {
        let inputs = self.mempool.iter().flat_map(|transaction| &transaction.inputs);
        inputs.map(|input| input.previous_output).collect()
    }

    /// Whether one wallet of `owners` owns all that a transaction of the mempool spends.
    fn is_own(&self, txid: &Txid, owners: &[usize], outputs: &Unspent) -> bool {
        let made = self.mempool.iter().find(|transaction| transaction.txid() == *txid);
        made.is_some_and(|transaction| {
            transaction.inputs.iter().all(|input| {
                let spent = outputs.get(&input.previous_output);
                spent.is_some_and(|(output, ..)| owners.contains(&number_of(output)))
            })
        })
    }

    fn class(&self, outpoint: &OutPoint, outputs: &Unspent) -> Class {
        let (output, height, from_coinbase) = &outputs[outpoint];
        let spent = self.spent_in_mempool().contains(outpoint);
        let claimed = self.claims.contains(outpoint);
        let depth = height.map(|height| self.tip().height + 1 - height);
        let owned = |(_, addresses): &(_, Vec<usize>)| {
            addresses.contains(&number_of(output))
                && self.is_own(&outpoint.txid, addresses, outputs)
        };
        match depth {
            Some(depth) if *from_coinbase && depth < MATURITY => Class::Immature,
            _ if spent => Class::Spent,
            _ if claimed => Class::Claimed,
            Some(6..) => Class::Settled,
            Some(_) if *from_coinbase => Class::FreshCoinbase,
            Some(_) => Class::Recent,
            None if wallets().iter().any(owned) => Class::Change,
            None => Class::Pending,
        }
    }

    fn check(&self, state: &State) {
        let outputs = self.outputs();
        for (wallet, addresses) in wallets() {
            let mut balance = Balance::default();
            let mut shelves: [Vec<(u64, OutPoint)>; 4] = Default::default();
            for (outpoint, (output, height, _)) in &outputs {
                if !addresses.contains(&number_of(output)) {
                    continue;
                }
                let class = self.class(outpoint, &outputs);
                let found = state.coin(outpoint).expect("a coin of ours");
                assert_eq!(found.1, class, "{outpoint} at {:?}", self.tip());
                let (units, signed) = (output.amount.units(), output.amount.units().cast_signed());
                match (height, class) {
                    (Some(_), Class::Immature) => balance.immature += units,
                    (Some(_), _) => balance.confirmed += units,
                    (None, Class::Spent) => {}
                    (None, _) => balance.pending += signed,
                }
                if height.is_some() && class == Class::Spent {
                    balance.pending -= signed;
                }
                if let Some(shelf) = shelves.get_mut(class as usize) {
                    shelf.push((units, *outpoint));
                }
            }
            let holding = state.wallet(&wallet).expect("watched");
            assert_eq!(holding.balance, balance, "of {wallet}");
            for (mut expected, found) in shelves.into_iter().zip(holding.shelves()) {
                expected.sort_unstable();
                assert_eq!(found.iter().copied().collect::<Vec<_>>(), expected);
            }
        }
    }
}

fn output(units: u64, to: usize) -> TxOut {
    let amount = Amount::from_units(units).expect("in range");
    TxOut { amount, script_pubkey: address(to).script_pubkey() }
}

fn number_of(output: &TxOut) -> usize {
    usize::from(output.script_pubkey.as_bytes()[3])
}

/// The ledger, as the follower drives it.
struct Subject {
    state: State,
    store: Store,
    _directory: tempfile::TempDir,
}

impl Subject {
    fn apply(&mut self, place: Place, block: &Block) {
        let (rows, _) = self.state.apply(place, block);
        self.store.write(rows).expect("written");
    }

    fn undo(&mut self, below: Place, block: &Block) {
        let touches = block
            .transactions
            .iter()
            .filter_map(|transaction| self.store.touch(&transaction.txid()).expect("readable"));
        let touches = touches.collect();
        let rows = self.state.undo(below, touches);
        self.store.write(rows).expect("written");
    }

    /// The coins of the main chain, as a restart would find them.
    fn on_disk(&self) -> Vec<Coin> {
        let mut coins = self.store.load().expect("readable").1;
        coins.sort_by_key(|coin| coin.outpoint);
        coins
    }

    /// As a look at all blocks finds them.
    fn scanned(&self, blocks: &[Block]) -> Vec<Coin> {
        let addresses = |(wallet, numbers): (WalletName, Vec<usize>)| {
            (wallet, 1, numbers.into_iter().map(address).collect())
        };
        let mut scan = Scan::new(wallets().map(addresses));
        for (height, block) in (0..).zip(blocks) {
            let place = Place { height, hash: block.block_hash(), final_height: 0 };
            assert!(scan.add(place, block, &self.store).expect("written"));
        }
        let mut coins = scan.finish(&self.store).expect("written").coins;
        coins.sort_by_key(|coin| coin.outpoint);
        coins
    }
}

fn begin() -> (Model, Subject) {
    let mut model = Model::default();
    let genesis = model.block(Vec::new(), 0);
    model.blocks.push(genesis.clone());
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = Store::open(directory.path()).expect("opens");
    let mut subject = Subject { state: state(None, Vec::new()), store, _directory: directory };
    subject.apply(model.tip(), &genesis);
    (model, subject)
}

fn run(model: &mut Model, subject: &mut Subject, step: Step) {
    match step {
        Step::Mine(count, to) => {
            let count = count.min(model.mempool.len());
            let transactions: Vec<_> = model.mempool.drain(..count).collect();
            let txids: Vec<Txid> = transactions.iter().map(Transaction::txid).collect();
            let block = model.block(transactions, to);
            model.blocks.push(block.clone());
            subject.apply(model.tip(), &block);
            txids.iter().for_each(|txid| subject.state.remove_waiting(txid));
        }
        Step::Undo if model.blocks.len() > 1 => {
            let Place { height, hash, .. } = model.tip();
            let block = model.blocks.pop().expect("more than genesis");
            model.undone.insert(hash, (height, block.clone()));
            subject.undo(model.tip(), &block);
            let coinbase = block.transactions[0].txid();
            let back: Vec<_> = block.transactions.into_iter().skip(1).collect();
            for transaction in &back {
                subject.state.add_waiting(transaction, 0);
            }
            let later = std::mem::replace(&mut model.mempool, back);
            model.mempool.extend(later);
            expire(model, subject, &coinbase);
        }
        Step::Pay(from, to) => pay(model, subject, &from, &to),
        Step::Expire(number) => {
            if let Some(transaction) = model.mempool.get(number) {
                let txid = transaction.txid();
                model.mempool.remove(number);
                subject.state.remove_waiting(&txid);
                expire(model, subject, &txid);
            }
        }
        Step::Claim(number) => {
            let outputs: Vec<OutPoint> = model.outputs().into_keys().collect();
            let outpoint = outputs[number % outputs.len()];
            let is_new = !model.claims.contains(&outpoint);
            assert_eq!(subject.state.claim(&[outpoint]), is_new);
            if is_new {
                model.claims.push(outpoint);
            }
        }
        Step::Release(number) if !model.claims.is_empty() => {
            let outpoint = model.claims.remove(number % model.claims.len());
            subject.state.release(&[outpoint]);
        }
        Step::Restart(in_order) => restart(model, subject, in_order),
        Step::Undo | Step::Release(_) => {}
    }
}

/// What is on disk may be some blocks old, and of a branch that was left: the chain tells what came
/// after it, and the mempool anew.
fn restart(model: &Model, subject: &mut Subject, in_order: bool) {
    if in_order {
        let mut rows = Rows::default();
        subject.state.put_unwritten_place(&mut rows);
        subject.store.write(rows).expect("written");
    }
    let (place, coins) = subject.store.load().expect("readable");
    let mut place = place.expect("genesis is written");
    assert!(!in_order || place == model.tip());
    subject.state = state(Some(place), coins);
    assert!(subject.state.claim(&model.claims));
    while let Some((height, block)) = model.undone.get(&place.hash) {
        let hash = block.header.prev_block_hash;
        place = Place { height: height - 1, hash, final_height: 0 };
        subject.undo(place, block);
    }
    for (height, block) in (0..).zip(&model.blocks).skip(place.height as usize + 1) {
        subject.apply(Place { height, hash: block.block_hash(), final_height: 0 }, block);
    }
    for transaction in &model.mempool {
        subject.state.add_waiting(transaction, 0);
    }
}

/// As a process begins that finds these on its disk.
fn state(place: Option<Place>, coins: Vec<Coin>) -> State {
    let mut state = State::new(place, coins);
    state.set_maturity(MATURITY);
    for (wallet, numbers) in wallets() {
        state.watch(&wallet, &numbers.into_iter().map(address).collect::<Vec<_>>());
    }
    state
}

fn pay(model: &mut Model, subject: &mut Subject, from: &[usize], to: &[usize]) {
    let spent = model.spent_in_mempool();
    let outputs = model.outputs();
    let free: Vec<_> = outputs.iter().filter(|(it, _)| !spent.contains(it)).collect();
    let picked: BTreeMap<_, _> =
        from.iter().filter_map(|it| free.get(it % free.len().max(1)).copied()).collect();
    let sum: u64 = picked.values().map(|(output, ..)| output.amount.units()).sum();
    if sum < 10 {
        return;
    }
    let inputs = picked.keys().map(|outpoint| TxIn {
        previous_output: **outpoint,
        script_sig: Script::default(),
        sequence: u32::MAX,
    });
    let share = sum / to.len() as u64;
    let outputs = to.iter().map(|to| output(share, *to)).collect();
    let transaction = Transaction { version: 1, inputs: inputs.collect(), outputs, lock_time: 0 };
    subject.state.add_waiting(&transaction, 0);
    // Told twice, it counts once.
    subject.state.add_waiting(&transaction, 0);
    model.mempool.push(transaction);
}

/// What hangs on a transaction that is gone goes as well.
fn expire(model: &mut Model, subject: &mut Subject, gone: &Txid) {
    let hangs = |transaction: &Transaction| {
        transaction.inputs.iter().any(|input| input.previous_output.txid == *gone)
    };
    while let Some(at) = model.mempool.iter().position(hangs) {
        let txid = model.mempool.remove(at).txid();
        subject.state.remove_waiting(&txid);
        expire(model, subject, &txid);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Random seeds are proptest's: a failure prints its case and is replayed from the file it
    /// leaves behind.
    #[test]
    fn coins_are_where_all_blocks_put_them(steps in prop::collection::vec(step(), 1..60)) {
        let (mut model, mut subject) = begin();
        for step in steps {
            run(&mut model, &mut subject, step);
            model.check(&subject.state);
        }
        let scanned = subject.scanned(&model.blocks);
        prop_assert_eq!(&subject.on_disk(), &scanned);
        // What a restart finds, with the mempool told anew, is the same again.
        restart(&model, &mut subject, true);
        model.check(&subject.state);
    }
}

#[test]
fn a_claim_is_whole_or_not_at_all() {
    let outpoint = |vout| OutPoint { txid: Txid::from_bytes([1; 32]), vout };
    let mut state = State::default();
    assert!(state.claim(&[outpoint(0), outpoint(1)]));
    assert!(!state.claim(&[outpoint(2), outpoint(1)]));
    state.release(&[outpoint(1)]);
    assert!(state.claim(&[outpoint(2), outpoint(1)]));
}
