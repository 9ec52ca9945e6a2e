//! What of the address space one party can be expected to hold.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What one stranger has of addresses: an IPv6 host chooses freely among the 2^64 of its subnet.
#[must_use]
pub fn host(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        address @ IpAddr::V6(v6) if !v6.is_loopback() => prefix(address, 64),
        address => address,
    }
}

/// What one network has of addresses: IPv4 /24, IPv6 /48.
#[must_use]
pub fn subnet(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        address @ IpAddr::V4(_) => prefix(address, 24),
        address @ IpAddr::V6(_) => prefix(address, 48),
    }
}

/// The first `bits` of an address, the others zero.
#[must_use]
pub fn prefix(address: IpAddr, bits: u8) -> IpAddr {
    let dropped = |width: u32| width.saturating_sub(u32::from(bits));
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(dropped(32)).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(dropped(128)).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_subnets() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        for (address, of_host, of_subnet) in [
            ("192.0.2.7", "192.0.2.7", "192.0.2.0"),
            ("::ffff:192.0.2.7", "192.0.2.7", "192.0.2.0"),
            ("2001:db8:1:2:3::4", "2001:db8:1:2::", "2001:db8:1::"),
            ("::1", "::1", "::"),
        ] {
            assert_eq!(host(ip(address)), ip(of_host), "{address}");
            assert_eq!(subnet(ip(address)), ip(of_subnet), "{address}");
        }
        assert_eq!(prefix(ip("192.0.2.7"), 0), ip("0.0.0.0"));
        assert_eq!(prefix(ip("192.0.2.7"), 99), ip("192.0.2.7"));
    }
}
