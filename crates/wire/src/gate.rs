//! Who may connect how often: rates by address and subnet, of connections and of failed
//! handshakes. What is taken of them costs a stranger time, not this node memory or work.

use std::net::IpAddr;
use std::time::Duration;

use crate::address::{host, subnet};
use crate::aging::Aging;
use crate::rate::{Meter, Rate};

/// Connections of one address (of IPv6: one /64): one in two seconds, 20 at once.
const PER_HOST: Rate = Rate { interval: Duration::from_secs(2), burst: 20 };
/// Connections of one subnet: two a second, 60 at once.
const PER_SUBNET: Rate = Rate { interval: Duration::from_millis(500), burst: 60 };
/// Failed handshakes of one address: one in two seconds, 32 at once.
const FAILURES_PER_HOST: Rate = Rate { interval: Duration::from_secs(2), burst: 32 };
/// Failed handshakes of one subnet: two a second, 96 at once.
const FAILURES_PER_SUBNET: Rate = Rate { interval: Duration::from_millis(500), burst: 96 };
/// Connections in all, of strangers and of those who were peers lately each: 50 a second, 200 at
/// once. Each may cost two key exchanges, 0.3 ms: 2 % of a core and one node's start.
const OVERALL: Rate = Rate { interval: Duration::from_millis(20), burst: 200 };
/// Addresses, and subnets, that are remembered.
const REMEMBERED_MAX: usize = 4_096;

/// The rates of all who connect. Times count from any fixed start.
#[derive(Clone, Debug)]
pub struct Gate {
    hosts: Aging<IpAddr, Record>,
    subnets: Aging<IpAddr, Record>,
    /// Addresses that have passed the handshake.
    passed: Aging<IpAddr, ()>,
    strangers: Meter,
    friends: Meter,
}

#[derive(Clone, Debug, Default)]
struct Record {
    connections: Meter,
    failures: Meter,
}

/// Why somebody has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooFast {
    /// The address, or its subnet, connects too often.
    Connections,
    /// The address, or its subnet, has failed too often.
    Failures,
    /// Everybody together connects too often.
    Overall,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// Nobody has come yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            hosts: Aging::new(REMEMBERED_MAX),
            subnets: Aging::new(REMEMBERED_MAX),
            passed: Aging::new(REMEMBERED_MAX),
            strangers: Meter::default(),
            friends: Meter::default(),
        }
    }

    /// Counts a connection from `address` at `now`, if there is room for it. One of many nodes that
    /// share few addresses (`is_shared`) counts in all only.
    ///
    /// # Errors
    /// The rate that is used up; nothing is counted then.
    pub fn enter(
        &mut self,
        address: IpAddr,
        is_shared: bool,
        now: Duration,
    ) -> Result<(), TooFast> {
        let (of_host, of_subnet) = (host(address), subnet(address));
        if !is_shared {
            // Only looked at: who is refused takes nobody's place in memory.
            let host = self.hosts.get(&of_host).cloned().unwrap_or_default();
            let subnet = self.subnets.get(&of_subnet).cloned().unwrap_or_default();
            if !host.failures.has_room(&FAILURES_PER_HOST, now)
                || !subnet.failures.has_room(&FAILURES_PER_SUBNET, now)
            {
                return Err(TooFast::Failures);
            }
            if !host.connections.has_room(&PER_HOST, now)
                || !subnet.connections.has_room(&PER_SUBNET, now)
            {
                return Err(TooFast::Connections);
            }
        }
        // Whatever strangers do, those who were here before come in.
        let is_friend = self.passed.get(&of_host).is_some();
        let overall = if is_friend { &mut self.friends } else { &mut self.strangers };
        if !overall.allows(&OVERALL, now) {
            return Err(TooFast::Overall);
        }
        if !is_shared {
            self.hosts.entry(of_host).connections.allows(&PER_HOST, now);
            self.subnets.entry(of_subnet).connections.allows(&PER_SUBNET, now);
        }
        Ok(())
    }

    /// A connection from `address` has passed the handshake.
    pub fn on_success(&mut self, address: IpAddr) {
        self.passed.entry(host(address));
    }

    /// A connection from `address` has failed in the handshake.
    pub fn on_failure(&mut self, address: IpAddr, now: Duration) {
        self.hosts.entry(host(address)).failures.allows(&FAILURES_PER_HOST, now);
        self.subnets.entry(subnet(address)).failures.allows(&FAILURES_PER_SUBNET, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_000);

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    /// How many of a hundred connections at once come in.
    fn admitted(gate: &mut Gate, from: &str, now: Duration) -> usize {
        (0..100).filter(|_| gate.enter(ip(from), false, now).is_ok()).count()
    }

    /// Attack 46: connections without end.
    #[test]
    fn connections_are_metered_by_address_and_by_subnet() {
        let mut gate = Gate::new();
        assert_eq!(admitted(&mut gate, "203.0.113.1", NOW), 20);
        assert_eq!(gate.enter(ip("203.0.113.1"), false, NOW), Err(TooFast::Connections));
        assert_eq!(admitted(&mut gate, "203.0.113.2", NOW), 20);
        assert_eq!(admitted(&mut gate, "203.0.113.3", NOW), 20);
        assert_eq!(admitted(&mut gate, "203.0.113.4", NOW), 0, "the subnet has had its share");
        assert_eq!(admitted(&mut gate, "198.51.100.1", NOW), 20);
        assert_eq!(admitted(&mut gate, "2001:db8::1", NOW), 20);
        assert_eq!(admitted(&mut gate, "2001:db8::2", NOW), 0, "one /64 is one address");
        let later = NOW + Duration::from_secs(10);
        assert_eq!(admitted(&mut gate, "203.0.113.1", later), 5);
        assert!(gate.enter(ip("203.0.113.1"), true, later).is_ok(), "shared");
    }

    #[test]
    fn failures_are_metered_by_address_and_by_subnet() {
        let mut gate = Gate::new();
        let fail = |gate: &mut Gate, from: &str| {
            (0..200).for_each(|_| gate.on_failure(ip(from), NOW));
        };
        fail(&mut gate, "203.0.113.1");
        assert_eq!(gate.enter(ip("203.0.113.1"), false, NOW), Err(TooFast::Failures));
        assert_eq!(gate.enter(ip("203.0.113.2"), false, NOW), Err(TooFast::Failures));
        assert_eq!(gate.enter(ip("203.0.114.1"), false, NOW), Ok(()));
        let later = NOW + Duration::from_secs(3);
        assert_eq!(gate.enter(ip("203.0.113.1"), false, later), Ok(()));
    }

    /// Strangers from everywhere use up what there is for strangers, and no more.
    #[test]
    fn a_flood_of_strangers_leaves_room_for_those_known() {
        let mut gate = Gate::new();
        gate.on_success(ip("198.51.100.1"));
        let strangers = (0..10_000_u32).map(|n| IpAddr::from(n.rotate_left(13).to_be_bytes()));
        let admitted = strangers.filter(|from| gate.enter(*from, false, NOW).is_ok()).count();
        assert_eq!(admitted, 200);
        assert_eq!(gate.enter(ip("198.51.100.1"), false, NOW), Ok(()));
        assert_eq!(gate.enter(ip("192.0.2.1"), false, NOW), Err(TooFast::Overall));
        assert_eq!(gate.enter(ip("192.0.2.1"), true, NOW), Err(TooFast::Overall));
    }

    /// Attack 41: what is remembered of strangers.
    #[test]
    fn what_is_remembered_is_bounded() {
        let mut gate = Gate::new();
        for number in 0..50_000_u32 {
            let address = IpAddr::from(number.rotate_left(13).to_be_bytes());
            gate.on_failure(address, NOW);
            let refused = gate.enter(address, false, NOW + Duration::from_secs(number.into()));
            assert_eq!(refused, Ok(()));
        }
        assert!(gate.hosts.len() <= REMEMBERED_MAX && gate.subnets.len() <= REMEMBERED_MAX);
    }
}
