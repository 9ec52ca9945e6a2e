//! Proofs travel as files: one node writes them, anybody checks them against the chain spec.

use std::fs;

use pentad_tests::Devnet;
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
