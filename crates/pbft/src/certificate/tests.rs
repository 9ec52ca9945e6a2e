use std::sync::Arc;

use pentad_crypto::SecretKey;
use pentad_primitives::Hash256;

use super::{CertificateError, CommitCertificate};
use crate::domain::{Domain, Statement};
use crate::encoding::DecodeError;
use crate::identifiers::{ReplicaId, Sequence, View};
use crate::keys::Keys as _;
use crate::secp::SecpKeys;
use crate::validators::{Validator, ValidatorSet, ValidatorSetError};

fn secret(place: u8) -> SecretKey {
    SecretKey::from_bytes([place + 1; 32]).unwrap()
}

fn validator(place: u8) -> Validator {
    let key = secret(place).public_key();
    Validator { name: format!("v{place}"), key, payout: vec![0x6a, place].into() }
}

fn set(replicas: u8) -> Arc<ValidatorSet> {
    Arc::new(ValidatorSet::new((0..replicas).map(validator).collect()).unwrap())
}

fn domain(set: &ValidatorSet) -> Domain {
    Domain { chain: Hash256::from_bytes([7; 32]), validators: set.hash() }
}

fn certificate(set: &Arc<ValidatorSet>, signers: &[u8]) -> CommitCertificate {
    let (view, sequence) = (View::new(2), Sequence::new(9));
    let digest = Hash256::from_bytes([9; 32]);
    let statement = Statement::commit(view, sequence, digest);
    let signatures = signers.iter().map(|place| {
        let keys = SecpKeys::new(secret(*place), Arc::clone(set)).unwrap();
        let hash = statement.signing_hash(&domain(set), keys.own());
        (keys.own(), keys.sign(&hash))
    });
    CommitCertificate { view, sequence, digest, signatures: signatures.collect() }
}

#[test]
fn a_quorum_of_distinct_validators_makes_a_certificate() {
    let set = set(4);
    let domain = domain(&set);
    assert_eq!(certificate(&set, &[0, 2, 3]).verify(&domain, &set), Ok(()));
    assert_eq!(certificate(&set, &[0, 1, 2, 3]).verify(&domain, &set), Ok(()));
    let few = certificate(&set, &[0, 2]).verify(&domain, &set);
    assert_eq!(few, Err(CertificateError::NoQuorum { found: 2, needed: 3 }));
    let twice = certificate(&set, &[0, 2, 2]).verify(&domain, &set);
    assert_eq!(twice, Err(CertificateError::NotAscending));
    let mut stranger = certificate(&set, &[0, 2, 3]);
    stranger.signatures[2].0 = ReplicaId::new(4);
    let signer = CertificateError::Signer(ReplicaId::new(4));
    assert_eq!(stranger.verify(&domain, &set), Err(signer));
    let mut genesis = certificate(&set, &[0, 2, 3]);
    genesis.sequence = Sequence::GENESIS;
    assert_eq!(genesis.verify(&domain, &set), Err(CertificateError::Sequence));
}

#[test]
fn a_certificate_holds_for_nothing_else_than_what_was_signed() {
    let set = set(4);
    let domain = domain(&set);
    let honest = certificate(&set, &[0, 1, 2]);
    let first = Err(CertificateError::Signature(ReplicaId::new(0)));
    let mut other = honest.clone();
    other.digest = Hash256::from_bytes([8; 32]);
    assert_eq!(other.verify(&domain, &set), first);
    let mut other = honest.clone();
    other.view = View::new(1);
    assert_eq!(other.verify(&domain, &set), first);
    let mut other = honest.clone();
    other.sequence = Sequence::new(8);
    assert_eq!(other.verify(&domain, &set), first);
    let chain = Domain { chain: Hash256::ZERO, ..domain };
    assert_eq!(honest.verify(&chain, &set), first);
    let validators = Domain { validators: Hash256::ZERO, ..domain };
    assert_eq!(honest.verify(&validators, &set), first);
    let mut swapped = honest;
    swapped.signatures[2].1 = swapped.signatures[1].1;
    let third = Err(CertificateError::Signature(ReplicaId::new(2)));
    assert_eq!(swapped.verify(&domain, &set), third);
}

#[test]
fn a_certificate_has_one_encoding() {
    let set = set(4);
    let certificate = certificate(&set, &[0, 1, 3]);
    let bytes = certificate.to_bytes();
    assert_eq!(bytes.len(), 8 + 8 + 32 + 1 + 3 * 66);
    assert_eq!(CommitCertificate::from_bytes(&bytes), Ok(certificate.clone()));
    for end in 0..bytes.len() {
        assert!(CommitCertificate::from_bytes(&bytes[..end]).is_err(), "cut at {end}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(CommitCertificate::from_bytes(&longer).is_err());
    let mut unordered = certificate;
    unordered.signatures.swap(0, 1);
    let error = Err(DecodeError::NotAscending);
    assert_eq!(CommitCertificate::from_bytes(&unordered.to_bytes()), error);
    let mut many = bytes;
    many[48] = 65;
    let error = Err(DecodeError::ListTooLong { count: 65, max: 64 });
    assert_eq!(CommitCertificate::from_bytes(&many), error);
}

#[test]
fn a_validator_set_has_no_two_of_a_key_or_name_and_hashes_all_it_says() {
    let hash = set(4).hash();
    let changed = |change: &dyn Fn(&mut Vec<Validator>)| {
        let mut validators: Vec<_> = (0..4).map(validator).collect();
        change(&mut validators);
        ValidatorSet::new(validators).map(|set| set.hash())
    };
    assert_eq!(changed(&|_| ()), Ok(hash));
    assert_ne!(changed(&|all| all.swap(0, 1)), Ok(hash));
    assert_ne!(changed(&|all| all[1].name = "w".to_owned()), Ok(hash));
    assert_ne!(changed(&|all| all[1].payout = vec![1].into()), Ok(hash));
    assert_ne!(changed(&|all| all[1].key = secret(9).public_key()), Ok(hash));
    assert_ne!(changed(&|all| all.truncate(3)), Ok(hash));
    let key = ValidatorSetError::DuplicateKey("v0".to_owned(), "v1".to_owned());
    assert_eq!(changed(&|all| all[1].key = all[0].key), Err(key));
    let name = ValidatorSetError::DuplicateName("v0".to_owned());
    assert_eq!(changed(&|all| all[1].name = all[0].name.clone()), Err(name));
    assert_eq!(changed(&|all| all.clear()), Err(ValidatorSetError::Count(0)));
    assert_eq!(changed(&|all| all[2].name.clear()), Err(ValidatorSetError::Name(String::new())));
}
