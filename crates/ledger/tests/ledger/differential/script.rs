//! Scripts against Bitcoin Core.

use bitcoin::consensus::deserialize;
use bitcoin::hashes::Hash as _;
use bitcoin::script::{Instruction, PushBytesBuf};
use pentad_crypto::script::Multisig;
use pentad_crypto::{Address, SecretKey};
use pentad_ledger::verify::{CheckedTransaction, transaction_signatures, verify_signatures};
use pentad_primitives::encode::Encode as _;
use pentad_primitives::{Script, Transaction, TxOut};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::{config, core_accepts, theirs};
use crate::chain::{Chain, coin, coins, key, output, spend, unsigned};

fn we_accept(transaction: &Transaction, spent: &[TxOut]) -> bool {
    let transaction = CheckedTransaction::assume_valid(transaction.clone());
    verify_signatures(transaction_signatures(&transaction, spent)).is_ok()
}

/// The one form of a scriptSig that we take for what it pushes: minimal pushes, low S, SIGHASH_ALL,
/// compressed keys; `None` where there is none. Everybody on the way could write it otherwise.
fn canonical(script_sig: &[u8]) -> Option<Vec<u8>> {
    let mut builder = bitcoin::script::Builder::new();
    for instruction in bitcoin::Script::from_bytes(script_sig).instructions() {
        let Instruction::PushBytes(push) = instruction.ok()? else {
            return None;
        };
        let bytes = push.as_bytes();
        let signature = bitcoin::ecdsa::Signature::from_slice(bytes);
        let written = match (bytes, signature) {
            (_, Ok(mut signature)) => {
                signature.signature.normalize_s();
                let is_all = signature.sighash_type == bitcoin::EcdsaSighashType::All;
                is_all.then(|| signature.serialize().to_vec())?
            }
            // Something that is no signature, though it begins as one.
            ([0x30, ..], Err(_)) => return None,
            ([4 | 6 | 7, ..], _) if bytes.len() == 65 => return None,
            (other, _) => other.to_vec(),
        };
        builder = builder.push_slice(PushBytesBuf::try_from(written).ok()?);
    }
    Some(builder.into_bytes())
}

/// Why we refuse what Bitcoin accepts of a scriptSig.
pub fn stricter(script_sig: &Script, pushes: usize) -> bool {
    let bytes = script_sig.as_bytes();
    let count = bitcoin::Script::from_bytes(bytes).instructions().count();
    count != pushes || canonical(bytes).as_deref() != Some(bytes)
}

#[derive(Clone, Debug)]
enum Change {
    Nothing,
    Flip(Index, u8),
    Insert(Index, u8),
    Remove(Index),
    /// The first push with a longer opcode than it needs.
    LongPush,
    /// Another push in front.
    ExtraPush(u8),
    /// The other of two signatures that everybody can make of one.
    HighS,
    /// Signed for another hash type.
    HashType(u8),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        2 => Just(Change::Nothing),
        6 => (any::<Index>(), 0..8_u8).prop_map(|(at, bit)| Change::Flip(at, 1 << bit)),
        2 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Insert(at, byte)),
        2 => any::<Index>().prop_map(Change::Remove),
        1 => Just(Change::LongPush),
        1 => any::<u8>().prop_map(Change::ExtraPush),
        2 => Just(Change::HighS),
        2 => prop::sample::select(vec![0_u8, 2, 3, 0x81, 0x82, 0x83, 4, 0xff])
            .prop_map(Change::HashType),
    ]
}

/// A DER signature with its hash type, perhaps in another form than ours.
fn signature(payment: &Transaction, code: &Script, signer: &SecretKey, change: &Change) -> Vec<u8> {
    let theirs: bitcoin::Transaction = deserialize(&payment.to_bytes()).unwrap();
    let code = bitcoin::Script::from_bytes(code.as_bytes());
    let hash_type = if let Change::HashType(byte) = change { *byte } else { 1 };
    let cache = bitcoin::sighash::SighashCache::new(&theirs);
    let hash = cache.legacy_signature_hash(0, code, u32::from(hash_type)).unwrap();
    let message = bitcoin::secp256k1::Message::from_digest(hash.to_byte_array());
    let secret = bitcoin::secp256k1::SecretKey::from_slice(&*signer.to_bytes()).unwrap();
    let signed = bitcoin::secp256k1::Secp256k1::signing_only().sign_ecdsa(&message, &secret);
    let mut der = signed.serialize_der().to_vec();
    if matches!(change, Change::HighS) {
        der = with_high_s(&signed.serialize_compact());
    }
    der.push(hash_type);
    der
}

/// The DER of a signature whose S is on the other side of half the order.
fn with_high_s(compact: &[u8; 64]) -> Vec<u8> {
    let (r, s) = compact.split_at(32);
    let s = bitcoin::secp256k1::SecretKey::from_slice(s).unwrap().negate();
    let integer = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        while bytes.len() > 1 && bytes[0] == 0 && bytes[1] < 0x80 {
            bytes.remove(0);
        }
        if bytes[0] >= 0x80 {
            bytes.insert(0, 0);
        }
        [&[2, bytes.len() as u8], &bytes[..]].concat()
    };
    let body = [integer(r), integer(&s.secret_bytes())].concat();
    [&[0x30, body.len() as u8], &body[..]].concat()
}

fn push(bytes: &[u8]) -> Vec<u8> {
    let pushed = PushBytesBuf::try_from(bytes.to_vec()).unwrap();
    bitcoin::script::Builder::new().push_slice(pushed).into_bytes()
}

fn alter(mut script_sig: Vec<u8>, change: &Change) -> Vec<u8> {
    match change {
        Change::Flip(at, bits) => *at.get_mut(&mut script_sig) ^= bits,
        Change::Insert(at, byte) => script_sig.insert(at.index(script_sig.len() + 1), *byte),
        Change::Remove(at) => drop(script_sig.remove(at.index(script_sig.len()))),
        Change::LongPush => {
            // OP_PUSHDATA1, or OP_PUSHDATA1 of nothing for the dummy.
            script_sig.insert(0, 0x4c);
        }
        Change::ExtraPush(byte) => drop(script_sig.splice(0..0, [1, *byte])),
        Change::Nothing | Change::HighS | Change::HashType(_) => {}
    }
    script_sig
}

/// Both judge; ours may only be the stricter, and only for a reason.
fn compare(payment: &Transaction, spent: &TxOut, pushes: usize) -> Result<bool, TestCaseError> {
    let ours = we_accept(payment, std::slice::from_ref(spent));
    let core = core_accepts(&payment.to_bytes(), 0, &theirs(spent));
    prop_assert!(core || !ours, "Bitcoin Core refuses what we accept: {:?}", payment);
    let script_sig = &payment.inputs[0].script_sig;
    prop_assert!(
        ours || !core || stricter(script_sig, pushes),
        "Bitcoin Core accepts, in canonical form, what we refuse: {:?}",
        payment
    );
    Ok(ours)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn scripts_of_one_key_are_judged_as_by_bitcoin_core(change in change(), owner in 1..4_u8) {
        let coin = Chain::development().allocation(owner);
        let mut payment = unsigned(std::slice::from_ref(&coin), vec![output(4, coins(1))]);
        let signed = signature(&payment, &coin.output.script_pubkey, &key(owner), &change);
        let script_sig = [push(&signed), push(&key(owner).public_key().to_bytes())].concat();
        payment.inputs[0].script_sig = Script::from(alter(script_sig, &change));
        let accepted = compare(&payment, &coin.output, 2)?;
        prop_assert!(accepted || !matches!(change, Change::Nothing));
    }

    #[test]
    fn multisig_scripts_are_judged_as_by_bitcoin_core(
        change in change(),
        required in 1..=3_u8,
        count in 1..=4_u8,
        signers in vec(1..=5_u8, 0..4),
    ) {
        let keys = (1..=count).map(|number| key(number).public_key()).collect();
        let Some(multisig) = Multisig::new(required, keys) else { return Ok(()) };
        let script_pubkey = Address::P2sh(multisig.script_hash()).script_pubkey();
        let output_of_all = vec![TxOut { amount: coins(10), script_pubkey }];
        let funding = spend(&[Chain::development().allocation(1)], output_of_all);
        let coin = coin(&funding, 0, 0);
        let mut payment = unsigned(std::slice::from_ref(&coin), vec![output(4, coins(1))]);
        let redeem_script = multisig.redeem_script();
        let mut script_sig = vec![0];
        for signer in &signers {
            script_sig.extend(push(&signature(&payment, &redeem_script, &key(*signer), &change)));
        }
        script_sig.extend(push(redeem_script.as_bytes()));
        payment.inputs[0].script_sig = Script::from(alter(script_sig, &change));
        let accepted = compare(&payment, &coin.output, usize::from(required) + 2)?;
        let in_order = signers.array_windows().all(|[a, b]| a < b);
        let complete = signers.len() == usize::from(required);
        let known = signers.iter().all(|signer| *signer <= count);
        if matches!(change, Change::Nothing) {
            prop_assert_eq!(accepted, in_order && complete && known);
        }
    }
}
