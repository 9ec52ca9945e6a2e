//! A node of the overlay as others know it: its id and where it listens.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::NodeId;
use super::table::MAX_PER_SUBNET_BUCKET;

/// An id at an endpoint. Both together name a contact: several nodes may share an address, and
/// an id claimed from elsewhere is another contact.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Contact {
    /// The id that answers there.
    pub id: NodeId,
    /// Its UDP endpoint; nodes of Pentad accept TCP links at the same one.
    pub endpoint: SocketAddr,
}

/// How far an address reaches, nearest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Scope {
    /// This machine.
    Loopback,
    /// This site: RFC 1918, RFC 4193, link-local.
    Private,
    /// The internet.
    Global,
}

/// The part of the address space that one party can be expected to hold:
/// an IPv4 /24 or an IPv6 /48.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Subnet(IpAddr);

impl Scope {
    /// The scope of `address`.
    pub fn of(address: IpAddr) -> Self {
        let (loopback, private) = match address {
            IpAddr::V4(v4) => (v4.is_loopback(), v4.is_private() || v4.is_link_local()),
            IpAddr::V6(v6) => {
                (v6.is_loopback(), v6.is_unique_local() || v6.is_unicast_link_local())
            }
        };
        if loopback {
            Self::Loopback
        } else if private {
            Self::Private
        } else {
            Self::Global
        }
    }
}

impl Subnet {
    /// The subnet of `address`; none within a machine or a site, where neighbours are expected.
    pub fn of(address: IpAddr) -> Option<Self> {
        (Scope::of(address) == Scope::Global).then(|| match address {
            IpAddr::V4(v4) => Self(Ipv4Addr::from_bits(v4.to_bits() & 0xffff_ff00).into()),
            IpAddr::V6(v6) => Self(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 80)).into()),
        })
    }
}

/// Whether an endpoint is within the share of its subnet, with those that were counted before.
pub(super) fn is_one_of_few(subnets: &mut HashMap<Subnet, usize>, endpoint: &SocketAddr) -> bool {
    Subnet::of(endpoint.ip()).is_none_or(|subnet| {
        let count = subnets.entry(subnet).or_default();
        *count = count.saturating_add(1);
        *count <= MAX_PER_SUBNET_BUCKET
    })
}

/// Whether a datagram may be sent to `endpoint` because `teller` named it: it is a unicast
/// address with a port, and does not point further inwards than the teller stands. Somebody on
/// the internet cannot make a node knock at its own loopback services.
pub fn is_plausible(endpoint: SocketAddr, teller: SocketAddr) -> bool {
    let ip = endpoint.ip();
    let unicast = !ip.is_unspecified()
        && !ip.is_multicast()
        && !matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    unicast && endpoint.port() != 0 && Scope::of(ip) >= Scope::of(teller.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("a literal endpoint")
    }

    #[test]
    fn endpoints_point_outwards_only() {
        for (endpoint, teller, expected) in [
            ("127.0.0.1:5", "127.0.0.1:9", true),
            ("127.0.0.1:5", "192.168.0.4:9", false),
            ("192.168.0.5:5", "192.168.0.4:9", true),
            ("10.0.0.1:5", "203.0.113.1:9", false),
            ("203.0.113.7:5", "127.0.0.1:9", true),
            ("203.0.113.7:0", "203.0.113.1:9", false),
            ("224.0.0.1:5", "203.0.113.1:9", false),
            ("0.0.0.0:5", "127.0.0.1:9", false),
            ("[fd00::1]:5", "[2001:db8::1]:9", false),
            ("[2001:db8::2]:5", "[2001:db8::1]:9", true),
        ] {
            assert_eq!(is_plausible(at(endpoint), at(teller)), expected, "{endpoint} {teller}");
        }
    }

    #[test]
    fn subnets_are_global() {
        let subnet = |text: &str| Subnet::of(text.parse().expect("a literal address"));
        assert_eq!(subnet("127.0.0.1"), None);
        assert_eq!(subnet("10.1.2.3"), None);
        assert_eq!(subnet("203.0.113.1"), subnet("203.0.113.200"));
        assert_ne!(subnet("203.0.113.1"), subnet("203.0.112.1"));
        assert_eq!(subnet("2001:db8:1:2::3"), subnet("2001:db8:1:ffff::4"));
        assert_ne!(subnet("2001:db8:1::3"), subnet("2001:db8:2::3"));
    }
}
