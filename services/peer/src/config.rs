use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use pentad_wire::StaticKey;
use serde::Deserialize;

use crate::shares::{IpRange, Shares};

/// Port of the TCP and UDP listeners.
const PORT: u16 = 5678;
/// Loopback, private and link-local addresses (RFC 1918, 4193, 4291).
const SHARED_RANGES: [&str; 7] = [
    "127.0.0.0/8",
    "::1/128",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "fc00::/7",
    "fe80::/10",
];

/// Section `[peer]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PeerConfig {
    /// Where other nodes reach this one: TCP and UDP on one port.
    pub listen: SocketAddr,
    /// Nodes to join by, `host:port`.
    pub bootstrap: Vec<String>,
    /// Where others are told to reach this node, if not at `listen` (behind NAT, which should keep
    /// the port: others also remember where datagrams come from).
    pub advertise: Option<SocketAddr>,
    /// Links that other nodes may open to this one.
    pub inbound_max: usize,
    /// Of those, links from one address (of IPv6: one /64).
    pub inbound_per_address_max: usize,
    /// Of those, links from one subnet (IPv4 /24, IPv6 /48).
    pub inbound_per_subnet_max: usize,
    /// Ranges whose addresses are not counted: many nodes share few addresses there.
    pub shared_ranges: Vec<IpRange>,
    /// Static keys that may be peers, 64 hex digits each; nobody else may, unless it is empty.
    pub allowed_keys: Vec<String>,
    /// Links that this node opens by itself, besides those to bootstrap and added nodes.
    pub outbound_max: usize,
    /// Time between two feelers: short connections to addresses that are not peers, which show
    /// where a node of this network is. 0: none.
    pub feeler_seconds: u64,
    /// How long another node may take for the whole handshake.
    pub handshake_ms_max: u64,
    /// How long another node may take to read 64 KiB.
    pub write_ms_max: u64,
    /// Time between heartbeats while the tip stays.
    pub heartbeat_ms: u64,
}

impl Default for PeerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)),
            bootstrap: Vec::new(),
            advertise: None,
            inbound_max: 64,
            inbound_per_address_max: 8,
            inbound_per_subnet_max: 16,
            shared_ranges: SHARED_RANGES.iter().filter_map(|range| range.parse().ok()).collect(),
            allowed_keys: Vec::new(),
            outbound_max: 8,
            feeler_seconds: 120,
            handshake_ms_max: 5_000,
            write_ms_max: 20_000,
            heartbeat_ms: 5_000,
        }
    }
}

impl PeerConfig {
    pub(crate) fn shares(&self) -> Shares {
        Shares {
            per_host: self.inbound_per_address_max,
            per_subnet: self.inbound_per_subnet_max,
            shared: self.shared_ranges.clone(),
        }
    }

    /// The keys that may be peers; `None`: all.
    pub(crate) fn allowed(&self) -> Result<Option<BTreeSet<StaticKey>>, String> {
        let parse = |key: &String| key.parse().map_err(|error| format!("{key:?}: {error}"));
        let keys: BTreeSet<StaticKey> =
            self.allowed_keys.iter().map(parse).collect::<Result<_, _>>()?;
        Ok((!keys.is_empty()).then_some(keys))
    }

    pub(crate) const fn handshake_time_max(&self) -> Duration {
        Duration::from_millis(self.handshake_ms_max)
    }

    pub(crate) const fn write_time_max(&self) -> Duration {
        Duration::from_millis(self.write_ms_max)
    }

    pub(crate) const fn feeler(&self) -> Option<Duration> {
        match self.feeler_seconds {
            0 => None,
            seconds => Some(Duration::from_secs(seconds)),
        }
    }

    pub(crate) const fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.heartbeat_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_ranges_of_the_defaults_are_valid() {
        assert_eq!(PeerConfig::default().shared_ranges.len(), SHARED_RANGES.len());
    }
}
