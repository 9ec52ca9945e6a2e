//! A `pentad-node` process, reached over gRPC on loopback.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pentad_api::Connection;
use pentad_api::peer::v1::ListPeersRequest;
use pentad_api::peer::v1::peer_service_client::PeerServiceClient;

use crate::process::{Process, START_TIMEOUT, free_addresses, text};

/// Time between two tries to reach a process that starts.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// One process; it ends with its handle.
#[derive(Debug)]
pub struct Node {
    process: Process,
    /// Where other nodes reach it.
    pub p2p: String,
    grpc: String,
    metrics: String,
    cookie: PathBuf,
}

impl Node {
    /// Starts one on a directory, with more flags.
    pub fn spawn(chain: &Path, data: &Path, flags: &[&str]) -> Self {
        fs::create_dir_all(data).expect("writable");
        let [grpc, metrics, p2p] = free_addresses();
        let own = [("--grpc", &grpc), ("--metrics", &metrics), ("--p2p", &p2p)];
        let own = own.into_iter().flat_map(|(flag, address)| [flag, address.as_str()]);
        let arguments = ["--chain", text(chain), "--data", text(data)].into_iter().chain(own);
        let arguments = arguments.chain(flags.iter().copied());
        let process = Process::spawn("pentad-node", arguments, &data.join("node.log"));
        Self { process, p2p, grpc, metrics, cookie: data.join("cookie") }
    }

    /// A connection of its own; none while the process starts.
    pub fn connection(&self) -> Option<Connection> {
        let cookie = fs::read_to_string(&self.cookie).ok()?;
        let connection = Connection::lazy(&format!("http://{}", self.grpc)).ok()?;
        connection.with_credential(cookie.trim()).ok()
    }

    /// Waits until it has at least so many links.
    pub async fn linked(&self, links: usize) {
        let begun = Instant::now();
        while self.links().await.is_none_or(|count| count < links) {
            assert!(begun.elapsed() < START_TIMEOUT, "the nodes do not find each other");
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    async fn links(&self) -> Option<usize> {
        let mut client = PeerServiceClient::new(self.connection()?);
        let answer = client.list_peers(ListPeersRequest {}).await.ok()?;
        Some(answer.into_inner().peers.len())
    }

    /// Bytes of memory that the process holds.
    pub fn resident_bytes(&self) -> u64 {
        self.process.resident_bytes()
    }

    /// CPU time of the process so far.
    #[must_use]
    pub fn cpu(&self) -> Duration {
        self.process.cpu()
    }

    /// The value of a metric without labels.
    pub fn metric(&self, name: &str) -> f64 {
        let mut stream = TcpStream::connect(&self.metrics).expect("a metrics page");
        let request = "GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).expect("a live process");
        let mut page = String::new();
        stream.read_to_string(&mut page).expect("text");
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.trim().parse().ok()).unwrap_or_else(|| panic!("no {name}"))
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }
}
