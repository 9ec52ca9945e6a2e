//! Proofs travel as files: one node writes them, anybody checks them against the chain spec.

use std::fs;

use pentad_tests::{Devnet, wait_until};
use serde_json::{Value, json};

use crate::coins::{create_wallet, send};

#[test]
fn proof_of_a_payment_is_checked_with_no_node_running() {
    let devnet = Devnet::up(1);
    let bob = create_wallet(&devnet, 1, "bob");
    let (txid, _) = send(&devnet, 1, &devnet.genesis_address(), &bob, "10");
    let path = devnet.dir().join("proof.json");
    let file = path.to_str().expect("a plain path");
    let write = || devnet.on(1, &["proof", &txid, "--out", file]);

    // A transaction in the mempool is in no block, and nothing is left behind.
    let error = write().failure(1);
    assert!(error.contains("UNCONFIRMED_TRANSACTION"), "{error}");
    assert!(!path.exists());
    let hash = devnet.generate(1, 1).remove(0);
    let expected = json!({"txid": txid, "height": 1, "block_hash": hash, "file": file});
    assert_eq!(write().success(), expected);
    let error = write().failure(1);
    assert!(error.contains("is there already"), "{error}");

    devnet.stop(1);
    let spec = devnet.network()["chain_spec"].as_str().expect("a path").to_owned();
    let verify = || devnet.run(&["verify-proof", file, "--chain", &spec]);
    let verified = verify().success();
    assert_eq!((&verified["txid"], &verified["block_hash"]), (&json!(txid), &json!(hash)));
    // Work shows less than a certificate does, and the answer says so.
    assert_eq!((&verified["basis"], &verified["height"]), (&json!("work"), &Value::Null));
    assert!(verified["does_not_prove"].as_str().expect("a text").contains("main chain"));

    let sound: Value =
        serde_json::from_str(&fs::read_to_string(&path).expect("a file")).expect("JSON");
    let mut forged = sound.clone();
    forged["transaction"]["index"] = json!(0);
    fs::write(&path, forged.to_string()).expect("a writable file");
    let error = verify().failure(1);
    assert!(error.contains("`transaction.path`"), "{error}");
    fs::remove_file(&path).expect("a file");
    verify().failure(2);
}

#[test]
fn proof_of_a_final_payment_names_who_signed_it() {
    let devnet = Devnet::up_pbft(4);
    let bob = create_wallet(&devnet, 2, "bob");
    let genesis = devnet.genesis_address();
    let pay = ["send", "--from", &genesis, "--to", &bob, "--amount", "10", "--wait"];
    let paid = devnet.on(1, &pay).success();
    let txid = paid["txid"].as_str().expect("a txid").to_owned();
    let path = devnet.dir().join("proof.json");
    let file = path.to_str().expect("a plain path");
    let spec = devnet.network()["chain_spec"].as_str().expect("a path").to_owned();
    let written = devnet.on(1, &["proof", &txid, "--out", file]).success();
    assert_eq!(written["block_hash"], paid["block_hash"]);

    let verify = || devnet.run(&["verify-proof", file, "--chain", &spec]);
    let verified = verify().success();
    assert_eq!((&verified["txid"], &verified["height"]), (&json!(txid), &json!(1)));
    assert_eq!(
        (&verified["basis"], &verified["does_not_prove"]),
        (&json!("certificate"), &Value::Null)
    );
    assert!(verified["signers"].as_array().expect("names").len() >= 3, "{verified}");

    // One signature less is no quorum, whoever holds the file.
    let text = fs::read_to_string(&path).expect("a file");
    let mut forged: Value = serde_json::from_str(&text).expect("JSON");
    forged["certificate"]["signatures"].as_array_mut().expect("a list").truncate(2);
    fs::write(&path, forged.to_string()).expect("a writable file");
    let error = verify().failure(1);
    assert!(error.contains("`certificate`") && error.contains("quorum"), "{error}");
}

/// What could still be undone is not proved: the file is not written, and none without a
/// certificate is believed.
#[test]
fn proof_of_a_mined_payment_is_had_once_it_is_final() {
    let devnet = Devnet::up_hybrid(4);
    let bob = create_wallet(&devnet, 2, "bob");
    let (txid, _) = send(&devnet, 1, &devnet.genesis_address(), &bob, "10");
    let path = devnet.dir().join("proof.json");
    let file = path.to_str().expect("a plain path");
    let write = || devnet.on(3, &["proof", &txid, "--out", file]);
    // One block is lacking on the payment's.
    devnet.generate(1, 6);
    devnet.converge(&[1, 3]);
    let error = write().failure(1);
    assert!(error.contains("not final") && !path.exists(), "{error}");
    devnet.generate(1, 1);
    wait_until("the payment is final", || devnet.status(3)["final_height"] == 1);
    assert_eq!(write().success()["height"], 1);

    let spec = devnet.chain_spec();
    let spec = spec.to_str().expect("a plain path");
    let verify = || devnet.run(&["verify-proof", file, "--chain", spec]);
    let verified = verify().success();
    assert_eq!((&verified["basis"], &verified["height"]), (&json!("certificate"), &json!(1)));
    assert_eq!(verified["does_not_prove"], Value::Null);
    let text = fs::read_to_string(&path).expect("a file");
    let mut bare: Value = serde_json::from_str(&text).expect("JSON");
    bare["certificate"] = Value::Null;
    fs::write(&path, bare.to_string()).expect("a writable file");
    let error = verify().failure(1);
    assert!(error.contains("not shown to be final") && error.contains("hint"), "{error}");
}
