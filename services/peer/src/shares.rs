//! How many links one address and one subnet may have to this node.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use pentad_wire::address::{host, prefix, subnet};
use serde::Deserialize;
use thiserror::Error;

/// Addresses that begin with the same bits, for example `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct IpRange {
    address: IpAddr,
    bits: u8,
}

/// A text that names no range.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is no range of addresses: give, for example, 10.0.0.0/8")]
pub struct IpRangeError(String);

impl IpRange {
    fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && prefix(address, self.bits) == self.address
    }
}

impl FromStr for IpRange {
    type Err = IpRangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || -> Option<Self> {
            let (address, bits) = text.split_once('/')?;
            let (address, bits) = (address.parse::<IpAddr>().ok()?, bits.parse().ok()?);
            let width = if address.is_ipv4() { 32 } else { 128 };
            // Bits behind the prefix would be a mistake.
            (bits <= width && prefix(address, bits) == address).then_some(Self { address, bits })
        };
        parse().ok_or_else(|| IpRangeError(text.to_owned()))
    }
}

impl TryFrom<String> for IpRange {
    type Error = IpRangeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for IpRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// The shares of an address and of a subnet.
#[derive(Clone, Debug)]
pub(crate) struct Shares {
    pub(crate) per_host: usize,
    pub(crate) per_subnet: usize,
    /// Ranges in which many nodes share few addresses: not counted.
    pub(crate) shared: Vec<IpRange>,
}

impl Shares {
    /// Whether links from this address are counted.
    pub(crate) fn counts(&self, address: IpAddr) -> bool {
        !self.shared.iter().any(|range| range.contains(address))
    }

    /// Whether one more link from `address` is within its shares, beside those from `others`.
    pub(crate) fn admit(&self, address: IpAddr, others: impl Iterator<Item = IpAddr>) -> bool {
        if !self.counts(address) {
            return true;
        }
        let (mut of_host, mut of_subnet) = (0, 0);
        for other in others {
            of_host += usize::from(host(other) == host(address));
            of_subnet += usize::from(subnet(other) == subnet(address));
        }
        of_host < self.per_host && of_subnet < self.per_subnet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn ranges_are_parsed_and_hold_what_they_say() {
        for (range, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", "::ffff:11.1.2.3"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("fc00::/7", "fd12::1", "2001:db8::1"),
            ("::1/128", "::1", "::2"),
        ] {
            let range: IpRange = range.parse().expect("a range");
            assert!(range.contains(ip(inside)) && !range.contains(ip(outside)), "{range}");
            assert_eq!(range.to_string().parse(), Ok(range));
        }
        for bad in ["", "10.0.0.0", "10.0.0.0/33", "10.0.0.1/8", "host/8", "::/129", "10.0.0.0/x"] {
            assert_eq!(bad.parse::<IpRange>(), Err(IpRangeError(bad.to_owned())));
        }
    }

    /// Attack 44: one address, or one network, does not take all places.
    #[test]
    fn an_address_and_a_subnet_have_shares() {
        let shared = vec!["10.0.0.0/8".parse().expect("a range")];
        let shares = Shares { per_host: 2, per_subnet: 3, shared };
        let admit = |address: &str, others: &[&str]| {
            shares.admit(ip(address), others.iter().map(|other| ip(other)))
        };
        assert!(admit("192.0.2.1", &["192.0.2.1", "198.51.100.1"]));
        assert!(!admit("192.0.2.1", &["192.0.2.1", "192.0.2.1"]));
        assert!(admit("192.0.2.9", &["192.0.2.1", "192.0.2.2"]));
        assert!(!admit("192.0.2.9", &["192.0.2.1", "192.0.2.2", "192.0.2.3"]));
        assert!(admit("192.0.3.9", &["192.0.2.1", "192.0.2.2", "192.0.2.3"]));
        assert!(!admit("2001:db8::1", &["2001:db8::2", "2001:db8::3"]), "one /64");
        assert!(!admit("2001:db8::1", &["2001:db8:0:1::", "2001:db8:0:2::", "2001:db8:0:3::"]));
        assert!(admit("10.0.0.1", &["10.0.0.1"; 100]), "a shared range");
    }
}
