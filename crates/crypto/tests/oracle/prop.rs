//! Random input, with rust-bitcoin on the other side.

use bitcoin::secp256k1::{self, Message, Secp256k1};
use pentad_crypto::message::message_hash;
use pentad_crypto::script::{
    Multisig, data_script, p2pkh_script_sig, parse_multisig_script_sig, parse_p2pkh_script_sig,
};
use pentad_crypto::{
    Address, AddressError, AddressVersions, KeyError, KeyHash, MessageSignature, PublicKey,
    ScriptHash, ScriptTemplate, SecretKey, Signature, SignatureError, base58check, classify,
    hash160,
};
use pentad_primitives::{Hash256, Script};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::Config;

fn config() -> Config {
    Config { failure_persistence: None, ..Config::with_cases(96) }
}

prop_compose! {
    fn secret_key()(bytes in any::<[u8; 32]>().prop_filter_map("a key", |bytes| {
        SecretKey::from_bytes(bytes).ok()
    })) -> SecretKey {
        bytes
    }
}

fn theirs(key: &SecretKey) -> secp256k1::SecretKey {
    secp256k1::SecretKey::from_slice(&*key.to_bytes()).unwrap()
}

fn multisig(keys: &[SecretKey], required: u8) -> Multisig {
    Multisig::new(required, keys.iter().map(SecretKey::public_key).collect()).unwrap()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn keys_and_signatures(key in secret_key(), hash: [u8; 32]) {
        let secp = Secp256k1::new();
        let other = theirs(&key);
        let public = key.public_key();
        prop_assert_eq!(public.to_bytes(), other.public_key(&secp).serialize());
        prop_assert_eq!(PublicKey::from_bytes(&public.to_bytes()).unwrap(), public);

        // RFC 6979 gives both libraries the same signature, byte for byte.
        let signature = key.sign(&Hash256::from_bytes(hash));
        let expected = secp.sign_ecdsa(&Message::from_digest(hash), &other);
        prop_assert_eq!(&signature.to_der(), &expected.serialize_der().to_vec());
        prop_assert!(signature.to_der().len() <= Signature::DER_LEN_MAX);
        prop_assert_eq!(Signature::from_der_strict(&signature.to_der()), Ok(signature));
        prop_assert_eq!(signature.to_compact(), expected.serialize_compact());
        prop_assert_eq!(Signature::from_compact(&signature.to_compact()), Ok(signature));
        prop_assert!(signature.verify(&public, &Hash256::from_bytes(hash)).is_ok());
        let mut wrong = hash;
        wrong[7] ^= 1;
        prop_assert!(signature.verify(&public, &Hash256::from_bytes(wrong)).is_err());
    }

    #[test]
    fn any_change_of_a_signature_is_refused(key in secret_key(), bit in 0..(8 * 70_usize)) {
        let hash = Hash256::from_bytes([3; 32]);
        let mut der = key.sign(&hash).to_der();
        let bit = bit % (8 * der.len());
        der[bit / 8] ^= 1 << (bit % 8);
        let accepted = Signature::from_der_strict(&der)
            .is_ok_and(|signature| signature.verify(&key.public_key(), &hash).is_ok());
        prop_assert!(!accepted);
    }

    #[test]
    fn any_change_of_a_compact_signature_is_refused(key in secret_key(), bit in 0..512_usize) {
        let hash = Hash256::from_bytes([3; 32]);
        let mut compact = key.sign(&hash).to_compact();
        compact[bit / 8] ^= 1 << (bit % 8);
        let accepted = Signature::from_compact(&compact)
            .is_ok_and(|signature| signature.verify(&key.public_key(), &hash).is_ok());
        prop_assert!(!accepted);
    }

    #[test]
    fn a_compact_signature_with_high_s_is_refused(key in secret_key(), hash: [u8; 32]) {
        let low = key.sign(&Hash256::from_bytes(hash)).to_compact();
        let mut high = low;
        let s = secp256k1::SecretKey::from_slice(&low[32..]).unwrap();
        high[32..].copy_from_slice(&s.negate().secret_bytes());
        prop_assert_eq!(Signature::from_compact(&high), Err(SignatureError::HighS));
    }

    #[test]
    fn strict_der_is_what_libsecp256k1_calls_strict(bytes in vec(any::<u8>(), 0..75)) {
        if let Ok(signature) = Signature::from_der_strict(&bytes) {
            let other = secp256k1::ecdsa::Signature::from_der(&bytes).unwrap();
            prop_assert_eq!(signature.to_der(), other.serialize_der().to_vec());
        }
    }

    #[test]
    fn wif(key in secret_key(), version: u8) {
        let other = bitcoin::PrivateKey::new(theirs(&key), bitcoin::NetworkKind::Main);
        let text = key.to_wif(0x80);
        prop_assert_eq!(text.as_str(), other.to_wif());
        let text = key.to_wif(version);
        let back = SecretKey::from_wif(&text, version).unwrap();
        prop_assert_eq!(back.to_bytes(), key.to_bytes());
        let refused = SecretKey::from_wif(&text, version.wrapping_add(1)).unwrap_err();
        prop_assert_eq!(refused, KeyError::WrongNetwork(version));
    }

    #[test]
    fn signed_messages(key in secret_key(), text in ".{0,300}", other in ".{0,300}") {
        let theirs = bitcoin::sign_message::signed_msg_hash(&text);
        let hash = message_hash(&text);
        prop_assert_eq!(hash.as_bytes().as_slice(), theirs.as_ref() as &[u8]);
        let signature = MessageSignature::sign(&key, &text);
        let owner = key.public_key().key_hash();
        prop_assert_eq!(signature.verify(&owner, &text), Ok(()));
        prop_assert_eq!(signature.verify(&owner, &other).is_ok(), text == other);
        // The numbers are an ordinary signature of that hash.
        let numbers = signature.as_bytes()[1..].try_into().unwrap();
        let plain = Signature::from_compact(numbers).unwrap();
        prop_assert_eq!(plain.verify(&key.public_key(), &message_hash(&text)), Ok(()));
    }

    #[test]
    fn addresses(key in secret_key(), script in vec(any::<u8>(), 0..100)) {
        let versions = AddressVersions::default();
        let public = bitcoin::PublicKey::from_slice(&key.public_key().to_bytes()).unwrap();
        let other = bitcoin::Address::p2pkh(public, bitcoin::NetworkKind::Main);
        let ours = Address::P2pkh(key.public_key().key_hash());
        prop_assert_eq!(ours.encode(&versions), other.to_string());
        let script_pubkey = other.script_pubkey();
        prop_assert_eq!(ours.script_pubkey().into_bytes(), script_pubkey.into_bytes());

        let redeem = bitcoin::Script::from_bytes(&script);
        let other = bitcoin::Address::p2sh(redeem, bitcoin::NetworkKind::Main).unwrap();
        let ours = Address::P2sh(ScriptHash::from_bytes(hash160(&script)));
        prop_assert_eq!(ours.encode(&versions), other.to_string());
        prop_assert_eq!(Address::decode(&ours.encode(&versions), &versions), Ok(ours));
        let script_pubkey = other.script_pubkey();
        prop_assert_eq!(ours.script_pubkey().into_bytes(), script_pubkey.into_bytes());
        let testnet = AddressVersions { p2pkh: 0x6f, p2sh: 0xc4 };
        let refused = Address::decode(&ours.encode(&testnet), &versions).unwrap_err();
        prop_assert_eq!(refused, AddressError::WrongNetwork { found: 0xc4, versions });
    }

    #[test]
    fn base58check_round_trip_and_typing_errors(
        version: u8,
        payload in vec(any::<u8>(), 0..40),
        place: prop::sample::Index,
        digit in "[1-9A-HJ-NP-Za-km-z]",
    ) {
        let text = base58check::encode(version, &payload);
        prop_assert_eq!(base58check::decode(&text), Ok((version, payload)));
        let place = place.index(text.len());
        let mut wrong = text.clone();
        wrong.replace_range(place..=place, &digit);
        prop_assert!(wrong == text || base58check::decode(&wrong).is_err());
    }

    #[test]
    fn random_text_and_scripts_never_panic(text in ".{0,200}", bytes in vec(any::<u8>(), 0..300)) {
        let versions = AddressVersions::default();
        prop_assert!(Address::decode(&text, &versions).is_err());
        let script = Script::from(bytes);
        if let Some(template) = classify(&script) {
            let back = match template {
                ScriptTemplate::P2pkh(hash) => Address::P2pkh(hash).script_pubkey(),
                ScriptTemplate::P2sh(hash) => Address::P2sh(hash).script_pubkey(),
                ScriptTemplate::Data(data) => data_script(data).unwrap(),
            };
            prop_assert_eq!(back, script.clone());
        }
        prop_assert!(parse_p2pkh_script_sig(&script).is_err());
        prop_assert!(parse_multisig_script_sig(&script).is_err());
        prop_assert!(Multisig::from_redeem_script(&script).is_none());
    }

    #[test]
    fn p2pkh_script_sig_has_one_form(
        key in secret_key(),
        hash: [u8; 32],
        bit: prop::sample::Index,
    ) {
        let signature = key.sign(&Hash256::from_bytes(hash));
        let script = p2pkh_script_sig(&signature, &key.public_key());
        prop_assert_eq!(parse_p2pkh_script_sig(&script), Ok((signature, key.public_key())));
        let mut bytes = script.as_bytes().to_vec();
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        // Whatever still parses says something else: no second form of the same.
        let parsed = parse_p2pkh_script_sig(&bytes.clone().into());
        prop_assert_ne!(parsed, Ok((signature, key.public_key())));
        bytes.push(0);
        prop_assert!(parse_p2pkh_script_sig(&bytes.into()).is_err());
    }

    #[test]
    fn data_outputs(data in vec(any::<u8>(), 0..=80)) {
        let script = data_script(&data).unwrap();
        prop_assert_eq!(classify(&script), Some(ScriptTemplate::Data(&data)));
        let theirs = bitcoin::ScriptBuf::from(script.as_bytes().to_vec());
        prop_assert!(theirs.is_op_return());
    }

    #[test]
    fn multisig_of_any_size(keys in vec(secret_key(), 1..=15), share: prop::sample::Index) {
        let required = u8::try_from(share.index(keys.len()) + 1).unwrap();
        let multisig = multisig(&keys, required);
        let redeem = multisig.redeem_script();
        let mut other = bitcoin::opcodes::all::OP_PUSHNUM_1.to_u8();
        other += required - 1;
        prop_assert_eq!(redeem.clone().into_bytes()[0], other);
        prop_assert!(bitcoin::Script::from_bytes(redeem.as_bytes()).is_multisig());
        prop_assert_eq!(&Multisig::from_redeem_script(&redeem).unwrap(), &multisig);

        let hash = Hash256::from_bytes([1; 32]);
        let signatures: Vec<_> =
            keys.iter().take(required.into()).map(|key| key.sign(&hash)).collect();
        let script_sig = multisig.script_sig(&signatures);
        prop_assert!(bitcoin::Script::from_bytes(script_sig.as_bytes()).is_push_only());
        let (found, script) = parse_multisig_script_sig(&script_sig).unwrap();
        prop_assert_eq!(found, signatures);
        prop_assert_eq!(script, redeem);
    }
}

#[test]
fn data_above_80_bytes_is_no_template() {
    assert_eq!(data_script(&[0; 81]), None);
    let mut script = vec![0x6a, 0x4c, 81];
    script.extend([0; 81]);
    assert_eq!(classify(&script.into()), None);
}

#[test]
fn longer_pushes_than_needed_are_no_template() {
    // Two bytes by OP_PUSHDATA1, OP_PUSHDATA2 and OP_PUSHDATA4.
    for script in [
        vec![0x6a, 0x4c, 2, 0, 0],
        vec![0x6a, 0x4d, 2, 0, 0, 0],
        vec![0x6a, 0x4e, 2, 0, 0, 0, 0, 0],
    ] {
        assert_eq!(classify(&script.into()), None);
    }
}

#[test]
fn multisig_bounds() {
    let key = SecretKey::from_bytes([1; 32]).unwrap().public_key();
    assert!(Multisig::new(0, vec![key]).is_none());
    assert!(Multisig::new(2, vec![key]).is_none());
    assert!(Multisig::new(1, vec![key; 16]).is_none());
    assert!(Multisig::new(1, vec![]).is_none());
    assert!(Multisig::new(15, vec![key; 15]).is_some());
}

#[test]
fn secrets_are_not_shown() {
    let key = SecretKey::from_bytes([0x5a; 32]).unwrap();
    assert_eq!(format!("{key:?}"), "SecretKey([redacted])");
    let hash = KeyHash::from_bytes([1; 20]);
    assert_eq!(format!("{hash:?}"), format!("KeyHash({})", "01".repeat(20)));
}
