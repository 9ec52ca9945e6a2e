//! Blocks against rules written anew.

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::absolute::{Height, Time};
use bitcoin::consensus::{deserialize, serialize};
use bitcoin::script::Instruction;
use pentad_ledger::coinbase;
use pentad_ledger::verify::contextual::BlockContext;
use pentad_primitives::encode::{Decode as _, Encode as _};
use pentad_primitives::pow::{HeaderHasher, Target};
use pentad_primitives::{Block, OutPoint, Script, Transaction, TxOut};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::{config, core_accepts, theirs};
use crate::chain::{Chain, Coin, NOW, assemble, coin, output, script_of, sign, units, unsigned};

const MAX_MONEY: u64 = 2_100_000_000_000_000;
/// Heights up to here have one-byte pushes, which rust-bitcoin reads as opcodes.
const TRUNK: usize = 18;

/// An unspent output as Bitcoin keeps it.
#[derive(Clone, Debug)]
struct TheirCoin {
    output: bitcoin::TxOut,
    height: u32,
    from_coinbase: bool,
}

/// What Bitcoin needs to know to judge a child of the tip.
struct Judge {
    coins: BTreeMap<bitcoin::OutPoint, TheirCoin>,
    height: u32,
    median_time_past: u32,
    bits: u32,
    parent: String,
    subsidy: u64,
    maturity: u32,
}

type Verdict = Result<(), &'static str>;

fn ensure(holds: bool, rule: &'static str) -> Verdict {
    if holds { Ok(()) } else { Err(rule) }
}

impl Judge {
    fn of(chain: &Chain) -> Self {
        let context = chain.context();
        let their = |(outpoint, utxo): (&OutPoint, &pentad_primitives::Utxo)| {
            let outpoint = deserialize(&outpoint.to_bytes()).unwrap();
            let (height, from_coinbase) = (utxo.height.get(), utxo.from_coinbase);
            (outpoint, TheirCoin { output: theirs(&utxo.output), height, from_coinbase })
        };
        Self {
            coins: chain.utxos.iter().map(their).collect(),
            height: context.height.get(),
            median_time_past: context.median_time_past,
            bits: context.bits.0,
            parent: context.prev_block_hash.to_string(),
            subsidy: chain.spec.subsidy(context.height).units(),
            maturity: chain.spec.coinbase_maturity(),
        }
    }

    fn judge(&self, bytes: &[u8]) -> Verdict {
        let block: bitcoin::Block = deserialize(bytes).map_err(|_| "encoding")?;
        ensure(serialize(&block) == bytes, "encoding")?;
        self.header(&block)?;
        ensure(
            block.txdata.first().is_some_and(bitcoin::Transaction::is_coinbase),
            "coinbase first",
        )?;
        ensure(block.check_merkle_root(), "merkle root")?;
        let txids: BTreeSet<_> = block.txdata.iter().map(|tx| tx.compute_txid()).collect();
        ensure(txids.len() == block.txdata.len(), "CVE-2012-2459")?;
        self.coinbase(&block.txdata[0])?;
        let mut coins = self.coins.clone();
        let mut fees = 0;
        for (index, tx) in block.txdata.iter().enumerate() {
            ensure(index == 0 || !tx.is_coinbase(), "second coinbase")?;
            fees += self.transaction(tx, &mut coins)?;
        }
        let reward: u64 = block.txdata[0].output.iter().map(|output| output.value.to_sat()).sum();
        ensure(reward <= self.subsidy + fees, "coinbase excess")
    }

    fn header(&self, block: &bitcoin::Block) -> Verdict {
        let header = &block.header;
        ensure(header.prev_blockhash.to_string() == self.parent, "parent")?;
        ensure(header.bits.to_consensus() == self.bits, "bits")?;
        ensure(header.validate_pow(header.target()).is_ok(), "work")?;
        ensure(header.time > self.median_time_past, "time")?;
        ensure(header.time <= NOW + 7_200, "time ahead")
    }

    /// BIP34, read as a number.
    fn coinbase(&self, tx: &bitcoin::Transaction) -> Verdict {
        let script = &tx.input[0].script_sig;
        ensure((2..=100).contains(&script.len()), "coinbase length")?;
        let height = match script.instructions().next() {
            Some(Ok(Instruction::PushBytes(push))) => {
                bitcoin::script::read_scriptint(push.as_bytes()).ok()
            }
            _ => None,
        };
        ensure(height == Some(i64::from(self.height)), "BIP34")
    }

    /// Takes inputs out and puts outputs in; gives the fee.
    fn transaction(
        &self,
        tx: &bitcoin::Transaction,
        coins: &mut BTreeMap<bitcoin::OutPoint, TheirCoin>,
    ) -> Result<u64, &'static str> {
        ensure(!tx.input.is_empty() && !tx.output.is_empty(), "empty")?;
        ensure(tx.input.iter().all(|input| input.witness.is_empty()), "witness")?;
        let amounts = tx.output.iter().map(|output| output.value.to_sat());
        let paid = amounts.clone().try_fold(0_u64, u64::checked_add);
        let paid =
            paid.filter(|sum| *sum <= MAX_MONEY && amounts.clone().all(|it| it <= MAX_MONEY));
        let paid = paid.ok_or("CVE-2010-5139")?;
        // Final for a block at this height with this median time past (BIP113): both strictly.
        let height = Height::from_consensus(self.height - 1).unwrap();
        let time = Time::from_consensus(self.median_time_past - 1).unwrap();
        ensure(tx.is_absolute_timelock_satisfied(height, time), "lock time")?;
        let from_coinbase = tx.is_coinbase();
        let mut received = 0;
        if !from_coinbase {
            let bytes = serialize(tx);
            for (index, input) in tx.input.iter().enumerate() {
                let coin = coins.remove(&input.previous_output).ok_or("spent or missing")?;
                let mature = self.height - coin.height >= self.maturity || coin.height == 0;
                ensure(mature || !coin.from_coinbase, "immature")?;
                ensure(core_accepts(&bytes, index, &coin.output), "script")?;
                received += coin.output.value.to_sat();
            }
            ensure(paid <= received, "outputs exceed inputs")?;
        }
        let txid = tx.compute_txid();
        for (vout, output) in (0..).zip(&tx.output) {
            if !output.script_pubkey.is_op_return() {
                let (output, height) = (output.clone(), self.height);
                let coin = TheirCoin { output, height, from_coinbase };
                coins.insert(bitcoin::OutPoint { txid, vout }, coin);
            }
        }
        Ok(received.saturating_sub(paid))
    }
}

/// The rules of ours that Bitcoin does not have, broken by a block that it accepts.
fn stricter(chain: &Chain, block: &[u8], context: &BlockContext) -> Option<&'static str> {
    let Ok(block) = Block::from_bytes(block) else {
        return Some("amounts above 21 million coins do not decode");
    };
    let tag = coinbase::tag(chain.spec.genesis_hash().as_bytes());
    let committed = coinbase::commitment(&block.transactions[0].inputs[0].script_sig);
    if committed.is_none_or(|it| (it.height, it.tag) != (context.height, tag)) {
        return Some("the coinbase names the network");
    }
    let bare = |script: &Script| pentad_crypto::script::classify(script).is_none();
    for transaction in &block.transactions {
        if transaction.encoded_len() == 64 {
            return Some("no transaction has 64 bytes");
        }
        if transaction.outputs.iter().any(|output| bare(&output.script_pubkey)) {
            return Some("outputs pay to templates");
        }
        let data = |output: &&TxOut| output.script_pubkey.as_bytes().first() == Some(&0x6a);
        if transaction.outputs.iter().filter(data).count() > 1 {
            return Some("one data output in a transaction");
        }
        if !transaction.is_coinbase()
            && transaction.inputs.iter().any(|input| super::script::stricter(&input.script_sig, 2))
        {
            return Some("scriptSigs have one form");
        }
    }
    None
}

#[derive(Clone, Debug)]
struct Payment {
    coin: Index,
    parts: u8,
    /// Units that the outputs together have less than the input; below zero they have more.
    fee: i64,
    lock: Lock,
    sequence: u32,
    tail: Tail,
}

#[derive(Clone, Debug)]
enum Lock {
    None,
    Height(i32),
    Time(i32),
}

/// What the last output is.
#[derive(Clone, Debug)]
enum Tail {
    Payment,
    Data(Vec<u8>),
    Anything(Vec<u8>),
}

/// What is done to a block that was put together by the rules.
#[derive(Clone, Debug)]
enum Change {
    Flip(Index, u8),
    Reward(i64),
    CoinbaseHeight(i32),
    Time(i32),
    Swap(Index, Index),
    Repeat(Index),
    Drop(Index),
    Version(i32),
    Truncate(Index),
    Append(u8),
}

fn payment() -> impl Strategy<Value = Payment> {
    let lock = prop_oneof![
        3 => Just(Lock::None),
        1 => (-2..3_i32).prop_map(Lock::Height),
        1 => (-2..3_i32).prop_map(Lock::Time),
    ];
    let tail = prop_oneof![
        6 => Just(Tail::Payment),
        1 => vec(any::<u8>(), 0..90).prop_map(Tail::Data),
        1 => vec(any::<u8>(), 0..40).prop_map(Tail::Anything),
    ];
    let fee = prop_oneof![6 => 0..5_000_i64, 1 => -2..2_i64];
    let sequence = prop::sample::select(vec![0_u32, u32::MAX - 1, u32::MAX]);
    (any::<Index>(), 1..=3_u8, fee, lock, sequence, tail).prop_map(
        |(coin, parts, fee, lock, sequence, tail)| Payment {
            coin,
            parts,
            fee,
            lock,
            sequence,
            tail,
        },
    )
}

fn change() -> impl Strategy<Value = Change> {
    let index = any::<Index>;
    prop_oneof![
        4 => (index(), 0..8_u8).prop_map(|(at, bit)| Change::Flip(at, 1 << bit)),
        1 => (-2..3_i64).prop_map(Change::Reward),
        1 => (-1..2_i32).prop_map(Change::CoinbaseHeight),
        1 => prop_oneof![-3..3_i32, Just(1_000_000), 1_007_190..1_007_210].prop_map(Change::Time),
        1 => (index(), index()).prop_map(|(a, b)| Change::Swap(a, b)),
        1 => index().prop_map(Change::Repeat),
        1 => index().prop_map(Change::Drop),
        1 => any::<i32>().prop_map(Change::Version),
        1 => index().prop_map(Change::Truncate),
        1 => any::<u8>().prop_map(Change::Append),
    ]
}

/// Makes the transactions of a block; the second value is what they pay in fees.
fn transactions(chain: &Chain, payments: &[Payment]) -> (Vec<Transaction>, u64) {
    let owner = |output: &TxOut| (1..=9).find(|owner| script_of(*owner) == output.script_pubkey);
    let coins = chain.utxos.iter().filter_map(|(outpoint, utxo)| {
        let (outpoint, output) = (*outpoint, utxo.output.clone());
        Some(Coin { outpoint, owner: owner(&output)?, output })
    });
    let mut coins: Vec<_> = coins.collect();
    let context = chain.context();
    let (mut made, mut fees) = (Vec::new(), 0);
    for payment in payments {
        // The coin stays where it is: now and then it is spent twice.
        let spent = payment.coin.get(&coins).clone();
        let total = spent.amount().units().saturating_add_signed(-payment.fee);
        fees += spent.amount().units().saturating_sub(total);
        let part = total / u64::from(payment.parts);
        let mut outputs = vec![output(4, units(part)); usize::from(payment.parts)];
        outputs[0] = output(5, units(total - part * (u64::from(payment.parts) - 1)));
        let script = match &payment.tail {
            Tail::Payment => None,
            Tail::Data(data) => pentad_crypto::script::data_script(data),
            Tail::Anything(bytes) => Some(Script::from(bytes.clone())),
        };
        outputs.extend(script.map(|script_pubkey| TxOut { amount: units(0), script_pubkey }));
        let mut transaction = unsigned(std::slice::from_ref(&spent), outputs);
        transaction.lock_time = match payment.lock {
            Lock::None => 0,
            Lock::Height(offset) => context.height.get().saturating_add_signed(offset),
            Lock::Time(offset) => context.median_time_past.saturating_add_signed(offset),
        };
        transaction.inputs[0].sequence = payment.sequence;
        let transaction = sign(transaction, std::slice::from_ref(&spent));
        coins.push(coin(&transaction, 0, 5));
        made.push(transaction);
    }
    (made, fees)
}

/// Changes fields of a block, unless a change before has left no transaction.
fn alter(block: &mut Block, change: &Change) {
    if block.transactions.is_empty() {
        return;
    }
    let header = &mut block.header;
    match change {
        Change::Reward(more) => {
            let reward = &mut block.transactions[0].outputs[0].amount;
            *reward = units(reward.units().saturating_add_signed(*more));
        }
        Change::CoinbaseHeight(more) => {
            let script_sig = &mut block.transactions[0].inputs[0].script_sig;
            let mut bytes = script_sig.as_bytes().to_vec();
            bytes[1] = bytes[1].wrapping_add_signed(*more as i8);
            *script_sig = Script::from(bytes);
        }
        Change::Time(more) => header.time = header.time.saturating_add_signed(*more),
        Change::Version(version) => header.version = *version,
        Change::Swap(a, b) => {
            let length = block.transactions.len();
            block.transactions.swap(a.index(length), b.index(length));
        }
        Change::Repeat(at) => {
            let again = at.get(&block.transactions).clone();
            block.transactions.push(again);
        }
        Change::Drop(at) => {
            drop(block.transactions.remove(at.index(block.transactions.len())));
        }
        Change::Flip(..) | Change::Truncate(_) | Change::Append(_) => {}
    }
}

/// Changes bytes behind the header.
fn alter_bytes(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Flip(at, bits) => *at.get_mut(&mut bytes[80..]) ^= bits,
        Change::Truncate(at) => bytes.truncate(80 + at.index(bytes.len() - 80)),
        Change::Append(byte) => bytes.push(*byte),
        _ => {}
    }
}

/// Sets the merkle root and finds a nonce, as whoever made the change would.
fn seal(bytes: &mut [u8]) {
    let Ok(mut theirs) = deserialize::<bitcoin::Block>(bytes) else { return };
    if let Some(root) = theirs.compute_merkle_root() {
        theirs.header.merkle_root = root;
    }
    bytes[..80].copy_from_slice(&serialize(&theirs.header));
    let header = pentad_primitives::BlockHeader::from_bytes(&bytes[..80]).unwrap();
    let target = Target::from_compact(header.bits).unwrap();
    let hasher = HeaderHasher::new(&header);
    let nonce: u32 = (0..).find(|nonce| target.is_met_by(&hasher.hash(*nonce))).unwrap();
    bytes[76..80].copy_from_slice(&nonce.to_le_bytes());
}

fn we_accept(chain: &mut Chain, bytes: &[u8]) -> Result<(), String> {
    let block = Block::from_bytes(bytes).map_err(|error| error.to_string())?;
    let tip = chain.tip();
    let hash = chain.submit(&block).map_err(|refusal| format!("{refusal:?}"))?;
    if chain.tip() == hash && hash != tip { Ok(()) } else { Err("not the tip".to_owned()) }
}

/// Whether we accept a block, and whether Bitcoin does.
fn compare(
    payments: &[Payment],
    changes: &[Change],
    sealed: bool,
) -> Result<[bool; 2], TestCaseError> {
    let mut chain = Chain::development();
    chain.mine_empty(TRUNK);
    let judge = Judge::of(&chain);
    let context = chain.context();
    let (payments, fees) = transactions(&chain, payments);
    let mut all = vec![chain.coinbase(&context, fees)];
    all.extend(payments);
    let mut block = assemble(&context, all);
    changes.iter().for_each(|change| alter(&mut block, change));
    let mut bytes = block.to_bytes();
    changes.iter().for_each(|change| alter_bytes(&mut bytes, change));
    if sealed {
        seal(&mut bytes);
    }
    let bitcoin = judge.judge(&bytes);
    let ours = we_accept(&mut chain, &bytes);
    prop_assert!(ours.is_err() || bitcoin.is_ok(), "we accept what Bitcoin refuses: {:?}", bitcoin);
    if bitcoin.is_ok() && ours.is_err() {
        let reason = stricter(&chain, &bytes, &context);
        prop_assert!(reason.is_some(), "we refuse what Bitcoin accepts: {:?}", ours);
    }
    Ok([ours.is_ok(), bitcoin.is_ok()])
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn blocks_are_judged_as_by_bitcoin(payments in vec(payment(), 0..5)) {
        compare(&payments, &[], true)?;
    }

    #[test]
    fn altered_blocks_are_judged_as_by_bitcoin(
        payments in vec(payment(), 0..4),
        changes in vec(change(), 1..3),
        sealed in prop::bool::weighted(0.9),
    ) {
        compare(&payments, &changes, sealed)?;
    }
}

/// The comparison is worth something only if it sees blocks of every sort.
#[test]
fn comparison_sees_accepted_and_refused_blocks() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut seen = BTreeMap::<[bool; 2], usize>::new();
    for _ in 0..150 {
        let payments = vec(payment(), 0..3).new_tree(&mut runner).unwrap().current();
        let changes = vec(change(), 0..2).new_tree(&mut runner).unwrap().current();
        *seen.entry(compare(&payments, &changes, true).unwrap()).or_default() += 1;
    }
    for sort in [[true, true], [false, false], [false, true]] {
        assert!(seen.get(&sort).is_some_and(|count| *count >= 5), "{seen:?}");
    }
}
