//! Telling others on this machine that the node is there.

use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process;

use pentad_api::Connection;
use pentad_ledger::ChainSpec;
use pentad_network_file::{NetworkFile, NodeEntry};
use pentad_service_kit::listen::Addresses;
use tokio_util::sync::CancellationToken;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::config::NodeConfig;
use crate::node::NodeError;

/// The node's `network.json` in its data directory, where the command line looks for it.
#[derive(Debug)]
pub(crate) struct Presence {
    directory: PathBuf,
    network: NetworkFile,
}

impl Presence {
    /// Writes the file. Only who holds the data directory may.
    ///
    /// # Errors
    /// When a path cannot be resolved or the file cannot be written.
    pub(crate) fn write(
        config: &NodeConfig,
        spec: &ChainSpec,
        addresses: Addresses,
        p2p: SocketAddr,
    ) -> Result<Self, NodeError> {
        let directory = absolute(&config.data_dir)?;
        let cookie = config.server.cookie_file.clone();
        let cookie = cookie.unwrap_or_else(|| directory.join("cookie"));
        let has_tls = config.tls.certificate.is_some();
        let authority = config.tls.authority.as_deref().filter(|_| has_tls);
        let parameters = spec.parameters();
        let network = NetworkFile {
            chain_spec: absolute(&config.chain_spec)?,
            genesis_address: parameters
                .genesis
                .allocations
                .first()
                .map(|first| first.address.encode(&parameters.address_versions)),
            nodes: vec![NodeEntry {
                name: "node1".to_owned(),
                grpc: reachable(addresses.grpc),
                p2p: reachable(p2p),
                metrics: reachable(addresses.metrics),
                cookie: absolute(&cookie)?,
                authority: authority.map(absolute).transpose()?,
                data_dir: directory.clone(),
                log: None,
                pid: Some(process::id()),
            }],
        };
        network.write(&directory)?;
        Ok(Self { directory, network })
    }

    /// Takes the process out of the file: from now on the node is stopped.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn end(mut self) -> Result<(), NodeError> {
        for node in &mut self.network.nodes {
            node.pid = None;
        }
        Ok(self.network.write(&self.directory)?)
    }
}

fn absolute(path: &Path) -> Result<PathBuf, NodeError> {
    path.canonicalize().map_err(|source| NodeError::Path { path: path.to_owned(), source })
}

/// Where a client on this machine finds a listener on all interfaces.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Prints one line once the node, called by `connection`, says that it is healthy.
pub(crate) async fn announce(
    connection: Connection,
    addresses: Addresses,
    p2p: SocketAddr,
    shutdown: CancellationToken,
) {
    let Addresses { grpc, metrics } = addresses;
    if shutdown.run_until_cancelled(healthy(connection)).await.flatten().is_some() {
        tracing::info!(%grpc, %p2p, %metrics, "ready");
        let line = format!("ready: gRPC {grpc}, peers {p2p}, metrics http://{metrics}/metrics");
        // Nobody is harmed by a closed standard output.
        writeln!(io::stdout(), "{line}").ok();
    }
}

/// Waits until all services serve; nothing when the node ends before that.
async fn healthy(connection: Connection) -> Option<()> {
    let mut client = HealthClient::new(connection);
    let request = HealthCheckRequest { service: String::new() };
    let mut changes = client.watch(request).await.ok()?.into_inner();
    loop {
        if changes.message().await.ok()??.status() == ServingStatus::Serving {
            return Some(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_interfaces_are_reached_over_loopback() {
        for (listener, client) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("10.0.0.1:1", "10.0.0.1:1"),
        ] {
            let [listener, client] = [listener, client].map(|text| text.parse().expect("valid"));
            assert_eq!(reachable(listener), client);
        }
    }
}
