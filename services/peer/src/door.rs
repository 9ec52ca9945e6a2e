//! Who may knock: bounds on connections that have not passed the handshake.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Connections in the handshake, over all addresses: each costs two key exchanges (0.3 ms) and
/// some kilobytes.
pub(crate) const HALF_OPEN_MAX: usize = 64;
/// Of one address; several nodes may share it.
const HALF_OPEN_PER_ADDRESS_MAX: usize = 32;
/// Failed handshakes of one address in one [`FAILURE_WINDOW`].
const FAILURES_MAX: u32 = 32;
/// After this time without a failure an address is as good as new.
const FAILURE_WINDOW: Duration = Duration::from_secs(60);
/// Addresses whose failures are remembered; when full, those with nothing open are forgotten.
const ADDRESSES_MAX: usize = 4096;

/// The state of the door. A std mutex is right: it is held for a few instructions.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    state: Arc<Mutex<State>>,
    /// Failures from loopback count as well.
    strict: bool,
}

#[derive(Debug, Default)]
struct State {
    open: usize,
    addresses: HashMap<IpAddr, Tally>,
}

#[derive(Debug, Default)]
struct Tally {
    open: usize,
    failures: u32,
    last_failure: Option<Instant>,
}

/// Held during the handshake.
#[derive(Debug)]
pub(crate) struct Pass {
    door: Door,
    address: IpAddr,
    settled: bool,
}

/// Why nobody may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turned {
    /// Too many are in the handshake.
    Crowded,
    /// This address failed too often lately.
    Failing,
}

impl Door {
    /// `strict`: whoever runs on this machine is treated like anybody else.
    pub(crate) fn new(strict: bool) -> Self {
        Self { state: Arc::default(), strict }
    }

    /// Lets a connection from `address` into the handshake at `now`.
    pub(crate) fn enter(&self, address: IpAddr, now: Instant) -> Result<Pass, Turned> {
        let address = origin(address);
        let mut state = self.lock();
        if state.open >= HALF_OPEN_MAX {
            return Err(Turned::Crowded);
        }
        if state.addresses.len() >= ADDRESSES_MAX {
            state.addresses.retain(|_, tally| tally.open > 0);
        }
        let tally = state.addresses.entry(address).or_default();
        if tally.last_failure.is_some_and(|at| now.duration_since(at) >= FAILURE_WINDOW) {
            (tally.failures, tally.last_failure) = (0, None);
        }
        if tally.failures >= FAILURES_MAX {
            return Err(Turned::Failing);
        }
        if tally.open >= HALF_OPEN_PER_ADDRESS_MAX {
            return Err(Turned::Crowded);
        }
        tally.open += 1;
        state.open += 1;
        Ok(Pass { door: self.clone(), address, settled: false })
    }

    fn leave(&self, address: IpAddr, failed: bool) {
        let mut state = self.lock();
        state.open = state.open.saturating_sub(1);
        let Some(tally) = state.addresses.get_mut(&address) else {
            return;
        };
        tally.open = tally.open.saturating_sub(1);
        if failed && (self.strict || !address.is_loopback()) {
            tally.failures = tally.failures.saturating_add(1);
            tally.last_failure = Some(Instant::now());
        }
        if tally.open == 0 && tally.failures == 0 {
            state.addresses.remove(&address);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one stranger has of addresses: an IPv6 host chooses freely among the 2^64 of its subnet.
fn origin(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into()
        }
        address => address,
    }
}

impl Pass {
    /// The handshake is over.
    pub(crate) fn succeed(mut self) {
        self.settled = true;
    }
}

impl Drop for Pass {
    /// Dropped before [`Pass::succeed`], the handshake has failed.
    fn drop(&mut self) {
        self.door.leave(self.address, !self.settled);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn enter(door: &Door, address: IpAddr) -> Result<Pass, Turned> {
        door.enter(address, Instant::now())
    }

    /// Attack 46: a host with a whole IPv6 subnet does not take all places.
    #[test]
    fn addresses_of_an_ipv6_subnet_count_as_one() {
        let door = Door::new(false);
        let of = |subnet, host| IpAddr::from([0x2001, 0xdb8, 0, subnet, 0, 0, 0, host]);
        let inside = (1..=100).map_while(|host| enter(&door, of(1, host)).ok());
        let inside: Vec<_> = inside.collect();
        assert_eq!(inside.len(), HALF_OPEN_PER_ADDRESS_MAX);
        assert!(enter(&door, of(2, 1)).is_ok());
        drop(inside);
        assert_eq!(enter(&door, of(1, 200)).err(), Some(Turned::Failing));
    }

    /// Attack 46: half-open connections.
    #[test]
    fn half_open_connections_are_bounded() {
        let door = Door::new(false);
        let of_one: Vec<_> = (0..HALF_OPEN_PER_ADDRESS_MAX)
            .map(|_| enter(&door, address(1)).expect("room"))
            .collect();
        assert_eq!(enter(&door, address(1)).err(), Some(Turned::Crowded));
        let others: Vec<_> = (0..HALF_OPEN_MAX - of_one.len())
            .map(|_| enter(&door, address(2)).expect("room"))
            .collect();
        assert_eq!(enter(&door, address(3)).err(), Some(Turned::Crowded));
        others.into_iter().for_each(Pass::succeed);
        enter(&door, address(3)).expect("room again").succeed();
    }

    #[test]
    fn an_address_that_keeps_failing_is_turned_away_for_a_while() {
        let door = Door::new(false);
        for _ in 0..FAILURES_MAX {
            drop(enter(&door, address(1)).expect("allowed"));
        }
        assert_eq!(enter(&door, address(1)).err(), Some(Turned::Failing));
        enter(&door, address(2)).expect("others are served").succeed();
        let later = Instant::now() + FAILURE_WINDOW;
        door.enter(address(1), later).expect("forgiven").succeed();
        let local = IpAddr::from([127, 0, 0, 1]);
        for _ in 0..2 * FAILURES_MAX {
            drop(enter(&door, local).expect("loopback is not counted"));
        }
    }

    #[test]
    fn the_table_of_addresses_is_bounded() {
        let door = Door::new(false);
        for number in 0..10_000_u32 {
            drop(enter(&door, IpAddr::from(number.to_be_bytes())).expect("allowed"));
            assert!(door.lock().addresses.len() <= ADDRESSES_MAX);
        }
    }
}
