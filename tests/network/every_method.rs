//! Every method of every service through `pentad`, beside the same call through `buf curl`.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use pentad_tests::{Devnet, Node, binary, buf_curl_list, tool, words};
use serde_json::{Value, json};

/// Streams that say nothing until something happens.
const SILENT: [&str; 1] = ["pentad.peer.v1.RelayService/Exchange"];

/// Streams whose first answer tells how far a work has come by then: no two tell the same.
const PROGRESS: [&str; 1] = ["pentad.wallet.v1.WalletService/Rescan"];

/// A request that gets further than an empty one.
fn request(path: &str, txid: &str) -> Value {
    let (service, method) = path.rsplit_once('/').expect("a path has a slash");
    match method {
        "GetHistory" if service.ends_with("WalletService") => json!({"wallet": "genesis"}),
        "Rescan" => json!({"wallet": "genesis"}),
        "GetBlock" | "GetHeader" | "GetCertificate" => json!({"height": 0}),
        "GetTransaction" | "GetProof" | "ExplainTransaction" => json!({"txid": txid}),
        "GetHistory" => json!({"address": "1BitcoinEaterAddressDontSendf59kuF"}),
        "LocateHeaders" => json!({"limit": 3}),
        "UnlockWallet" | "LockWallet" | "NewAddress" => json!({"wallet": "genesis"}),
        "FollowAddresses" => json!({"addresses": ["1BitcoinEaterAddressDontSendf59kuF"]}),
        _ => json!({}),
    }
}

/// `pentad.chain.v1.ChainService/GetBlock` is typed `chain get-block`.
fn typed(path: &str) -> [String; 2] {
    let (service, method) = path.rsplit_once('/').expect("a path has a slash");
    let service = service.rsplit('.').next().expect("a name");
    [service.strip_suffix("Service").unwrap_or(service), method].map(|name| words(name, '-'))
}

/// The first answer, or the exit code where there is none.
fn first(mut command: Command) -> Result<Value, i32> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program runs");
    let stdout = child.stdout.take().expect("it is piped");
    let answer = serde_json::Deserializer::from_reader(stdout).into_iter().next();
    match answer {
        Some(answer) => {
            // A stream goes on for ever; an ended process cannot be killed, which is as well.
            child.kill().ok();
            child.wait().expect("it was started");
            Ok(answer.expect("JSON on standard output"))
        }
        None => Err(child.wait().expect("it was started").code().expect("it ended by itself")),
    }
}

fn by_buf(node: &Node, path: &str, request: &Value) -> Result<Value, i32> {
    let mut command = Command::new(tool("buf"));
    command
        .args(["curl", "--protocol", "grpc", "--http2-prior-knowledge"])
        .arg("-H")
        .arg(format!("authorization: Bearer {}", node.cookie()))
        .arg("-d")
        .arg(request.to_string())
        .arg(format!("http://{}/{path}", node.grpc()));
    first(command)
}

fn by_pentad(node: &Node, path: &str, request: &Value) -> Result<Value, i32> {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), request.to_string()).expect("written");
    let mut command = Command::new(binary("pentad"));
    command
        .args(["--grpc", &node.grpc(), "--output", "json", "--cookie"])
        .arg(node.cookie_path())
        .args(typed(path))
        .arg("--json")
        .arg(file.path());
    first(command)
}

/// The names of all fields in an answer: what two calls have in common.
fn names(value: &Value, above: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = format!("{above}.{name}");
                names(value, &path, found);
                found.insert(path);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| names(value, above, found)),
        _ => {}
    }
}

fn shape(value: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    names(value, "", &mut found);
    found
}

/// Both the same; where a call changes something or tells the time, fields of the same names.
fn compare(node: &Node, path: &str, request: &Value) {
    let buf = by_buf(node, path, request);
    let pentad = by_pentad(node, path, request);
    match (buf, pentad) {
        (Ok(_), Ok(_)) if PROGRESS.contains(&path) => {}
        (Ok(buf), Ok(pentad)) => {
            let again = by_buf(node, path, request);
            if again.as_ref() == Ok(&buf) {
                assert_eq!(pentad, buf, "{path} {request}");
            } else {
                assert_eq!(shape(&pentad), shape(&buf), "{path} {request}");
            }
        }
        // buf's exit code is eight times the gRPC code.
        (Err(code), Err(exit)) => {
            let expected = match code / 8 {
                // A stream without any answer.
                0 => 0,
                4 | 14 => 3,
                7 | 16 => 4,
                _ => 1,
            };
            assert_eq!(exit, expected, "{path} {request}: buf says {code}");
        }
        (buf, pentad) => panic!("{path} {request}: buf says {buf:?}, pentad says {pentad:?}"),
    }
}

#[test]
fn every_method_gives_what_buf_curl_gives() {
    let devnet = Devnet::up(1);
    let node = devnet.node(1);
    let to = devnet.on(1, &["createwallet", "alice"]).success();
    let to = to["address"].as_str().expect("an address");
    // So that the mempool has something to tell.
    let sent = devnet.on(1, &["send", "--from", "genesis", "--to", to, "--amount", "1"]).success();
    let txid = sent["txid"].as_str().expect("an id");
    let methods = buf_curl_list(&node);
    let own: Vec<&String> = methods.iter().filter(|path| path.starts_with("pentad.")).collect();
    assert!(own.len() > 40, "{own:?}");
    for path in own.into_iter().filter(|path| !SILENT.contains(&path.as_str())) {
        compare(&node, path, &request(path, txid));
    }
}

#[test]
fn flags_mean_what_the_request_means() {
    let devnet = Devnet::up(1);
    let node = devnet.node(1);
    let path = "pentad.chain.v1.ChainService/GetBlock";
    let whole = by_pentad(&node, path, &json!({"height": 0})).expect("genesis");
    let flags = devnet.on(1, &["chain", "get-block", "--height", "0"]).success();
    assert_eq!(flags, whole);
    let wrong = devnet.on(1, &["chain", "get-block", "--height", "9"]);
    assert_eq!(wrong.code, 1);
    let error: Value = serde_json::from_str(&wrong.stderr).expect("JSON for scripts");
    assert_eq!(error["error"]["reason"], "UNKNOWN_HEIGHT", "{error}");
}
