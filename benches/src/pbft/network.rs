//! Four `pentad-node` processes that validate, reached over gRPC on loopback.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pentad_api::Connection;
use pentad_api::peer::v1::ListPeersRequest;
use pentad_api::peer::v1::peer_service_client::PeerServiceClient;
use pentad_crypto::{Address, SecretKey};
use pentad_ledger::ChainSpec;
use pentad_ledger::spec::{Allocation, Validator};

/// The fewest of which one may fail.
pub(crate) const NODES: usize = 4;
/// Time between two tries to reach a process that starts.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// When a process that does not answer has failed.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// One process.
pub(crate) struct Node {
    process: Child,
    grpc: String,
    metrics: String,
    cookie: PathBuf,
}

fn validator_key(number: usize) -> [u8; 32] {
    [u8::try_from(number + 1).expect("small"); 32]
}

/// A network of validators with these coins.
pub(crate) fn spec(time: u32, allocations: Vec<Allocation>) -> ChainSpec {
    let validators = (0..NODES).map(|number| {
        let key = SecretKey::from_bytes(validator_key(number)).expect("a key").public_key();
        let payout = Address::P2pkh(key.key_hash());
        Validator { name: format!("node{}", number + 1), key, payout }
    });
    ChainSpec::development_pbft("bench", time, allocations, validators.collect())
        .expect("a valid spec")
}

/// Starts all, and waits until each is linked with all others.
pub(crate) async fn start(spec: &ChainSpec, directory: &Path) -> Vec<Node> {
    let chain = directory.join("chain.toml");
    fs::write(&chain, spec.to_toml()).expect("writable");
    let ports = free_ports(3 * NODES);
    let nodes: Vec<Node> =
        (0..NODES).map(|number| Node::spawn(number, &chain, directory, &ports)).collect();
    let begun = Instant::now();
    for node in &nodes {
        while !node.is_linked().await {
            assert!(begun.elapsed() < START_TIMEOUT, "the nodes do not find each other");
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
    nodes
}

impl Node {
    fn spawn(number: usize, chain: &Path, directory: &Path, ports: &[u16]) -> Self {
        let program = std::env::current_exe().expect("a program knows its own path");
        let program = program.with_file_name("pentad-node");
        assert!(program.exists(), "{} is missing: run `make bench-pbft`", program.display());
        let data = directory.join(format!("node{}", number + 1));
        fs::create_dir_all(&data).expect("writable");
        let key = data.join("validator.key");
        let digits: String = validator_key(number).iter().map(|it| format!("{it:02x}")).collect();
        fs::write(&key, digits).expect("writable");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("ours");
        let address = |at: usize| format!("127.0.0.1:{}", ports[at]);
        let (grpc, metrics) = (address(3 * number), address(3 * number + 1));
        let log = fs::File::create(data.join("node.log")).expect("writable");
        let mut command = Command::new(program);
        command
            .arg("--chain")
            .arg(chain)
            .arg("--data")
            .arg(&data)
            .arg("--validator-key")
            .arg(&key)
            .args(["--grpc", &grpc, "--metrics", &metrics, "--p2p", &address(3 * number + 2)])
            .stdout(Stdio::null())
            .stderr(log);
        if number > 0 {
            command.args(["--bootstrap", &address(2)]);
        }
        let process = command.spawn().expect("pentad-node starts");
        Self { process, grpc, metrics, cookie: data.join("cookie") }
    }

    /// A connection of its own.
    pub(crate) fn connection(&self) -> Option<Connection> {
        let cookie = fs::read_to_string(&self.cookie).ok()?;
        let connection = Connection::lazy(&format!("http://{}", self.grpc)).ok()?;
        connection.with_credential(cookie.trim()).ok()
    }

    async fn is_linked(&self) -> bool {
        let Some(connection) = self.connection() else { return false };
        let answer = PeerServiceClient::new(connection).list_peers(ListPeersRequest {}).await;
        answer.is_ok_and(|answer| answer.into_inner().peers.len() >= NODES - 1)
    }

    /// Bytes of memory that the process holds.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()));
        let status = status.expect("a live process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kilobytes.expect("the kernel says how much") * 1024
    }

    /// The value of a metric without labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let mut stream = TcpStream::connect(&self.metrics).expect("a metrics page");
        let request = "GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).expect("a live process");
        let mut page = String::new();
        stream.read_to_string(&mut page).expect("text");
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.trim().parse().ok()).unwrap_or_else(|| panic!("no {name}"))
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("a live process");
        self.process.wait().expect("a child");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have been killed before.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn free_ports(count: usize) -> Vec<u16> {
    let listen = |_| TcpListener::bind("127.0.0.1:0").expect("a free port");
    let listeners: Vec<_> = (0..count).map(listen).collect();
    let port = |it: &TcpListener| it.local_addr().expect("a bound listener").port();
    listeners.iter().map(port).collect()
}
