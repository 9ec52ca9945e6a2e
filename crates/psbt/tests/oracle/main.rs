//! Against rust-bitcoin, and the published vectors of BIP174.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bitcoin::secp256k1::Secp256k1;
use pentad_crypto::script::{Multisig, parse_multisig_script_sig, parse_p2pkh_script_sig};
use pentad_crypto::{Address, SecretKey};
use pentad_primitives::encode::{Decode as _, Encode as _};
use pentad_primitives::sighash::sighash_all;
use pentad_primitives::{Amount, OutPoint, Script, Transaction, TxIn, TxOut, Txid};
use pentad_psbt::{Derivation, Psbt, PsbtError, RoleError};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::Config;

fn config() -> Config {
    Config { failure_persistence: None, ..Config::with_cases(48) }
}

/// A coin: of one key, or of several of whom some have to sign.
#[derive(Clone, Debug)]
struct Coin {
    keys: Vec<SecretKey>,
    required: Option<u8>,
    units: u64,
}

impl Coin {
    fn multisig(&self) -> Option<Multisig> {
        let keys = self.keys.iter().map(SecretKey::public_key).collect();
        Some(Multisig::new(self.required?, keys).expect("1 to 15 keys"))
    }

    fn script(&self) -> Script {
        match self.multisig() {
            Some(multisig) => Address::P2sh(multisig.script_hash()).script_pubkey(),
            None => Address::P2pkh(self.keys[0].public_key().key_hash()).script_pubkey(),
        }
    }
}

prop_compose! {
    fn key()(bytes in any::<[u8; 32]>().prop_filter_map("a key", |bytes| {
        SecretKey::from_bytes(bytes).ok()
    })) -> SecretKey { bytes }
}

prop_compose! {
    fn coin()(keys in vec(key(), 1..=15), several: bool, part in 0..15_u8, units in 1..9_999_u64)
        -> Coin {
        let count = u8::try_from(keys.len()).unwrap();
        Coin { required: several.then_some(1 + part % count), keys, units }
    }
}

/// A transaction that spends the coins, as its creator and updater leave it.
fn updated(coins: &[Coin], data: &[u8]) -> Psbt {
    let previous = |coin: &Coin| Transaction {
        version: 1,
        inputs: vec![TxIn {
            previous_output: OutPoint { txid: Txid::from_bytes([9; 32]), vout: 0 },
            script_sig: Script::from(vec![]),
            sequence: u32::MAX,
        }],
        outputs: vec![TxOut {
            amount: Amount::from_units(coin.units).unwrap(),
            script_pubkey: coin.script(),
        }],
        lock_time: 0,
    };
    let inputs = coins.iter().map(|coin| TxIn {
        previous_output: OutPoint { txid: previous(coin).txid(), vout: 0 },
        script_sig: Script::default(),
        sequence: 0xffff_fffd,
    });
    let amount = Amount::from_units(1).unwrap();
    let script_pubkey = pentad_crypto::script::data_script(data).unwrap();
    let outputs = vec![TxOut { amount, script_pubkey }];
    let transaction = Transaction { version: 2, inputs: inputs.collect(), outputs, lock_time: 7 };
    let mut psbt = Psbt::new(transaction).unwrap();
    for (input, coin) in psbt.inputs.iter_mut().zip(coins) {
        input.previous = Some(previous(coin));
        input.redeem_script = coin.multisig().map(|multisig| multisig.redeem_script());
        for key in &coin.keys {
            let path = vec![1 << 31, 5];
            let derivation = Derivation { fingerprint: [1, 2, 3, 4], path };
            input.derivations.insert(key.public_key().to_bytes(), derivation);
            if coin.required.is_none() {
                break;
            }
        }
    }
    psbt
}

/// What rust-bitcoin makes of it, signed with all keys.
fn signed_by_bitcoin(bytes: &[u8], coins: &[Coin]) -> bitcoin::Psbt {
    let mut theirs = bitcoin::Psbt::deserialize(bytes).expect("rust-bitcoin reads it");
    assert_eq!(theirs.serialize(), bytes, "and writes the same");
    let secp = Secp256k1::new();
    let keys: BTreeMap<_, _> = coins
        .iter()
        .flat_map(|coin| &coin.keys)
        .map(|key| {
            let inner = bitcoin::secp256k1::SecretKey::from_slice(&*key.to_bytes()).unwrap();
            let key = bitcoin::PrivateKey::new(inner, bitcoin::NetworkKind::Main);
            (key.public_key(&secp), key)
        })
        .collect();
    theirs.sign(&keys, &secp).expect("all keys are there");
    theirs
}

/// Each input is unlocked by valid signatures of those who have to sign.
fn check(transaction: &Transaction, coins: &[Coin]) {
    for (index, (input, coin)) in transaction.inputs.iter().zip(coins).enumerate() {
        let Some(multisig) = coin.multisig() else {
            let (signature, key) = parse_p2pkh_script_sig(&input.script_sig).expect("two pushes");
            let hash = sighash_all(transaction, index, &coin.script()).unwrap();
            signature.verify(&key, &hash).expect("valid");
            continue;
        };
        let (signatures, redeem) = parse_multisig_script_sig(&input.script_sig).expect("pushes");
        assert_eq!(redeem, multisig.redeem_script());
        assert_eq!(signatures.len(), usize::from(multisig.required()));
        let hash = sighash_all(transaction, index, &redeem).unwrap();
        let mut keys = multisig.keys().iter();
        for signature in signatures {
            assert!(keys.any(|key| signature.verify(key, &hash).is_ok()), "in the keys' order");
        }
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn signatures_and_bytes_are_those_of_rust_bitcoin(
        coins in vec(coin(), 1..5),
        data in vec(any::<u8>(), 0..=80),
    ) {
        let mut psbt = updated(&coins, &data);
        let theirs = signed_by_bitcoin(&psbt.to_bytes(), &coins);
        // Each key signs a copy of its own; the copies are combined in the end.
        let mut copies = Vec::new();
        for (index, coin) in coins.iter().enumerate() {
            let signers = if coin.required.is_some() { coin.keys.len() } else { 1 };
            for key in &coin.keys[..signers] {
                let mut copy = Psbt::from_bytes(&psbt.to_bytes()).unwrap();
                copy.sign(index, key).unwrap();
                copies.push(copy);
            }
        }
        for copy in copies.into_iter().rev() {
            psbt.combine(copy).unwrap();
        }
        prop_assert_eq!(&psbt.to_bytes(), &theirs.serialize());
        let spent: u64 = coins.iter().map(|coin| coin.units).sum();
        prop_assert_eq!(psbt.fee(), spent.checked_sub(1).ok_or(RoleError::Negative));
        for index in 0..coins.len() {
            psbt.finalize(index).unwrap();
        }
        check(&psbt.extract().unwrap(), &coins);
        let again = Psbt::from_bytes(&psbt.to_bytes()).unwrap();
        prop_assert_eq!(&again, &psbt);
        let theirs = bitcoin::Psbt::deserialize(&psbt.to_bytes()).expect("rust-bitcoin reads it");
        let extracted = theirs.extract_tx_unchecked_fee_rate();
        prop_assert_eq!(
            bitcoin::consensus::serialize(&extracted),
            psbt.extract().unwrap().to_bytes()
        );
    }

    #[test]
    fn too_few_and_foreign_signatures_do_not_do(coin in coin(), other in key()) {
        let coins = [coin];
        let mut psbt = updated(&coins, b"");
        prop_assert_eq!(psbt.sign(0, &other), Err(RoleError::OtherKey(0)));
        prop_assert_eq!(psbt.sign(1, &other), Err(RoleError::NoInput(1)));
        let need = usize::from(coins[0].required.unwrap_or(1));
        for (have, key) in coins[0].keys[..need].iter().enumerate() {
            prop_assert_eq!(psbt.progress(0), Ok((have, need)));
            let error = psbt.clone().finalize(0).unwrap_err();
            prop_assert_eq!(error, RoleError::Missing { index: 0, have, need });
            psbt.sign(0, key).unwrap();
        }
        // A signature of another transaction.
        let mut wrong = psbt.clone();
        for signature in wrong.inputs[0].signatures.values_mut() {
            *signature = other.sign(&pentad_primitives::Hash256::ZERO);
        }
        prop_assert_eq!(wrong.finalize(0), Err(RoleError::Signature(0)));
        psbt.finalize(0).unwrap();
    }

    #[test]
    fn what_is_spent_has_to_be_proven(coin in coin()) {
        let key = coin.keys[0].clone();
        let good = updated(std::slice::from_ref(&coin), b"");
        let mut psbt = good.clone();
        psbt.inputs[0].previous = None;
        prop_assert_eq!(psbt.sign(0, &key), Err(RoleError::NoPrevious(0)));
        // The same outpoint with another amount: the lie of CVE-2020-14199.
        let mut psbt = good.clone();
        let previous = psbt.inputs[0].previous.as_mut().unwrap();
        previous.outputs[0].amount = Amount::from_units(coin.units + 1).unwrap();
        prop_assert_eq!(psbt.sign(0, &key), Err(RoleError::OtherPrevious(0)));
        if let Some(multisig) = coin.multisig() {
            let mut psbt = good.clone();
            psbt.inputs[0].redeem_script = None;
            prop_assert_eq!(psbt.sign(0, &key), Err(RoleError::NoRedeemScript(0)));
            let other = Multisig::new(multisig.required(), vec![key.public_key(); 15]).unwrap();
            psbt.inputs[0].redeem_script = Some(other.redeem_script());
            prop_assert_eq!(psbt.sign(0, &key), Err(RoleError::OtherRedeemScript(0)));
        }
        let mut other = good.clone();
        prop_assert_eq!(other.combine(updated(&[coin], b"x")), Err(RoleError::OtherTransaction));
    }

    #[test]
    fn any_bytes_are_read_or_refused(coin in coin(), at: usize, bit in 0..8_u8) {
        let good = updated(&[coin], b"").to_bytes();
        let at = at % good.len();
        prop_assert!(Psbt::from_bytes(&good[..at]).is_err());
        let mut bytes = good;
        bytes[at] ^= 1 << bit;
        if let Ok(psbt) = Psbt::from_bytes(&bytes) {
            prop_assert_eq!(Psbt::from_bytes(&psbt.to_bytes()), Ok(psbt));
        }
    }
}

/// The vectors' file, where it is.
fn vectors() -> Option<serde_json::Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors/psbt.json");
    let text = std::fs::read_to_string(&path).ok();
    if text.is_none() {
        println!("skipped: no vectors at {}", path.display());
    }
    text.map(|text| serde_json::from_str(&text).expect("JSON"))
}

fn bytes(row: &serde_json::Value) -> Vec<u8> {
    BASE64_STANDARD.decode(row["psbt"].as_str().expect("a text")).expect("base64")
}

#[test]
fn invalid_vectors_of_bip174_are_refused() {
    let Some(vectors) = vectors() else { return };
    let rows = vectors["bip174"]["invalid"].as_array().expect("a list");
    assert_eq!(rows.len(), 18);
    for row in rows {
        assert!(Psbt::from_bytes(&bytes(row)).is_err(), "{}", row["description"]);
    }
}

/// All of them bring a witness or a transaction with witnesses: they are refused, and by name.
#[test]
fn valid_vectors_of_bip174_are_read_or_refused_by_name() {
    let Some(vectors) = vectors() else { return };
    let rows = vectors["bip174"]["valid"].as_array().expect("a list");
    assert_eq!(rows.len(), 7);
    for row in rows {
        let bytes = bytes(row);
        match Psbt::from_bytes(&bytes) {
            Ok(psbt) => assert_eq!(psbt.to_bytes(), bytes, "{}", row["description"]),
            Err(error) => {
                assert!(
                    matches!(error, PsbtError::Unsupported(_)),
                    "{}: {error}",
                    row["description"]
                );
            }
        }
    }
}

/// The vector of BIP174 for combiners that asks for no scripts at all.
#[test]
fn fields_that_nobody_knows_are_kept_and_combined() {
    let Some(vectors) = vectors() else { return };
    let row = &vectors["bip174"]["combiner"][1];
    let decode = |text: &serde_json::Value| {
        BASE64_STANDARD.decode(text.as_str().expect("a text")).expect("base64")
    };
    let copies: Vec<Psbt> = row["psbts"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|text| Psbt::from_bytes(&decode(text)).expect("known fields only"))
        .collect();
    let [mut one, two] = copies.try_into().expect("two");
    one.combine(two).expect("of one transaction");
    assert_eq!(one.to_bytes(), decode(&row["result"]));
}

#[test]
fn a_transaction_of_the_creator_is_not_signed() {
    let Some(vectors) = vectors() else { return };
    let row = &vectors["bip174"]["invalid"][2];
    assert_eq!(row["errorMessage"], "Format Error: Transaction ScriptSigs are not empty");
    assert_eq!(Psbt::from_bytes(&bytes(row)), Err(PsbtError::Signed));
    let raw = "0100000001".to_owned() + &"00".repeat(36) + "0101ffffffff00" + "00000000";
    let signed = Transaction::from_bytes(&hex::decode(raw).expect("hex")).expect("a transaction");
    assert_eq!(Psbt::new(signed), Err(PsbtError::Signed));
}
