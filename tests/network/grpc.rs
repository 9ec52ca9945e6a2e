//! The services as other people's clients see them.

use pentad_tests::{Curl, Devnet, buf_curl, buf_curl_list};
use serde_json::{Value, json};

const UNAUTHENTICATED: i32 = 16;
const INVALID_ARGUMENT: i32 = 3;
const NOT_FOUND: i32 = 5;

#[test]
fn reflection_lists_the_services_and_buf_curl_calls_them() {
    let devnet = Devnet::up(1);
    let node = devnet.node(1);
    let methods = buf_curl_list(&node);
    for method in [
        "pentad.chain.v1.ChainService/GetInfo",
        "pentad.chain.v1.SubmitService/SubmitTransaction",
        "pentad.chain.v1.EventService/FollowTip",
        "pentad.wallet.v1.KeystoreService/CreateWallet",
        "pentad.wallet.v1.WalletService/Send",
        "pentad.miner.v1.MinerService/Generate",
        "pentad.peer.v1.PeerService/ListPeers",
        "grpc.health.v1.Health/Check",
    ] {
        assert!(methods.iter().any(|line| line == method), "{method} is not in {methods:?}");
    }

    let info = buf_curl(&node, "pentad.chain.v1.ChainService/GetInfo", &json!({}));
    assert_eq!(info.code, 0, "{}", info.text);
    assert_eq!(info.json["engine"], "pow");
    let mined = buf_curl(&node, "pentad.miner.v1.MinerService/Generate", &json!({"blocks": 2}));
    assert_eq!(mined.code, 0, "{}", mined.text);
    let block = buf_curl(&node, "pentad.chain.v1.ChainService/GetBlock", &json!({"height": 2}));
    assert_eq!(block.json["block"]["header"]["hash"], mined.json["hashes"][1], "{}", block.text);
    let alice = devnet.genesis_address();
    let balance =
        buf_curl(&node, "pentad.chain.v1.ChainService/GetBalance", &json!({"address": alice}));
    assert_eq!(balance.json["confirmed"], "100000000000", "{}", balance.text);
    let status = buf_curl(&node, "pentad.miner.v1.MinerService/GetStatus", &json!({}));
    assert_eq!(status.json["blocksFound"], "2", "{}", status.text);
}

#[test]
fn health_is_open_and_everything_else_needs_the_cookie() {
    let devnet = Devnet::up(1);
    let node = devnet.node(1);
    let health = Curl::anonymous(&node, "grpc.health.v1.Health/Check", &json!({}));
    assert_eq!(health.json["status"], "SERVING", "{}", health.text);
    for (method, request) in [
        ("pentad.chain.v1.ChainService/GetInfo", json!({})),
        ("pentad.wallet.v1.KeystoreService/ListWallets", json!({})),
        ("pentad.wallet.v1.WalletService/Send", json!({"wallet": "genesis"})),
        ("pentad.miner.v1.MinerService/Generate", json!({"blocks": 1})),
        ("pentad.chain.v1.AssemblyService/GetLocator", json!({})),
    ] {
        let denied = Curl::anonymous(&node, method, &request);
        assert_eq!(denied.code, UNAUTHENTICATED, "{method}: {}", denied.text);
        let denied = Curl::with_cookie(&node, &"0".repeat(64), method, &request);
        assert_eq!(denied.code, UNAUTHENTICATED, "{method}: {}", denied.text);
    }
    assert_eq!(devnet.status(1)["height"], 0, "nothing was mined by strangers");
}

/// Calls that cannot succeed: method, request, gRPC code, a word of the message.
fn wrong_calls() -> Vec<(&'static str, Value, i32, &'static str)> {
    vec![
        ("pentad.chain.v1.ChainService/GetBlock", json!({"height": 9}), NOT_FOUND, "9"),
        ("pentad.chain.v1.ChainService/GetBlock", json!({}), INVALID_ARGUMENT, "block"),
        ("pentad.chain.v1.ChainService/GetBlock", json!({"hash": "xyz"}), INVALID_ARGUMENT, "hash"),
        (
            "pentad.chain.v1.ChainService/GetTransaction",
            json!({"txid": "00".repeat(32)}),
            NOT_FOUND,
            "transaction",
        ),
        (
            "pentad.chain.v1.ChainService/GetBalance",
            json!({"address": "1BitcoinEaterAddressDontSendf59kuF"}),
            INVALID_ARGUMENT,
            "address",
        ),
        (
            "pentad.chain.v1.SubmitService/SubmitTransaction",
            json!({"transaction": "AAAA"}),
            INVALID_ARGUMENT,
            "transaction",
        ),
        ("pentad.chain.v1.SubmitService/SubmitBlock", json!({}), INVALID_ARGUMENT, "block"),
        (
            "pentad.wallet.v1.WalletService/GetBalance",
            json!({"wallet": "nobody"}),
            NOT_FOUND,
            "nobody",
        ),
        ("pentad.miner.v1.MinerService/Generate", json!({"blocks": 0}), INVALID_ARGUMENT, "blocks"),
        (
            "pentad.peer.v1.PeerService/AddPeer",
            json!({"address": "?"}),
            INVALID_ARGUMENT,
            "address",
        ),
    ]
}

#[test]
fn errors_carry_the_right_codes_and_google_rpc_details() {
    let devnet = Devnet::up(1);
    let node = devnet.node(1);
    for (method, request, code, word) in wrong_calls() {
        let reply = buf_curl(&node, method, &request);
        assert_eq!(reply.code, code, "{method} {request}: {}", reply.text);
        assert!(reply.text.contains(word), "{method} {request}: {}", reply.text);
        assert!(reply.text.contains("google.rpc.ErrorInfo"), "{method}: {}", reply.text);
    }
}
