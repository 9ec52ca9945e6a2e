//! The known traps of transactions, each by its name.

use pentad_crypto::script;
use pentad_ledger::verify::CheckedTransaction;
use pentad_ledger::verify::contextual::TransactionError as ContextError;
use pentad_ledger::verify::structural::{SCRIPT_SIG_LEN_MAX, TransactionError};
use pentad_primitives::hash::Txid;
use pentad_primitives::{Amount, OutPoint, Script, Transaction, TxIn, TxOut, encode::Encode};

use crate::chain::{Chain, at, coins, output, pay, spend, units, unsigned};

fn check(transaction: Transaction) -> Result<(), TransactionError> {
    let limits = Chain::development().spec.limits();
    CheckedTransaction::check(transaction, &limits).map(|_| ())
}

fn valid() -> Transaction {
    pay(&Chain::development().allocation(1), 4, 0)
}

#[test]
fn a_payment_has_a_legal_form() {
    assert_eq!(check(valid()), Ok(()));
}

#[test]
fn cve_2018_17144_duplicate_input_is_refused() {
    let chain = Chain::development();
    let allocation = chain.allocation(1);
    let other = chain.allocation(2);
    let coins = [allocation.clone(), other, allocation.clone()];
    let twice = spend(&coins, vec![output(4, units(3_000))]);
    let outpoint = allocation.outpoint;
    assert_eq!(check(twice), Err(TransactionError::DuplicateInput { outpoint }));
}

#[test]
fn cve_2010_5139_output_overflow_is_refused() {
    let mut transaction = valid();
    transaction.outputs = vec![output(4, Amount::MAX_MONEY), output(4, units(1))];
    assert_eq!(check(transaction), Err(TransactionError::OutputOverflow));
}

/// 2^63 twice wraps to 0 in 64 bits: such amounts do not even decode.
#[test]
fn cve_2010_5139_amount_above_21_million_does_not_decode() {
    use pentad_primitives::encode::Decode;
    let mut bytes = valid().to_bytes();
    let amount = coins(1_000).units().to_le_bytes();
    let position = bytes.windows(8).position(|window| window == amount).unwrap();
    bytes[position..position + 8].copy_from_slice(&(1_u64 << 63).to_le_bytes());
    assert!(Transaction::from_bytes(&bytes).is_err());
}

#[test]
fn no_inputs_or_no_outputs_are_refused() {
    let mut transaction = valid();
    transaction.inputs.clear();
    assert_eq!(check(transaction), Err(TransactionError::NoInputs));
    let mut transaction = valid();
    transaction.outputs.clear();
    assert_eq!(check(transaction), Err(TransactionError::NoOutputs));
}

#[test]
fn transaction_above_the_size_limit_is_refused() {
    let mut transaction = valid();
    transaction.outputs = vec![output(4, Amount::ZERO); 3_000];
    let (bytes, max) = (transaction.encoded_len(), 100_000);
    assert_eq!(check(transaction), Err(TransactionError::TooLarge { bytes, max }));
}

#[test]
fn null_input_beside_others_is_refused() {
    let mut transaction = valid();
    let null = TxIn { previous_output: OutPoint::NULL, script_sig: Script::default(), sequence: 0 };
    transaction.inputs.push(null);
    assert_eq!(check(transaction), Err(TransactionError::NullInput { input: 1 }));
}

#[test]
fn scripts_other_than_the_templates_are_refused() {
    let p2pkh = crate::chain::script_of(4).as_bytes().to_vec();
    let mut longer = p2pkh.clone();
    longer.push(0x61);
    let key = crate::chain::key(4).public_key().to_bytes();
    let p2pk = [&[33][..], &key, &[0xac]].concat();
    let data = |len: u8| [&[0x6a, 0x4c, len][..], &vec![7; usize::from(len)]].concat();
    let scripts = [
        vec![],
        vec![0x51],
        p2pkh[..24].to_vec(),
        longer,
        p2pk,
        [&[0x00, 20][..], &[7; 20]].concat(),
        data(81),
        // A push that has a shorter form.
        data(75),
        vec![0x6a],
    ];
    for script in scripts {
        let mut transaction = valid();
        let script_pubkey = Script::from(script);
        transaction.outputs.push(TxOut { amount: Amount::ZERO, script_pubkey });
        let error = TransactionError::UnknownTemplate { output: 1 };
        assert_eq!(check(transaction.clone()), Err(error), "{transaction:?}");
    }
    let mut transaction = valid();
    let script_pubkey = Script::from(data(80));
    transaction.outputs.push(TxOut { amount: Amount::ZERO, script_pubkey });
    assert_eq!(check(transaction), Ok(()));
}

#[test]
fn second_data_output_is_refused() {
    let script_pubkey = script::data_script(b"data").unwrap();
    let data = TxOut { amount: Amount::ZERO, script_pubkey };
    let mut transaction = valid();
    transaction.outputs.push(data.clone());
    assert_eq!(check(transaction.clone()), Ok(()));
    transaction.outputs.push(data);
    assert_eq!(check(transaction), Err(TransactionError::SecondDataOutput));
}

#[test]
fn script_sig_longer_than_any_template_is_refused() {
    let mut transaction = valid();
    transaction.inputs[0].script_sig = Script::from(vec![0; SCRIPT_SIG_LEN_MAX + 1]);
    assert_eq!(check(transaction), Err(TransactionError::ScriptSigTooLong { input: 0 }));
}

#[test]
fn coinbase_script_sig_out_of_bounds_is_refused() {
    for bytes in [0, 1, 101] {
        let mut transaction = Chain::development().spec.genesis_block().transactions[0].clone();
        transaction.inputs[0].script_sig = Script::from(vec![0x51; bytes]);
        assert_eq!(check(transaction), Err(TransactionError::CoinbaseScriptSig { bytes }));
    }
}

#[test]
fn outputs_above_inputs_are_refused() {
    let mut chain = Chain::development();
    let allocation = chain.allocation(1);
    let (inputs, outputs) = (coins(1_000), units(coins(1_000).units() + 1));
    let transaction = spend(&[allocation], vec![output(4, outputs)]);
    let block = chain.block_on(&chain.tip(), &[transaction]);
    let error = ContextError::OutputsExceedInputs { outputs, inputs };
    assert_eq!(chain.submit(&block), at(1, error));
}

#[test]
fn spending_nothing_that_exists_is_refused() {
    let mut chain = Chain::development();
    let mut allocation = chain.allocation(1);
    for outpoint in [
        OutPoint { txid: allocation.outpoint.txid, vout: 3 },
        OutPoint { txid: Txid::ZERO, vout: 0 },
    ] {
        allocation.outpoint = outpoint;
        let block = chain.block_on(&chain.tip(), &[pay(&allocation, 4, 0)]);
        let error = ContextError::MissingInput { input: 0, outpoint };
        assert_eq!(chain.submit(&block), at(1, error));
    }
}

/// Attack 50: signatures are counted by bytes, and hashing by inputs times bytes; the transaction
/// limit bounds both.
#[test]
fn a_transaction_costly_to_validate_is_bounded() {
    let chain = Chain::development();
    let limit = chain.spec.limits().transaction_bytes as usize;
    // The smallest input that asks for a check: a P2PKH scriptSig of 106 bytes or so.
    let input = valid().inputs[0].encoded_len();
    assert!(limit / input * limit < 100_000_000, "bytes hashed for one transaction");
    // The smallest multisig input with the most keys: 1 of 15.
    let keys = (1..=15).map(|number| crate::chain::key(number).public_key()).collect();
    let multisig = script::Multisig::new(1, keys).unwrap();
    let signature = crate::chain::key(1).sign(&pentad_primitives::hash::sha256d(b""));
    let mut transaction = unsigned(&[chain.allocation(1)], vec![]);
    transaction.inputs[0].script_sig = multisig.script_sig(&[signature]);
    let input = transaction.inputs[0].encoded_len();
    assert!(limit / input * script::MULTISIG_KEYS_MAX < 3_000, "signature checks");
}
