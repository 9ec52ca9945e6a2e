//! A `pentad-node` process, reached over gRPC on loopback.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pentad_api::Connection;
use pentad_api::peer::v1::ListPeersRequest;
use pentad_api::peer::v1::peer_service_client::PeerServiceClient;

use crate::meter::resident_bytes;

/// Time between two tries to reach a process that starts.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// When a process that does not answer has failed.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// The kernel counts CPU time in hundredths of a second.
const TICK: Duration = Duration::from_millis(10);

/// One process; it ends with its handle.
pub(crate) struct Node {
    process: Child,
    /// Where other nodes reach it.
    pub(crate) p2p: String,
    grpc: String,
    metrics: String,
    cookie: PathBuf,
}

impl Node {
    /// Starts one on a directory, with more flags.
    pub(crate) fn spawn(chain: &Path, data: &Path, flags: &[&str]) -> Self {
        let program = std::env::current_exe().expect("a program knows its own path");
        let program = program.with_file_name("pentad-node");
        assert!(program.exists(), "{} is missing: see the Makefile", program.display());
        fs::create_dir_all(data).expect("writable");
        let [grpc, metrics, p2p] = free_ports().map(|port| format!("127.0.0.1:{port}"));
        let log = fs::File::create(data.join("node.log")).expect("writable");
        let process = Command::new(program)
            .arg("--chain")
            .arg(chain)
            .arg("--data")
            .arg(data)
            .args(["--grpc", &grpc, "--metrics", &metrics, "--p2p", &p2p])
            .args(flags)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("pentad-node starts");
        Self { process, p2p, grpc, metrics, cookie: data.join("cookie") }
    }

    /// A connection of its own; none while the process starts.
    pub(crate) fn connection(&self) -> Option<Connection> {
        let cookie = fs::read_to_string(&self.cookie).ok()?;
        let connection = Connection::lazy(&format!("http://{}", self.grpc)).ok()?;
        connection.with_credential(cookie.trim()).ok()
    }

    /// Waits until it has at least so many links.
    pub(crate) async fn linked(&self, links: usize) {
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
    pub(crate) fn resident_bytes(&self) -> u64 {
        resident_bytes(self.process.id())
    }

    /// CPU time of the process so far.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id()));
        let stat = stat.expect("a live process");
        // The name in parentheses may hold anything; behind it, times are the 12th and 13th.
        let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split(' ').collect();
        let ticks = |at: usize| fields[at].parse::<u32>().expect("a number");
        TICK * (ticks(12) + ticks(13))
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

fn free_ports() -> [u16; 3] {
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    listeners.map(|listener| listener.local_addr().expect("a bound listener").port())
}
