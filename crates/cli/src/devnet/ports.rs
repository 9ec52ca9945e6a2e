//! Ports of a development network: node i has the ten from base + 10 (i − 1).

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use crate::fault::Fault;

/// First port unless told otherwise.
pub const BASE_DEFAULT: u16 = 5678;
/// Ports of one node.
const PORTS_PER_NODE: u16 = 10;
/// Free blocks are looked for here: above the well-known ports and those of the services, below
/// the ports that systems hand out to clients.
const SEARCH: std::ops::Range<u16> = 12_000..32_000;
/// Blocks that are tried before giving up.
const TRIES_MAX: usize = 200;

/// What a node listens on, as the distance from its first port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Offset {
    /// TCP and UDP.
    P2p = 0,
    Grpc = 1,
    Metrics = 2,
    /// Nobody listens here: held while a block is chosen, so that two commands that look for one
    /// at the same time never choose the same.
    Reservation = 9,
}

/// The three addresses of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NodePorts {
    pub(super) p2p: SocketAddr,
    pub(super) grpc: SocketAddr,
    pub(super) metrics: SocketAddr,
}

/// A block of ports for a network, reserved until dropped.
#[derive(Debug)]
pub(super) struct PortBlock {
    base: u16,
    _reservations: Vec<TcpListener>,
}

impl PortBlock {
    /// The block from `base` on; 0 finds one that is free.
    ///
    /// # Errors
    /// When a port is in use, or the block would end above 65535.
    pub(super) fn reserve(base: u16, nodes: u16) -> Result<Self, Fault> {
        if base != 0 {
            return Self::at(base, nodes).map_err(Taken::fault);
        }
        for _ in 0..TRIES_MAX {
            if let Ok(block) = Self::at(random_base(nodes)?, nodes) {
                return Ok(block);
            }
        }
        Err(Fault::refused("found no free block of ports").with_hint("name one with --base-port"))
    }

    fn at(base: u16, nodes: u16) -> Result<Self, Taken> {
        let mut reservations = Vec::new();
        for index in 0..nodes {
            let address = |offset| address(base, index, offset).ok_or(Taken::OutOfRange { base });
            reservations.push(bind(index, address(Offset::Reservation)?)?);
            for offset in [Offset::P2p, Offset::Grpc, Offset::Metrics] {
                bind(index, address(offset)?)?;
            }
            let p2p = address(Offset::P2p)?;
            UdpSocket::bind(p2p).map_err(|error| Taken::Port { index, address: p2p, error })?;
        }
        Ok(Self { base, _reservations: reservations })
    }

    /// The addresses of a node, counted from 0; none beyond the block.
    pub(super) fn node(&self, index: u16) -> Option<NodePorts> {
        Some(NodePorts {
            p2p: address(self.base, index, Offset::P2p)?,
            grpc: address(self.base, index, Offset::Grpc)?,
            metrics: address(self.base, index, Offset::Metrics)?,
        })
    }
}

/// Why a block cannot be had.
#[derive(Debug)]
enum Taken {
    OutOfRange { base: u16 },
    Port { index: u16, address: SocketAddr, error: io::Error },
}

impl Taken {
    fn fault(self) -> Fault {
        match self {
            Self::OutOfRange { base } => {
                Fault::usage(format!("--base-port {base} leaves no room for the nodes' ports"))
            }
            Self::Port { index, address, error } if error.kind() == io::ErrorKind::AddrInUse => {
                let node = index.saturating_add(1);
                Fault::refused(format!("{address}, a port of node{node}, is in use"))
                    .with_hint("--base-port 0 finds free ports")
            }
            Self::Port { address, error, .. } => {
                Fault::refused(format!("cannot listen on {address}: {error}"))
            }
        }
    }
}

fn bind(index: u16, address: SocketAddr) -> Result<TcpListener, Taken> {
    TcpListener::bind(address).map_err(|error| Taken::Port { index, address, error })
}

fn address(base: u16, index: u16, offset: Offset) -> Option<SocketAddr> {
    let port = index
        .checked_mul(PORTS_PER_NODE)
        .and_then(|first| base.checked_add(first))
        .and_then(|first| first.checked_add(offset as u16))?;
    Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

/// A random multiple of ten with room for the network.
fn random_base(nodes: u16) -> Result<u16, Fault> {
    let mut entropy = [0; 2];
    getrandom::fill(&mut entropy)
        .map_err(|error| Fault::refused(format!("no entropy for a block of ports: {error}")))?;
    let blocks = (SEARCH.end - SEARCH.start) / PORTS_PER_NODE;
    let blocks = blocks.saturating_sub(nodes).max(1);
    Ok(SEARCH.start + u16::from_le_bytes(entropy) % blocks * PORTS_PER_NODE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Exit;

    #[test]
    fn node_i_has_the_ten_ports_from_its_own_first() {
        let block = PortBlock { base: 5678, _reservations: Vec::new() };
        let third = block.node(2).expect("in range");
        assert_eq!(third.p2p.to_string(), "127.0.0.1:5698");
        assert_eq!(third.grpc.to_string(), "127.0.0.1:5699");
        assert_eq!(third.metrics.to_string(), "127.0.0.1:5700");
    }

    #[test]
    fn zero_finds_free_blocks_that_do_not_overlap() {
        let blocks: Vec<PortBlock> =
            (0..5).map(|_| PortBlock::reserve(0, 3).expect("free ports")).collect();
        let mut ports: Vec<u16> = blocks
            .iter()
            .flat_map(|block| (0..3).filter_map(|index| block.node(index)))
            .map(|node| node.p2p.port())
            .collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 15);
        assert!(ports.iter().all(|port| SEARCH.contains(port)));
        let base = blocks.first().expect("five of them").base;
        assert!(PortBlock::reserve(base, 1).is_err(), "a reserved block was given out again");
    }

    #[test]
    fn a_port_in_use_is_named() {
        let base = PortBlock::reserve(0, 2).expect("free ports").base;
        let second = address(base, 1, Offset::Grpc).expect("in range");
        let _taken = TcpListener::bind(second).expect("free a moment ago");
        let fault = PortBlock::reserve(base, 2).expect_err("taken");
        assert_eq!(fault.exit(), Exit::Refused);
        let text = fault.to_text();
        assert!(text.contains(&second.to_string()) && text.contains("node2"), "{text}");
        // The UDP port counts, too.
        let base = PortBlock::reserve(0, 1).expect("free ports").base;
        let p2p = address(base, 0, Offset::P2p).expect("in range");
        let _taken = UdpSocket::bind(p2p).expect("free a moment ago");
        PortBlock::reserve(base, 1).expect_err("taken");
    }

    #[test]
    fn beyond_the_last_port_is_a_usage_error() {
        let fault = PortBlock::reserve(65_500, 10).expect_err("no room");
        assert_eq!(fault.exit(), Exit::Usage);
    }
}
