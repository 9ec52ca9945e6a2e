//! Coins, and payments of one input and two outputs that spend them.

use pentad_crypto::script::p2pkh_script_sig;
use pentad_crypto::{Address, SecretKey};
use pentad_ledger::ChainSpec;
use pentad_ledger::spec::Allocation;
use pentad_primitives::hash::sha256;
use pentad_primitives::sighash::sighash_all;
use pentad_primitives::{Amount, OutPoint, Script, Transaction, TxIn, TxOut};

/// Unix seconds of genesis.
pub const START: u32 = 1_700_000_000;
/// Outputs of a transaction that splits coins; more would not fit its limit of bytes.
const SPLIT_MAX: usize = 2_500;
/// Units of a coin split off genesis: enough for every round.
const COIN_UNITS: u64 = 5_000_000;
/// Units of a small one: a network cannot have many more coins than its blocks issue.
const SMALL_UNITS: u64 = 100_000;
/// What each payment pays away, above dust.
const PAID_UNITS: u64 = 1_000;
/// Fee of a payment, above the least of the default policy.
const FEE_UNITS: u64 = 1_000;
/// Fee of a split: its many outputs make it long.
const SPLIT_FEE_UNITS: u64 = 1_000_000;

/// An output and the key to it.
#[derive(Clone, Debug)]
pub struct Coin {
    /// Where it is.
    pub outpoint: OutPoint,
    /// What it is.
    pub output: TxOut,
    /// Who may spend it.
    pub key: SecretKey,
}

/// The key of that number.
pub fn key(number: usize) -> SecretKey {
    SecretKey::from_bytes(sha256(&number.to_le_bytes())).expect("a hash is almost surely a key")
}

/// What pays the holder of a key (P2PKH).
pub fn script(key: &SecretKey) -> Script {
    Address::P2pkh(key.public_key().key_hash()).script_pubkey()
}

fn amount(units: u64) -> Amount {
    Amount::from_units(units).expect("less than there is")
}

/// What genesis pays key 0, so that it splits into `count` coins.
pub fn allocations(count: usize) -> Vec<Allocation> {
    let units = COIN_UNITS * u64::try_from(SPLIT_MAX).expect("small") + SPLIT_FEE_UNITS;
    let address = Address::P2pkh(key(0).public_key().key_hash());
    vec![Allocation { address, amount: amount(units) }; count.div_ceil(SPLIT_MAX)]
}

/// A development network whose genesis pays key 0 what `count` coins take.
pub fn spec(count: usize) -> ChainSpec {
    ChainSpec::development("bench", START, allocations(count)).expect("a valid spec")
}

/// Transactions that split what genesis pays into `count` coins, each with a key of its own.
pub fn split(spec: &ChainSpec, count: usize) -> (Vec<Transaction>, Vec<Coin>) {
    let genesis = &spec.genesis_block().transactions[0];
    let (mut transactions, mut coins) = (Vec::new(), Vec::new());
    let outputs = genesis.outputs.iter().take(count.div_ceil(SPLIT_MAX));
    for (vout, output) in (0..).zip(outputs) {
        let first = transactions.len() * SPLIT_MAX;
        let numbers = first + 1..=count.min(first + SPLIT_MAX);
        let keys: Vec<_> = numbers.map(key).collect();
        let outputs = keys.iter().map(|key| (script(key), COIN_UNITS));
        let outpoint = OutPoint { txid: genesis.txid(), vout };
        let coin = Coin { outpoint, output: output.clone(), key: key(0) };
        let transaction = spend(&coin, outputs);
        coins.extend((0..).zip(keys).map(|(vout, key)| output_of(&transaction, vout, key)));
        transactions.push(transaction);
    }
    (transactions, coins)
}

/// What genesis pays key 0, so that it splits into `count` small coins.
pub fn small_allocations(count: usize) -> Vec<Allocation> {
    let units = SMALL_UNITS * u64::try_from(SPLIT_MAX).expect("small") + SPLIT_FEE_UNITS;
    let address = Address::P2pkh(key(0).public_key().key_hash());
    vec![Allocation { address, amount: amount(units) }; count.div_ceil(SPLIT_MAX)]
}

/// As [`split`], and then transactions that give `theirs` small coins to somebody else: all transactions, and
/// the coins that are ours.
pub fn split_to(
    spec: &ChainSpec,
    theirs: usize,
    to: &Script,
    ours: usize,
) -> (Vec<Transaction>, Vec<Coin>) {
    let genesis = &spec.genesis_block().transactions[0];
    let (mut transactions, coins) = split(spec, ours);
    let rest = (0..).zip(&genesis.outputs).skip(transactions.len());
    for (vout, output) in rest.take(theirs.div_ceil(SPLIT_MAX)) {
        let outpoint = OutPoint { txid: genesis.txid(), vout };
        let coin = Coin { outpoint, output: output.clone(), key: key(0) };
        transactions.push(spend(&coin, vec![(to.clone(), SMALL_UNITS); SPLIT_MAX]));
    }
    (transactions, coins)
}

/// A payment of a coin: the first output is what the payer keeps.
pub fn pay(coin: &Coin, to: &Script) -> (Transaction, Coin) {
    let kept = coin.output.amount.units() - PAID_UNITS - FEE_UNITS;
    let outputs = [(coin.output.script_pubkey.clone(), kept), (to.clone(), PAID_UNITS)];
    let transaction = spend(coin, outputs);
    let kept = output_of(&transaction, 0, coin.key.clone());
    (transaction, kept)
}

fn output_of(transaction: &Transaction, vout: u32, key: SecretKey) -> Coin {
    let index = usize::try_from(vout).expect("small");
    let output = transaction.outputs[index].clone();
    Coin { outpoint: OutPoint { txid: transaction.txid(), vout }, output, key }
}

fn spend(coin: &Coin, outputs: impl IntoIterator<Item = (Script, u64)>) -> Transaction {
    let outputs = outputs.into_iter();
    let output = |(script_pubkey, units)| TxOut { amount: amount(units), script_pubkey };
    let mut transaction = Transaction {
        version: 1,
        inputs: vec![TxIn {
            previous_output: coin.outpoint,
            script_sig: Script::new(),
            sequence: u32::MAX,
        }],
        outputs: outputs.map(output).collect(),
        lock_time: 0,
    };
    let hash = sighash_all(&transaction, 0, &coin.output.script_pubkey).expect("one input");
    let script_sig = p2pkh_script_sig(&coin.key.sign(&hash), &coin.key.public_key());
    transaction.inputs[0].script_sig = script_sig;
    transaction
}
