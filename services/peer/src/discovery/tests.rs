use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use pentad_crypto::SecretKey;
use pentad_wire::kademlia::{Datagram, NetworkId, NodeId, Request, RpcId, Value};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::*;

const NETWORK: NetworkId = NetworkId(*b"genesis!");
const DEADLINE: Duration = Duration::from_secs(30);

/// A running node that stops with its owner.
struct Node {
    handle: Handle,
    stop: CancellationToken,
    _guard: DropGuard,
}

fn config(bootstrap: &[String]) -> Config {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).expect("entropy");
    Config {
        key: signing_key(&secret),
        network: NETWORK,
        bootstrap: bootstrap.to_vec(),
        contacts_file: None,
        advertised: None,
    }
}

async fn bind() -> UdpSocket {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port")
}

async fn spawn_as(config: Config) -> Node {
    spawn_on(bind().await, config)
}

fn spawn_on(socket: UdpSocket, config: Config) -> Node {
    let stop = CancellationToken::new();
    let handle = Discovery::spawn(socket, config, stop.clone()).expect("starts");
    Node { handle, _guard: stop.clone().drop_guard(), stop }
}

async fn spawn(bootstrap: &[&Node]) -> Node {
    let names: Vec<String> = bootstrap.iter().map(|node| node.address()).collect();
    spawn_as(config(&names)).await
}

impl Node {
    fn address(&self) -> String {
        self.handle.local_addr().to_string()
    }

    fn contact(&self) -> Contact {
        Contact { id: self.handle.own_id(), endpoint: self.handle.local_addr() }
    }

    /// Waits until the node knows exactly `others`.
    async fn knows(&self, others: &[&Node]) {
        let mut expected: Vec<Contact> = others.iter().map(|node| node.contact()).collect();
        expected.sort_unstable();
        let deadline = Instant::now() + DEADLINE;
        loop {
            let mut contacts = self.handle.contacts().await.expect("runs");
            contacts.sort_unstable();
            if contacts == expected {
                return;
            }
            assert!(Instant::now() < deadline, "{contacts:?} is not {expected:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn three_nodes_find_each_other_through_one() {
    let a = spawn(&[]).await;
    let mut hints = a.handle.subscribe();
    let (b, c) = (spawn(&[&a]).await, spawn(&[&a]).await);
    a.knows(&[&b, &c]).await;
    b.knows(&[&a, &c]).await;
    c.knows(&[&a, &b]).await;
    let hinted = [hints.recv().await, hints.recv().await].map(|hint| hint.expect("a hint"));
    assert!(hinted.contains(&b.contact()) && hinted.contains(&c.contact()));
    let found = b.handle.lookup(c.handle.own_id()).await.expect("runs");
    assert!(found.contains(&a.contact()), "{found:?}");
    let table = b.handle.routing_table().await.expect("runs");
    assert_eq!(table.iter().map(|bucket| bucket.contacts.len()).sum::<usize>(), 2);
}

#[tokio::test]
async fn a_bootstrap_node_that_starts_late_is_found() {
    let silent = bind().await;
    let port = silent.local_addr().expect("bound").port();
    let names = [format!("localhost:{port}")];
    let (b, c) = (spawn_as(config(&names)).await, spawn_as(config(&names)).await);
    // Both have tried in vain before the node they wait for starts.
    let mut tried = HashSet::new();
    while tried.len() < 2 {
        let ping = timeout(DEADLINE, silent.recv_from(&mut [0; 64])).await;
        tried.insert(ping.expect("in time").expect("receives").1);
    }
    let a = spawn_on(silent, config(&[]));
    a.knows(&[&b, &c]).await;
    b.knows(&[&a, &c]).await;
    c.knows(&[&a, &b]).await;
}

#[tokio::test]
async fn the_table_survives_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let a = spawn(&[]).await;
    let saving =
        Config { contacts_file: Some(directory.path().join("contacts")), ..config(&[a.address()]) };
    let b = spawn_as(saving.clone()).await;
    b.knows(&[&a]).await;
    b.stop.cancel();
    timeout(DEADLINE, b.handle.stopped()).await.expect("stops");
    assert_eq!(b.handle.contacts().await, Err(DiscoveryError::Stopped));
    let saving = Config { bootstrap: vec![], ..saving };
    let b = spawn_as(saving).await;
    b.knows(&[&a]).await;
}

#[tokio::test]
async fn values_and_records_travel() {
    let a = spawn(&[]).await;
    let (socket, key) = (bind().await, NodeId::of_name(b"k1"));
    let port = socket.local_addr().expect("bound").port();
    let advertised =
        Advertised { endpoint: (Ipv4Addr::LOCALHOST, port).into(), noise_key: [9; 32] };
    let publishing = Config { advertised: Some(advertised), ..config(&[a.address()]) };
    let b = spawn_on(socket, publishing);
    let c = spawn(&[&a]).await;
    c.knows(&[&a, &b]).await;
    let value = Value::Str("v1".to_owned());
    assert_eq!(b.handle.store(key, value.clone()).await, Ok(3));
    assert_eq!(c.handle.value(key).await, Ok(Some(value)));
    assert_eq!(c.handle.value(NodeId::of_name(b"k2")).await, Ok(None));
    let deadline = Instant::now() + DEADLINE;
    let found = loop {
        if let Some(found) = c.handle.record(b.handle.own_id()).await.expect("runs") {
            break found;
        }
        assert!(Instant::now() < deadline, "no record");
        sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(found.node, b.handle.own_id());
    assert_eq!(found.record.endpoint, b.handle.local_addr());
    assert_eq!(found.record.noise_key, [9; 32]);
    assert_eq!(c.handle.record(a.handle.own_id()).await, Ok(None));
}

/// Attack 42, on a socket: a sender that never answers our pings gets three times what it sent.
#[tokio::test]
async fn a_silent_sender_gets_no_amplification() {
    let a = spawn(&[]).await;
    let mut others = Vec::new();
    for _ in 0..12 {
        others.push(spawn(&[&a]).await);
    }
    a.knows(&others.iter().collect::<Vec<_>>()).await;
    let silent = bind().await;
    let (mut sent, mut received) = (0, 0);
    let mut buffer = [0; 2_048];
    for round in 0..20_u8 {
        let id = NodeId::from_bytes([round; 20]);
        let request = Request::FindNode { sender: NodeId::of_name(b"somebody"), target: id };
        let bytes = Datagram::Request { id: RpcId([round; 20]), request }.encode();
        sent += silent.send_to(&bytes, a.handle.local_addr()).await.expect("sends");
        // The greeting comes at once; a list of contacts would come with it.
        while let Ok(answer) = timeout(Duration::from_millis(50), silent.recv(&mut buffer)).await {
            let len = answer.expect("receives");
            received += len;
            let answer = Datagram::decode(&buffer[..len]).expect("a datagram");
            assert!(matches!(answer, Datagram::Request { .. }), "{answer:?}");
        }
        assert!(received <= 3 * sent, "{received} for {sent}");
    }
    assert!(received > 0, "it is greeted");
}

#[tokio::test]
async fn garbage_does_no_harm() {
    let a = spawn(&[]).await;
    let noise = bind().await;
    for len in 0..300 {
        let mut bytes = vec![0; len];
        getrandom::fill(&mut bytes).expect("entropy");
        noise.send_to(&bytes, a.handle.local_addr()).await.expect("sends");
    }
    noise.send_to(&vec![0; 60_000], a.handle.local_addr()).await.expect("sends");
    let b = spawn(&[&a]).await;
    a.knows(&[&b]).await;
}

#[test]
fn the_signing_key_is_bound_to_the_static_secret() {
    let id = |key: SecretKey| pentad_wire::kademlia::node_id(&key.public_key());
    assert_eq!(id(signing_key(&[1; 32])), id(signing_key(&[1; 32])));
    assert_ne!(id(signing_key(&[1; 32])), id(signing_key(&[2; 32])));
}

fn python() -> tokio::process::Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let interpreter: PathBuf = root.join(".venv/bin/python");
    let name = interpreter.display();
    assert!(interpreter.exists(), "{name} is missing: run `make tools`");
    let mut command = tokio::process::Command::new(interpreter);
    command.arg(root.join("tests/python/kademlia_peer.py")).kill_on_drop(true);
    command
}

fn lines(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A Python server bootstraps from a node, finds the others, and shares values with them.
#[tokio::test]
async fn a_python_server_joins() {
    let a = spawn(&[]).await;
    let b = spawn(&[&a]).await;
    a.knows(&[&b]).await;
    b.knows(&[&a]).await;
    a.handle.store(NodeId::of_name(b"k1"), Value::Str("v1".to_owned())).await.expect("runs");
    let output = python()
        .args(["bootstrap", &a.address(), "--set", "k2=v2", "--get", "k1", "--get", "k2"])
        .output()
        .await
        .expect("python runs");
    let text = lines(&output);
    for node in [&a, &b] {
        let neighbour = format!(
            r#"{{"id": "{}", "ip": "127.0.0.1", "port": {}}}"#,
            node.handle.own_id(),
            node.handle.local_addr().port()
        );
        assert!(text.contains(&neighbour), "{text}");
    }
    assert!(text.contains(r#"{"key": "k1", "value": "v1"}"#), "{text}");
    assert!(text.contains(r#"{"key": "k2", "value": "v2"}"#), "{text}");
    let value = b.handle.value(NodeId::of_name(b"k2")).await.expect("runs");
    assert_eq!(value, Some(Value::Str("v2".to_owned())));
}

/// Nodes that know nothing but a Python server find each other through it.
#[tokio::test]
async fn a_python_server_introduces_nodes() {
    let mut child =
        python().args(["serve", "0"]).stdout(Stdio::piped()).spawn().expect("python runs");
    let stdout = child.stdout.take().expect("piped");
    let line = timeout(DEADLINE, BufReader::new(stdout).lines().next_line()).await;
    let line = line.expect("in time").expect("readable").expect("a line");
    let port: u16 = line
        .split("\"port\": ")
        .nth(1)
        .and_then(|rest| rest.trim_end_matches('}').parse().ok())
        .expect("a port");
    let names = [format!("127.0.0.1:{port}")];
    let (a, b) = (spawn_as(config(&names)).await, spawn_as(config(&names)).await);
    let python: SocketAddr = (Ipv4Addr::LOCALHOST, port).into();
    let deadline = Instant::now() + DEADLINE;
    for (node, other) in [(&a, &b), (&b, &a)] {
        loop {
            let contacts = node.handle.contacts().await.expect("runs");
            let endpoints: Vec<_> = contacts.iter().map(|contact| contact.endpoint).collect();
            if contacts.contains(&other.contact()) && endpoints.contains(&python) {
                break;
            }
            assert!(Instant::now() < deadline, "{contacts:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }
    child.kill().await.expect("a child can be killed");
}
