//! Whatever goes wrong is named, with the right code, and nothing is lost.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use pentad_tests::{Devnet, buf_curl, free_port, start};
use serde_json::json;

use crate::coins::{COIN, balance, create_wallet, send};

const INVALID_ARGUMENT: i32 = 3;
const FAILED_PRECONDITION: i32 = 9;

/// An address of Bitcoin's test network.
const WRONG_NETWORK: &str = "mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn";
/// An address of this network that nobody here has the key of.
const FOREIGN: &str = "1BoatSLRHtKNngkdXEeobR76b53LETtpyT";

#[test]
fn payments_that_cannot_be_made() {
    let devnet = Devnet::up(1);
    let alice = devnet.genesis_address();
    let bob = create_wallet(&devnet, 1, "bob");
    let mut misspelt = bob.clone();
    misspelt.replace_range(10..11, if &bob[10..11] == "a" { "b" } else { "a" });
    for (from, to, amount, words) in [
        (FOREIGN, bob.as_str(), "1", &["not", FOREIGN][..]),
        (&alice, WRONG_NETWORK, "1", &["network"]),
        (&alice, &misspelt, "1", &["checksum"]),
        (&alice, "", "1", &["address"]),
        (&alice, &bob, "1000.00000001", &["enough", "1000.00000000"]),
        (&alice, &bob, "1000", &["enough", "fee"]),
        (&bob, &alice, "1", &["enough", "0.00000000"]),
        (&alice, &bob, "0", &["amount"]),
        ("nobody", &bob, "1", &["nobody"]),
    ] {
        let arguments = ["send", "--from", from, "--to", to, "--amount", amount];
        let error = devnet.on(1, &arguments).failure(1).to_lowercase();
        for word in words {
            let found = error.contains(&word.to_lowercase());
            assert!(found, "{arguments:?}: no {word:?} in {error}");
        }
    }
    assert_eq!(balance(&devnet, 1, &alice), [1000 * COIN, 0, 0], "nothing was spent");
}

#[test]
fn arguments_that_make_no_sense() {
    let devnet = Devnet::up(1);
    let alice = devnet.genesis_address();
    let bob = create_wallet(&devnet, 1, "bob");
    for amount in ["", "-1", "1.000000001", "1e3", "21000001", "ten", "0x10", "1,5", "NaN"] {
        let arguments = ["send", "--from", &alice, "--to", &bob, "--amount", amount];
        let error = devnet.on(1, &arguments).failure(2);
        assert!(error.contains("amount"), "{amount:?}: {error}");
    }
    for (node, arguments, code, word) in [
        (1, &["balance", WRONG_NETWORK][..], 1, "network"),
        (1, &["print", "7"], 1, "7"),
        (7, &["balance", &alice], 2, "node"),
        (1, &["createwallet", "bob"], 1, "bob"),
        (1, &["createwallet", "../bob"], 1, "name"),
        (1, &["generate", "0"], 1, "blocks"),
    ] {
        let error = devnet.on(node, arguments).failure(code);
        assert!(error.contains(word), "{arguments:?}: no {word:?} in {error}");
    }
    assert_eq!(balance(&devnet, 1, &alice), [1000 * COIN, 0, 0], "nothing was spent");
}

#[test]
fn a_tampered_transaction_and_a_block_with_bad_work_are_refused() {
    let devnet = Devnet::up(1);
    let node = devnet.node(1);
    let alice = devnet.genesis_address();
    let bob = create_wallet(&devnet, 1, "bob");
    let (txid, _) = send(&devnet, 1, &alice, &bob, "3");
    devnet.generate(1, 1);
    let block = devnet.on(1, &["print", "1"]).success();
    let hex = block["hex"].as_str().expect("hex").to_owned();

    let get = json!({"txid": txid});
    let reply = buf_curl(&node, "pentad.chain.v1.ChainService/GetTransaction", &get);
    let raw = BASE64
        .decode(reply.json["transaction"]["raw"].as_str().expect("raw bytes"))
        .expect("base64");
    // One bit of an amount: the signature does not hold any more (nor does the output exist).
    let mut tampered = raw.clone();
    let amount = tampered.len() - 4 - 34;
    tampered[amount] ^= 1;
    let request = json!({"transaction": BASE64.encode(&tampered)});
    let reply = buf_curl(&node, "pentad.chain.v1.SubmitService/SubmitTransaction", &request);
    assert_eq!(reply.code, FAILED_PRECONDITION, "{}", reply.text);

    // The next block without work: the same bytes with another nonce.
    let mut bytes = hex::decode(&hex).expect("hex digits");
    let method = "pentad.chain.v1.SubmitService/SubmitBlock";
    let mut refused = false;
    for nonce in 0..64_u8 {
        bytes[79] = nonce;
        let reply = buf_curl(&node, method, &json!({"block": BASE64.encode(&bytes)}));
        if reply.code != 0 {
            assert_eq!(reply.code, INVALID_ARGUMENT, "{}", reply.text);
            assert!(reply.text.to_lowercase().contains("work"), "{}", reply.text);
            refused = true;
            break;
        }
    }
    assert!(refused, "sixty-four random nonces were all enough work");
    assert_eq!(devnet.status(1)["height"], 1);
    assert_eq!(balance(&devnet, 1, &bob), [3 * COIN, 0, 0]);
}

/// Starts a node by hand that must fail: its exit code and what it said.
fn failed_start(chain: &Path, data: &Path, grpc: &str) -> (i32, String) {
    let log = data.with_extension("log");
    let p2p = format!("127.0.0.1:{}", free_port());
    let metrics = format!("127.0.0.1:{}", free_port());
    let [chain, data] = [chain, data].map(|path| path.to_str().expect("a UTF-8 path"));
    let mut node = start(
        "pentad",
        &[
            "start",
            "--chain",
            chain,
            "--data",
            data,
            "--grpc",
            grpc,
            "--p2p",
            &p2p,
            "--metrics",
            &metrics,
        ],
        &log,
    );
    let status = node.wait();
    let text = node.output();
    assert!(!text.contains("panicked"), "{text}");
    (status.code().expect("an exit code"), text)
}

#[test]
fn a_node_that_cannot_start_says_why() {
    let devnet = Devnet::up(1);
    let dir = tempfile::TempDir::new().expect("a temporary folder");
    let spec = Path::new(devnet.network()["chain_spec"].as_str().expect("a path")).to_owned();
    let free = || format!("127.0.0.1:{}", free_port());
    let data = |name: &str| dir.path().join(name);

    // Corrupted in many ways: always the file is named, mostly the line or the field.
    let good = fs::read_to_string(&spec).expect("a readable spec");
    for (number, bad) in [
        good.replacen('=', "", 1),
        good.replacen('"', "", 1),
        good.clone() + "\nno_such_field = 1\n",
        String::new(),
        good.replace("name = ", "nome = "),
    ]
    .iter()
    .enumerate()
    {
        let file = data(&format!("chain-{number}.toml"));
        fs::write(&file, bad).expect("a written spec");
        let (code, text) = failed_start(&file, &data(&format!("corrupt-{number}")), &free());
        assert_ne!(code, 0);
        assert!(text.contains(&format!("chain-{number}.toml")), "{text}");
    }
    let (code, text) = failed_start(&data("absent.toml"), &data("absent"), &free());
    assert_ne!(code, 0);
    assert!(text.contains("absent.toml"), "{text}");

    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let (code, text) = failed_start(&spec, &data("port"), &address);
    assert_ne!(code, 0);
    assert!(text.contains("in use") && text.contains(&address), "{text}");

    // A second process on one data directory.
    let node = devnet.node(1);
    let (code, text) = failed_start(&spec, &node.data_dir(), &free());
    assert_ne!(code, 0);
    let directory = node.data_dir().display().to_string();
    assert!(text.contains("in use") && text.contains(&directory), "{text}");
    assert_eq!(devnet.status(1)["healthy"], true, "the first one lives");

    // A data directory of another network.
    devnet.generate(1, 1);
    devnet.stop(1);
    let other = good.replacen("name = \"", "name = \"other-", 1);
    let file = data("other.toml");
    fs::write(&file, other).expect("a written spec");
    let (code, text) = failed_start(&file, &node.data_dir(), &free());
    assert_ne!(code, 0);
    assert!(text.contains("another") || text.contains("different"), "{text}");
    devnet.restart();
    assert_eq!(devnet.status(1)["height"], 1, "nothing was lost");
}

#[test]
fn calls_to_nobody_and_without_rights_exit_with_their_own_codes() {
    let devnet = Devnet::up(1);
    let alice = devnet.genesis_address();
    let node = devnet.node(1);
    let cookie = fs::read(node.cookie_path()).expect("a cookie");
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new(pentad_tests::binary("pentad"))
            .args(arguments)
            .output()
            .expect("pentad runs");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code().expect("an exit code"), text)
    };
    let wrong = tempfile::NamedTempFile::new().expect("a file");
    fs::write(wrong.path(), "00".repeat(32)).expect("a written cookie");
    let wrong = wrong.path().to_str().expect("a UTF-8 path");
    let (code, text) = run(&["--grpc", &node.grpc(), "--cookie", wrong, "balance", &alice]);
    assert_eq!(code, 4, "{text}");
    assert!(text.contains("cookie"), "{text}");
    let error = devnet.on(1, &["sync", "--now"]).failure(1);
    assert!(error.contains("no peers"), "{error}");
    devnet.stop(1);
    let (code, text) = run(&["--grpc", &node.grpc(), "--cookie", wrong, "balance", &alice]);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains(&node.grpc()), "{text}");
    let (code, _) = run(&["no-such-verb"]);
    assert_eq!(code, 2);
    devnet.restart();
    assert_eq!(fs::read(node.cookie_path()).expect("a cookie"), cookie, "the cookie is kept");
}
