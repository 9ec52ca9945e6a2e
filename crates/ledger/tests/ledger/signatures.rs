//! Spending what a signature does not allow, each way by its name.

use pentad_crypto::script::{self, Multisig};
use pentad_crypto::{Address, SecretKey};
use pentad_ledger::verify::{
    CheckedTransaction, SignatureErrorKind, transaction_signatures, verify_signatures,
};
use pentad_primitives::{Script, Transaction, TxOut, sighash};

use crate::chain::{Chain, Coin, Refusal, coin, coins, key, output, pay, sign, spend, unsigned};

/// Runs the checks of a transaction that spends these coins.
fn verify(transaction: &Transaction, coins: &[Coin]) -> Result<(), SignatureErrorKind> {
    let spent: Vec<TxOut> = coins.iter().map(|coin| coin.output.clone()).collect();
    let transaction = CheckedTransaction::assume_valid(transaction.clone());
    let checks = transaction_signatures(&transaction, &spent);
    verify_signatures(checks).map_err(|error| error.kind)
}

fn payment() -> (Transaction, Coin) {
    let allocation = Chain::development().allocation(1);
    (pay(&allocation, 4, 1_000), allocation)
}

#[test]
fn the_owner_may_spend() {
    let (transaction, coin) = payment();
    assert_eq!(verify(&transaction, &[coin]), Ok(()));
}

#[test]
fn a_block_with_a_bad_signature_is_refused() {
    let mut chain = Chain::development();
    let mut transaction = pay(&chain.allocation(1), 4, 0);
    transaction.outputs[0] = output(5, coins(1_000));
    let block = chain.block_on(&chain.tip(), std::slice::from_ref(&transaction));
    match chain.submit(&block) {
        Err(Refusal::Signature(error)) => {
            assert_eq!((error.txid, error.input), (transaction.txid(), 0));
            assert_eq!(error.kind, SignatureErrorKind::Signature);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(chain.tree.tip(), chain.spec.genesis_hash());
    chain.mine(&[]);
}

#[test]
fn every_field_is_signed() {
    let (original, coin) = payment();
    type Change = fn(&mut Transaction);
    let changes: [Change; 6] = [
        |t| t.version = 2,
        |t| t.lock_time = 1,
        |t| t.inputs[0].sequence = 0,
        |t| t.outputs[0] = output(5, t.outputs[0].amount),
        |t| t.outputs[0].amount = coins(1),
        |t| t.outputs.push(output(5, coins(0))),
    ];
    for change in changes {
        let mut tampered = original.clone();
        change(&mut tampered);
        let error = Err(SignatureErrorKind::Signature);
        assert_eq!(verify(&tampered, std::slice::from_ref(&coin)), error);
    }
}

#[test]
fn anothers_key_hash_is_refused() {
    let (mut transaction, coin) = payment();
    let thief = Coin { owner: 5, ..coin.clone() };
    transaction = sign(transaction, &[thief]);
    assert_eq!(verify(&transaction, &[coin]), Err(SignatureErrorKind::KeyHash));
}

#[test]
fn a_signature_of_another_input_is_refused() {
    let chain = Chain::development();
    let coins_spent = [chain.allocation(1), Coin { owner: 1, ..chain.allocation(1) }];
    let mut transaction = spend(&coins_spent, vec![output(4, coins(1))]);
    transaction.inputs[1].previous_output.vout = 2;
    let transaction = sign(transaction, &coins_spent);
    let mut swapped = transaction.clone();
    swapped.inputs[0].script_sig = transaction.inputs[1].script_sig.clone();
    assert_eq!(verify(&transaction, &coins_spent), Ok(()));
    assert_eq!(verify(&swapped, &coins_spent), Err(SignatureErrorKind::Signature));
}

/// Third parties cannot alter a txid: every other form of the scriptSig is refused.
#[test]
fn script_sigs_in_another_form_are_refused() {
    let (transaction, coin) = payment();
    let original = transaction.inputs[0].script_sig.as_bytes().to_vec();
    let signature_len = usize::from(original[0]);
    let mut forms: Vec<Vec<u8>> = vec![vec![], vec![0x00], original[..signature_len + 1].to_vec()];
    // One byte more, in front and behind.
    forms.push([&[0x00][..], &original].concat());
    forms.push([&original[..], &[0x00]].concat());
    // A longer push of the same data.
    forms.push([&[0x4c][..], &original].concat());
    // Hash types other than SIGHASH_ALL.
    for hash_type in [0x00, 0x02, 0x03, 0x81, 0xff] {
        let mut form = original.clone();
        form[signature_len] = hash_type;
        forms.push(form);
    }
    // An uncompressed or hybrid key prefix.
    for prefix in [0x04, 0x06, 0x07, 0x00] {
        let mut form = original.clone();
        form[signature_len + 2] = prefix;
        forms.push(form);
    }
    for form in forms {
        let mut altered = transaction.clone();
        altered.inputs[0].script_sig = Script::from(form.clone());
        let error = Err(SignatureErrorKind::ScriptSig);
        assert_eq!(verify(&altered, std::slice::from_ref(&coin)), error, "{form:02x?}");
    }
}

/// Attack 48: the same signature with its S on the other side of the curve's order.
#[test]
fn high_s_is_refused() {
    const ORDER: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xfe, 0xba, 0xae, 0xdc, 0xe6, 0xaf, 0x48, 0xa0, 0x3b, 0xbf, 0xd2, 0x5e, 0x8c, 0xd0, 0x36,
        0x41, 0x41,
    ];
    let (mut transaction, coin) = payment();
    let script_sig = transaction.inputs[0].script_sig.as_bytes().to_vec();
    let len = usize::from(script_sig[0]);
    let (der, rest) = (&script_sig[1..len], &script_sig[len + 1..]);
    let r_len = usize::from(der[3]);
    let s = &der[4 + r_len + 2..];
    let mut low = [0; 32];
    low[32 - s.len()..].copy_from_slice(s);
    let mut high = [0; 33];
    let mut borrow = 0;
    for index in (0..32).rev() {
        let difference = i16::from(ORDER[index]) - i16::from(low[index]) - borrow;
        borrow = i16::from(difference < 0);
        high[index + 1] = difference.rem_euclid(256) as u8;
    }
    assert!(high[1] >= 0x80);
    let mut der = [&der[..4 + r_len], &[2, 33], &high].concat();
    der[1] = (der.len() - 2) as u8;
    der.push(1);
    let script_sig = [&[der.len() as u8][..], &der, rest].concat();
    transaction.inputs[0].script_sig = Script::from(script_sig);
    assert_eq!(verify(&transaction, &[coin]), Err(SignatureErrorKind::ScriptSig));
}

/// A coin of a 2-of-3 multisig address of keys 1, 2 and 3.
fn multisig_coin() -> (Multisig, Coin) {
    let keys = (1..=3).map(|number| key(number).public_key()).collect();
    let multisig = Multisig::new(2, keys).unwrap();
    let script_pubkey = Address::P2sh(multisig.script_hash()).script_pubkey();
    let funding = spend(
        &[Chain::development().allocation(1)],
        vec![TxOut { amount: coins(10), script_pubkey }],
    );
    (multisig, coin(&funding, 0, 0))
}

fn multisig_spend(signers: &[u8]) -> (Transaction, Coin) {
    let (multisig, coin) = multisig_coin();
    let mut transaction = unsigned(std::slice::from_ref(&coin), vec![output(4, coins(10))]);
    let hash = sighash::sighash_all(&transaction, 0, &multisig.redeem_script()).unwrap();
    let keys: Vec<SecretKey> = signers.iter().map(|signer| key(*signer)).collect();
    let signatures: Vec<_> = keys.iter().map(|key| key.sign(&hash)).collect();
    transaction.inputs[0].script_sig = multisig.script_sig(&signatures);
    (transaction, coin)
}

#[test]
fn multisig_takes_the_signatures_it_asks_for_in_order() {
    for signers in [[1, 2], [1, 3], [2, 3]] {
        let (transaction, coin) = multisig_spend(&signers);
        assert_eq!(verify(&transaction, &[coin]), Ok(()), "{signers:?}");
    }
    for signers in [[2, 1], [3, 1], [3, 2], [1, 1], [1, 4], [4, 5]] {
        let (transaction, coin) = multisig_spend(&signers);
        let error = Err(SignatureErrorKind::Signature);
        assert_eq!(verify(&transaction, &[coin]), error, "{signers:?}");
    }
    for signers in [vec![], vec![1], vec![1, 2, 3]] {
        let (transaction, coin) = multisig_spend(&signers);
        let error = Err(SignatureErrorKind::ScriptSig);
        assert_eq!(verify(&transaction, &[coin]), error, "{signers:?}");
    }
}

#[test]
fn multisig_with_another_redeem_script_is_refused() {
    let (_, coin) = multisig_coin();
    let other = Multisig::new(1, vec![key(4).public_key()]).unwrap();
    let mut transaction = unsigned(std::slice::from_ref(&coin), vec![output(4, coins(10))]);
    let hash = sighash::sighash_all(&transaction, 0, &other.redeem_script()).unwrap();
    transaction.inputs[0].script_sig = other.script_sig(&[key(4).sign(&hash)]);
    assert_eq!(verify(&transaction, &[coin]), Err(SignatureErrorKind::ScriptHash));
}

#[test]
fn multisig_dummy_must_be_zero() {
    let (mut transaction, coin) = multisig_spend(&[1, 2]);
    let mut bytes = transaction.inputs[0].script_sig.as_bytes().to_vec();
    bytes[0] = 0x51;
    transaction.inputs[0].script_sig = Script::from(bytes);
    assert_eq!(verify(&transaction, &[coin]), Err(SignatureErrorKind::ScriptSig));
}

#[test]
fn redeem_script_other_than_multisig_is_refused() {
    let redeem_script = crate::chain::script_of(1);
    let script_pubkey = Address::P2sh(script::script_hash(&redeem_script)).script_pubkey();
    let (_, mut coin) = multisig_coin();
    coin.output.script_pubkey = script_pubkey;
    let mut transaction = unsigned(std::slice::from_ref(&coin), vec![output(4, coins(10))]);
    let len = redeem_script.len() as u8;
    let script_sig = [&[0x00, len][..], redeem_script.as_bytes()].concat();
    transaction.inputs[0].script_sig = Script::from(script_sig);
    assert_eq!(verify(&transaction, &[coin]), Err(SignatureErrorKind::RedeemScript));
}

#[test]
fn a_multisig_payment_connects() {
    let mut chain = Chain::development();
    let (_, coin) = multisig_coin();
    let funding = spend(&[chain.allocation(1)], vec![coin.output.clone()]);
    assert_eq!(funding.txid(), coin.outpoint.txid);
    chain.mine(&[funding]);
    chain.mine(&[multisig_spend(&[1, 3]).0]);
}
