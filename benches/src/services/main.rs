//! A validator's node of five services as real processes under mutual TLS, each with the
//! certificate of its role, as in containers: what they cost while nothing happens, and what TLS
//! costs a call. The figures mean something in a release build only.

mod calls;
mod site;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use pentad_api::peer::v1::ListPeersRequest;
use pentad_api::peer::v1::peer_service_client::PeerServiceClient;
use pentad_bench::payments::{START, allocations};
use pentad_bench::process::START_TIMEOUT;
use pentad_bench::validators::{self, NODES};
use pentad_trust::Role;
use tempfile::TempDir;

use crate::site::Site;

/// Discovery and links are busiest at first.
const SETTLING: Duration = Duration::from_secs(30);
/// How long the processes are looked at.
const IDLE: Duration = Duration::from_secs(60);
/// Time between two looks at a network that comes up.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

#[tokio::main]
async fn main() {
    if cfg!(debug_assertions) {
        eprintln!("a debug build: the figures below say nothing");
    }
    let directory = TempDir::new().expect("a temporary directory");
    calls::measure(directory.path()).await;
    idle(directory.path()).await;
}

/// Prints the memory and the CPU time of each service while no payment is made.
async fn idle(directory: &Path) {
    let spec = validators::spec(START, allocations(1));
    let chain = directory.join("chain.toml");
    fs::write(&chain, spec.to_toml()).expect("writable");
    let site = Site::start(directory, &chain);
    // The other validators of the network.
    let others: Vec<_> = (1..NODES)
        .map(|number| validators::spawn(number, &chain, directory, Some(&site.p2p), &[]))
        .collect();
    for node in &others {
        node.linked(NODES - 1).await;
    }
    linked(&site).await;
    tokio::time::sleep(SETTLING).await;
    let before: Vec<_> = site.services.iter().map(|(_, process)| process.cpu()).collect();
    tokio::time::sleep(IDLE).await;
    println!("{:<44} {:>10} {:>14}", "idle, of four validators", "memory", "of a core");
    let (mut bytes_all, mut share_all) = (0, 0.0);
    for ((role, process), before) in site.services.iter().zip(before) {
        let share = (process.cpu() - before).as_secs_f64() / IDLE.as_secs_f64();
        let bytes = process.resident_bytes();
        print_idle(role.name(), bytes, share);
        bytes_all += bytes;
        share_all += share;
    }
    print_idle("all five", bytes_all, share_all);
}

fn print_idle(name: &str, bytes: u64, share: f64) {
    println!("  {name:<42} {:>7.1} MB {:>12.2} %", bytes as f64 / 1e6, share * 100.0);
}

/// Waits until the site has its links.
async fn linked(site: &Site) {
    let mut client = PeerServiceClient::new(site.operator.connection(&site.address(Role::Peer)));
    let begun = Instant::now();
    loop {
        let answer = client.list_peers(ListPeersRequest {}).await;
        if answer.is_ok_and(|answer| answer.get_ref().peers.len() == NODES - 1) {
            return;
        }
        assert!(begun.elapsed() < START_TIMEOUT, "the site finds no other nodes");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
