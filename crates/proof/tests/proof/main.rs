//! Portable proofs through the public interface: every field counts.
#![allow(missing_debug_implementations, reason = "tests")]

mod network;

use pentad_ledger::ChainSpec;
use pentad_pbft::{CertificateError, ReplicaId};
use pentad_primitives::BlockHeight;
use pentad_proof::{
    Basis, CertificateFault, Membership, PortableProof, ProofError, Proven, Reason,
};
use serde_json::{Value, json};

use network::{Network, START};

/// What a file shows, read and checked.
fn check(text: &str, spec: &ChainSpec) -> Result<Proven, ProofError> {
    PortableProof::from_json(text)?.check(spec)
}

/// The error after one change to the file of a sound proof.
fn after(change: impl FnOnce(&mut Value)) -> ProofError {
    let network = Network::pbft();
    let mut file: Value = serde_json::from_str(&network.proof(1).to_json()).unwrap();
    change(&mut file);
    check(&file.to_string(), &network.spec).unwrap_err()
}

/// Another character in place of the first one of a hex field.
fn flip(value: &mut Value) {
    let text = value.as_str().unwrap();
    let first = if text.starts_with('0') { '1' } else { '0' };
    *value = json!(format!("{first}{}", &text[1..]));
}

#[test]
fn sound_proof_shows_what_it_says() {
    let network = Network::pbft();
    for index in 0..3 {
        let proof = network.proof(index);
        let text = proof.to_json();
        assert_eq!(PortableProof::from_json(&text).as_ref(), Ok(&proof));
        let proven = check(&text, &network.spec).unwrap();
        assert_eq!(proven.txid, network.block.transactions[index as usize].txid());
        assert_eq!(proven.height, Some(BlockHeight::new(1)));
        assert_eq!(proven.block_hash, network.block.block_hash());
        assert_eq!(proven.time, network.block.header.time);
        assert_eq!(proven.signers(), ["v0", "v1", "v3"]);
        assert_eq!(proven.basis.does_not_prove(), None);
    }
}

/// What a reader of the file sees: a change here breaks the proofs that people keep.
#[test]
fn file_has_one_form() {
    let network = Network::pbft();
    let text = network.proof(1).to_json();
    let file: Value = serde_json::from_str(&text).unwrap();
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(file["format"], "pentad-proof-1");
    assert_eq!(
        names(&file),
        ["block", "certificate", "format", "height", "network", "spec_hash", "transaction"]
    );
    assert_eq!(
        names(&file["block"]),
        ["bits", "hash", "merkle_root", "nonce", "prev_block_hash", "time", "version"]
    );
    assert_eq!(names(&file["certificate"]), ["signatures", "view"]);
    assert_eq!(names(&file["certificate"]["signatures"][0]), ["signature", "validator"]);
    assert_eq!(names(&file["transaction"]), ["index", "path", "raw", "txid"]);
    assert_eq!(file["block"]["bits"], "207fffff");
    assert!(text.ends_with("}\n"));
}

#[test]
fn every_field_of_the_network_counts() {
    let error = after(|file| file["format"] = json!("pentad-proof-2"));
    assert_eq!(
        (error.field, error.reason),
        ("format", Reason::Format { found: "pentad-proof-2".to_owned() },)
    );
    let error = after(|file| file["network"] = json!("other"));
    assert_eq!(error.field, "network");
    assert!(matches!(error.reason, Reason::Network { .. }));
    let error = after(|file| flip(&mut file["spec_hash"]));
    assert_eq!(error.field, "spec_hash");
    assert!(matches!(error.reason, Reason::Spec { .. }));
    // Same name, other validators: a proof holds on its own network alone.
    let network = Network::pbft();
    let other = Network::with_validators(10..14);
    let error = check(&network.proof(1).to_json(), &other.spec).unwrap_err();
    assert!(matches!(error.reason, Reason::Spec { .. }), "{error}");
}

#[test]
fn every_field_of_the_block_counts() {
    let changes: [(&str, Value); 6] = [
        ("version", json!(1)),
        ("time", json!(START + 1)),
        ("nonce", json!(1)),
        ("bits", json!("207ffffe")),
        ("prev_block_hash", json!("00".repeat(32))),
        ("merkle_root", json!("00".repeat(32))),
    ];
    for (field, value) in changes {
        let error = after(|file| file["block"][field] = value);
        assert_eq!(error.field, "block.hash", "{field}");
        assert!(matches!(error.reason, Reason::BlockHash { .. }), "{field}");
    }
    let error = after(|file| flip(&mut file["block"]["hash"]));
    assert!(matches!(error.reason, Reason::BlockHash { .. }), "{error}");
    // With the hash that belongs to it, it is another block, which nobody signed.
    let network = Network::pbft();
    let mut proof = network.proof(1);
    proof.transaction.header.time += 1;
    let error = check(&proof.to_json(), &network.spec).unwrap_err();
    let fault = CertificateFault::Unsigned(CertificateError::Signature(ReplicaId::new(0)));
    assert_eq!((error.field, error.reason), ("certificate", Reason::Certificate(fault)));
}

#[test]
fn every_field_of_the_transaction_counts() {
    let error = after(|file| flip(&mut file["transaction"]["txid"]));
    assert_eq!(error.field, "transaction.txid");
    assert!(matches!(error.reason, Reason::Txid { .. }));
    let error = after(|file| flip(&mut file["transaction"]["raw"]));
    assert!(error.field.starts_with("transaction."), "{error}");
    // With the id that belongs to it, the block does not hold it.
    let network = Network::pbft();
    let mut proof = network.proof(1);
    proof.transaction.transaction.lock_time += 1;
    let error = check(&proof.to_json(), &network.spec).unwrap_err();
    assert_eq!(error.field, "transaction.path");
    assert!(matches!(error.reason, Reason::Path { .. }));
    for index in [0, 2, 3, 5, u32::MAX] {
        let error = after(|file| file["transaction"]["index"] = json!(index));
        assert_eq!(error.field, "transaction.path", "index {index}");
    }
    let error = after(|file| flip(&mut file["transaction"]["path"][0]));
    assert_eq!(error.field, "transaction.path");
    let error = after(|file| {
        file["transaction"]["path"].as_array_mut().unwrap().pop();
    });
    assert_eq!(error.field, "transaction.path");
}

#[test]
fn every_field_of_the_certificate_counts() {
    let certificate = |change: &dyn Fn(&mut Value)| {
        let error = after(|file| change(&mut file["certificate"]));
        match error.reason {
            Reason::Certificate(fault) => (error.field, fault),
            reason => panic!("{reason}"),
        }
    };
    let unsigned = |error| ("certificate", CertificateFault::Unsigned(error));
    let mismatch = |place| unsigned(CertificateError::Signature(ReplicaId::new(place)));
    assert_eq!(certificate(&|it| *it = Value::Null), ("certificate", CertificateFault::Missing));
    assert_eq!(certificate(&|it| it["view"] = json!(1)), mismatch(0));
    assert_eq!(certificate(&|it| flip(&mut it["signatures"][1]["signature"])), mismatch(1));
    assert_eq!(certificate(&|it| it["signatures"][2]["validator"] = json!(2)), mismatch(2));
    assert_eq!(
        certificate(&|it| it["signatures"][2]["validator"] = json!(4)),
        unsigned(CertificateError::Signer(ReplicaId::new(4)))
    );
    let one_less = |it: &mut Value| {
        it["signatures"].as_array_mut().unwrap().pop();
    };
    let error = CertificateError::NoQuorum { found: 2, needed: 3 };
    assert_eq!(certificate(&one_less), unsigned(error));
    let twice = |it: &mut Value| it["signatures"][2] = it["signatures"][1].clone();
    assert_eq!(certificate(&twice), unsigned(CertificateError::NotAscending));
    // The height is what the validators signed.
    let error = after(|file| file["height"] = json!(2));
    assert_eq!(error.reason, Reason::Certificate(mismatch(0).1));
}

#[test]
fn damaged_files_are_named() {
    for (field, change) in [
        ("spec_hash", "spec_hash"),
        ("block.hash", "block/hash"),
        ("block.prev_block_hash", "block/prev_block_hash"),
        ("block.merkle_root", "block/merkle_root"),
        ("block.bits", "block/bits"),
        ("transaction.txid", "transaction/txid"),
        ("transaction.raw", "transaction/raw"),
        ("transaction.path", "transaction/path/0"),
        ("certificate.signatures.signature", "certificate/signatures/0/signature"),
    ] {
        let error = after(|file| *file.pointer_mut(&format!("/{change}")).unwrap() = json!("xy"));
        assert_eq!(error.field, field);
        assert!(matches!(error.reason, Reason::Malformed(_)), "{error}");
    }
    let error = after(|file| file["more"] = json!(1));
    assert!(error.to_string().contains("unknown field `more`"), "{error}");
    for text in ["", "{", "[]", "null", "{\"format\": 1}"] {
        assert!(PortableProof::from_json(text).is_err(), "{text}");
    }
}

#[test]
fn genesis_is_given_by_the_spec() {
    let network = Network::pbft();
    let genesis = network.spec.genesis_block();
    let mut proof = network.proof_in(genesis, 0, 0, None);
    let proven = proof.check(&network.spec).unwrap();
    assert_eq!((proven.height, proven.basis), (Some(BlockHeight::GENESIS), Basis::Genesis));
    proof.certificate = Some(network.certificate(&network.block, 1, &[0, 1, 2]));
    assert_eq!(proof.check(&network.spec).unwrap_err().field, "certificate");
    proof.certificate = None;
    proof.height = BlockHeight::new(1);
    assert_eq!(proof.check(&network.spec).unwrap_err().field, "height");
}

#[test]
fn proof_of_work_shows_less_and_says_so() {
    let network = Network::pow();
    let mut proof = network.proof_in(&network.block, 1, 1, None);
    let proven = check(&proof.to_json(), &network.spec).unwrap();
    assert_eq!((proven.height, &proven.basis), (None, &Basis::Work));
    assert!(proven.basis.does_not_prove().unwrap().contains("main chain"));
    let unsolved = {
        let mut proof = proof.clone();
        let header = &mut proof.transaction.header;
        let target = pentad_primitives::Target::from_compact(header.bits).unwrap();
        while target.is_met_by(&header.block_hash()) {
            header.nonce += 1;
        }
        check(&proof.to_json(), &network.spec).unwrap_err()
    };
    assert_eq!(unsolved.field, "block");
    assert!(unsolved.to_string().contains("not enough work"), "{unsolved}");
    proof.certificate = Some(Network::pbft().certificate(&network.block, 1, &[0, 1, 2]));
    let error = proof.check(&network.spec).unwrap_err();
    assert_eq!((error.field, error.reason), ("certificate", Reason::Uncertifiable));
}

#[test]
fn mined_block_is_final_by_its_certificate() {
    let network = Network::hybrid();
    let proof = network.proof(1);
    let proven = check(&proof.to_json(), &network.spec).unwrap();
    assert_eq!(proven.height, Some(BlockHeight::new(1)));
    assert_eq!(proven.block_hash, network.block.block_hash());
    assert_eq!(proven.signers(), ["v0", "v1", "v3"]);
    assert_eq!(proven.basis.does_not_prove(), None);
    let minority = network.certificate(&network.block, 1, &[0, 1]);
    let proof = PortableProof { certificate: Some(minority), ..proof };
    let fault = CertificateFault::Unsigned(CertificateError::NoQuorum { found: 2, needed: 3 });
    let error = check(&proof.to_json(), &network.spec).unwrap_err();
    assert_eq!((error.field, error.reason), ("certificate", Reason::Certificate(fault)));
}

/// Whoever checks a proof on a network with finality relies on its yes: work alone is a no.
#[test]
fn work_alone_is_not_final_where_validators_decide() {
    let network = Network::hybrid();
    let proof = network.proof_in(&network.block, 1, 1, None);
    let error = check(&proof.to_json(), &network.spec).unwrap_err();
    assert_eq!((error.field, &error.reason), ("certificate", &Reason::NotFinal));
    assert!(error.to_string().contains("not shown to be final"), "{error}");
}

/// A node that was away has the certificate of a later block alone, which makes it final too.
#[test]
fn certificate_of_a_later_block_makes_a_block_final() {
    let network = Network::hybrid();
    let mut proof = network.proof_in(&network.block, 1, 1, None);
    let mut later = network.block.clone();
    for time in 1..=3 {
        later.header.prev_block_hash = later.block_hash();
        later.header.time += time;
        proof.successors.push(later.header);
    }
    proof.certificate = Some(network.certificate(&later, 4, &[0, 1, 3]));
    let text = proof.to_json();
    assert_eq!(PortableProof::from_json(&text).as_ref(), Ok(&proof));
    let proven = check(&text, &network.spec).unwrap();
    assert_eq!(proven.height, Some(BlockHeight::new(1)));
    assert_eq!(proven.block_hash, network.block.block_hash());
    assert_eq!(proven.signers(), ["v0", "v1", "v3"]);

    // Without one of the headers, the others do not follow the block.
    let mut gap = proof.clone();
    gap.successors.remove(1);
    let error = check(&gap.to_json(), &network.spec).unwrap_err();
    assert_eq!((error.field, error.reason), ("successors", Reason::Successors));
    // The height of the certified block is what the validators signed.
    for height in [0, 2, u32::MAX] {
        let moved = PortableProof { height: BlockHeight::new(height), ..proof.clone() };
        assert!(check(&moved.to_json(), &network.spec).is_err(), "height {height}");
    }
    let error = {
        let certificate = Some(network.certificate(&network.block, 1, &[0, 1, 3]));
        let others = PortableProof { certificate, ..proof.clone() };
        others.check(&network.spec).unwrap_err()
    };
    assert!(matches!(error.reason, Reason::Certificate(_)), "{error}");
    proof.certificate = None;
    assert_eq!(proof.check(&network.spec).unwrap_err().reason, Reason::NotFinal);
    let mut file: Value = serde_json::from_str(&text).unwrap();
    file["successors"][0] = json!("00");
    let error = PortableProof::from_json(&file.to_string()).unwrap_err();
    assert_eq!(error.field, "successors");
}

#[test]
fn successors_prove_nothing_where_nobody_signs() {
    for network in [Network::pow(), Network::pbft()] {
        let mut proof = network.proof_in(&network.spec.genesis_block().clone(), 0, 0, None);
        proof.successors = vec![network.block.header];
        assert_eq!(proof.check(&network.spec).unwrap_err().field, "successors");
    }
    let network = Network::pow();
    let mut proof = network.proof_in(&network.block, 1, 1, None);
    proof.successors = vec![network.block.header];
    assert_eq!(proof.check(&network.spec).unwrap_err().field, "successors");
}

#[test]
fn certificate_is_for_one_block_of_one_network() {
    let network = Network::pbft();
    let membership = Membership::of(&network.spec).unwrap().unwrap();
    let certificate = network.certificate(&network.block, 1, &[0, 1, 2]);
    let hash = network.block.block_hash();
    let bytes = certificate.to_bytes();
    assert_eq!(membership.check(&bytes, &hash), Ok(certificate.clone()));
    assert_eq!(membership.check(&[], &hash), Err(CertificateFault::Missing));
    assert!(matches!(membership.check(&bytes[1..], &hash), Err(CertificateFault::Malformed(_))));
    let genesis = network.spec.genesis_hash();
    assert_eq!(
        membership.check(&bytes, &genesis),
        Err(CertificateFault::OtherBlock { found: hash })
    );
    let other = Network::with_validators(10..14);
    let membership = Membership::of(&other.spec).unwrap().unwrap();
    assert!(matches!(membership.check(&bytes, &hash), Err(CertificateFault::Unsigned(_))));
    let one = BlockHeight::new(1);
    assert_eq!(CertificateFault::check_height(&certificate, one), Ok(()));
    assert!(CertificateFault::check_height(&certificate, BlockHeight::new(2)).is_err());
    assert_eq!(Membership::of(&Network::pow().spec), Ok(None));
}
