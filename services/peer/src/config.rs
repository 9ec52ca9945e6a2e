use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::Deserialize;

/// Port of the TCP and UDP listeners.
const PORT: u16 = 5678;

/// Section `[peer]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PeerConfig {
    /// Where other nodes reach this one: TCP and UDP on one port.
    pub listen: SocketAddr,
    /// Nodes to join by, `host:port`.
    pub bootstrap: Vec<String>,
    /// Where others are told to reach this node, if not at `listen` (behind NAT).
    pub advertise: Option<SocketAddr>,
    /// Links that other nodes may open to this one.
    pub inbound_max: usize,
    /// Links that this node opens by itself, besides those to bootstrap and added nodes.
    pub outbound_max: usize,
    /// How long another node may take for the whole handshake.
    pub handshake_ms_max: u64,
    /// How long another node may take to read 64 KiB.
    pub write_ms_max: u64,
    /// Time between heartbeats while the tip stays.
    pub heartbeat_ms: u64,
    /// Counts failed handshakes from loopback addresses too, which otherwise are trusted not to
    /// flood this node.
    pub strict_loopback: bool,
}

impl Default for PeerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)),
            bootstrap: Vec::new(),
            advertise: None,
            inbound_max: 64,
            outbound_max: 8,
            handshake_ms_max: 5_000,
            write_ms_max: 20_000,
            heartbeat_ms: 5_000,
            strict_loopback: false,
        }
    }
}

impl PeerConfig {
    pub(crate) const fn handshake_time_max(&self) -> Duration {
        Duration::from_millis(self.handshake_ms_max)
    }

    pub(crate) const fn write_time_max(&self) -> Duration {
        Duration::from_millis(self.write_ms_max)
    }

    pub(crate) const fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.heartbeat_ms)
    }
}
