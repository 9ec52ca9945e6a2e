//! What idle links cost a node.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use pentad_bench::node::Node;
use pentad_bench::payments::spec;
use pentad_peer::{Peer, PeerConfig, Sockets};
use pentad_service_kit::{Metrics, Supervisor};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Links.
const PEERS: u32 = 100;
/// How long they are looked at once all are open.
const SECONDS: u64 = 30;
/// Discovery is busiest at first.
const SETTLING: Duration = Duration::from_secs(10);

/// Prints what a hundred idle peers cost a node in memory and CPU time. They are peer services in
/// this process, on a chain service of another node.
pub(crate) async fn measure() {
    let directory = TempDir::new().expect("a temporary directory");
    let chain = directory.path().join("chain.toml");
    fs::write(&chain, spec(1).to_toml()).expect("writable");
    let alone = ["--set", "peer.outbound_max=0", "--set", "peer.inbound_max=200"];
    let node = Node::spawn(&chain, &directory.path().join("node"), &alone);
    let ledger = Node::spawn(&chain, &directory.path().join("ledger"), &alone);
    node.linked(0).await;
    ledger.linked(0).await;
    let before = rest(&node).await;
    let shutdown = CancellationToken::new();
    let supervisor = Supervisor::new(TaskTracker::new(), shutdown.clone());
    let opening = Instant::now();
    for number in 0..PEERS {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let bootstrap = vec![node.p2p.clone()];
        let config = PeerConfig { listen, bootstrap, outbound_max: 0, ..PeerConfig::default() };
        Peer::start(
            config,
            &directory.path().join(number.to_string()),
            ledger.connection().expect("a live node"),
            Sockets::bind(listen).await.expect("a free port"),
            &Metrics::new(),
            &supervisor,
            shutdown.clone(),
        )
        .expect("a peer starts");
    }
    node.linked(PEERS as usize).await;
    println!(
        "{:<60} {:>8.2} s",
        format!("{PEERS} links opened in"),
        opening.elapsed().as_secs_f64()
    );
    let after = rest(&node).await;
    let bytes = after.resident.saturating_sub(before.resident) / u64::from(PEERS);
    println!("{:<60} {:>5} kB", "  memory for each link", bytes / 1000);
    for (name, rest) in [("alone", before), ("with them", after)] {
        println!("{:<60} {:>7.2} %", format!("  of a core, {name}"), rest.share * 100.0);
    }
    shutdown.cancel();
}

struct Rest {
    resident: u64,
    /// CPU time by time on the wall.
    share: f64,
}

async fn rest(node: &Node) -> Rest {
    tokio::time::sleep(SETTLING).await;
    let cpu = node.cpu();
    tokio::time::sleep(Duration::from_secs(SECONDS)).await;
    let used = node.cpu() - cpu;
    let share = used.as_secs_f64() / Duration::from_secs(SECONDS).as_secs_f64();
    Rest { resident: node.resident_bytes(), share }
}
