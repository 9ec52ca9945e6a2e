//! Who may knock: bounds on connections that have not passed the handshake.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::PeerConfig;
use crate::shares::{Shares, host};

/// Connections in the handshake, over all addresses: each costs two key exchanges (0.3 ms) and
/// some kilobytes.
pub(crate) const HALF_OPEN_MAX: usize = 64;
/// Connections that are being closed: the other side is given a moment to read why.
const CLOSING_MAX: usize = 64;
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
    /// Connections in any state, in all and of one address.
    present_max: usize,
    present_per_address_max: usize,
    shares: Shares,
}

#[derive(Debug, Default)]
struct State {
    open: usize,
    present: usize,
    addresses: HashMap<IpAddr, Tally>,
}

#[derive(Debug, Default)]
struct Tally {
    open: usize,
    present: usize,
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

/// Held for as long as the connection lives.
#[derive(Debug)]
pub(crate) struct Presence {
    door: Door,
    address: IpAddr,
}

/// Why nobody may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turned {
    /// Too many are in the handshake, or inside.
    Crowded,
    /// This address failed too often lately.
    Failing,
}

impl Door {
    pub(crate) fn new(config: &PeerConfig) -> Self {
        let per_address = config.inbound_per_address_max;
        Self {
            state: Arc::default(),
            strict: config.strict_loopback,
            present_max: config.inbound_max + HALF_OPEN_MAX + CLOSING_MAX,
            present_per_address_max: per_address + HALF_OPEN_PER_ADDRESS_MAX,
            shares: config.shares(),
        }
    }

    /// Lets a connection from `address` into the handshake at `now`.
    pub(crate) fn enter(&self, address: IpAddr, now: Instant) -> Result<(Pass, Presence), Turned> {
        let is_counted = self.shares.counts(address);
        let address = host(address);
        let mut state = self.lock();
        if state.open >= HALF_OPEN_MAX || state.present >= self.present_max {
            return Err(Turned::Crowded);
        }
        if state.addresses.len() >= ADDRESSES_MAX {
            state.addresses.retain(|_, tally| tally.open + tally.present > 0);
        }
        let tally = state.addresses.entry(address).or_default();
        if tally.last_failure.is_some_and(|at| now.duration_since(at) >= FAILURE_WINDOW) {
            (tally.failures, tally.last_failure) = (0, None);
        }
        if tally.failures >= FAILURES_MAX {
            return Err(Turned::Failing);
        }
        let too_many = is_counted && tally.present >= self.present_per_address_max;
        if tally.open >= HALF_OPEN_PER_ADDRESS_MAX || too_many {
            return Err(Turned::Crowded);
        }
        tally.open += 1;
        tally.present += 1;
        state.open += 1;
        state.present += 1;
        let pass = Pass { door: self.clone(), address, settled: false };
        Ok((pass, Presence { door: self.clone(), address }))
    }

    fn vanish(&self, address: IpAddr) {
        let mut state = self.lock();
        state.present = state.present.saturating_sub(1);
        let Some(tally) = state.addresses.get_mut(&address) else {
            return;
        };
        tally.present = tally.present.saturating_sub(1);
        state.forget_idle(address);
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
        state.forget_idle(address);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget_idle(&mut self, address: IpAddr) {
        let is_idle = |tally: &Tally| tally.open + tally.present == 0 && tally.failures == 0;
        if self.addresses.get(&address).is_some_and(is_idle) {
            self.addresses.remove(&address);
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.door.vanish(self.address);
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

    fn door() -> Door {
        Door::new(&PeerConfig { inbound_max: 100, ..PeerConfig::default() })
    }

    fn enter(door: &Door, address: IpAddr) -> Result<Pass, Turned> {
        door.enter(address, Instant::now()).map(|(pass, _)| pass)
    }

    /// Connections that passed the handshake and live on, as peers or only for a farewell.
    #[test]
    fn connections_are_bounded_in_all_and_of_one_address() {
        let door = door();
        let stay = |address| {
            let (pass, presence) = door.enter(address, Instant::now())?;
            pass.succeed();
            Ok::<_, Turned>(presence)
        };
        let stranger = IpAddr::from([192, 0, 2, 1]);
        let inside: Vec<_> = (0..1000).map_while(|_| stay(stranger).ok()).collect();
        assert_eq!(inside.len(), 8 + HALF_OPEN_PER_ADDRESS_MAX);
        // A shared range has no share of its own, but an end.
        let all: Vec<_> = (0..1000).map_while(|_| stay(address(1)).ok()).collect();
        assert_eq!(inside.len() + all.len(), 100 + HALF_OPEN_MAX + CLOSING_MAX);
        drop(inside);
        assert!(stay(IpAddr::from([192, 0, 2, 2])).is_ok());
        drop(all);
        assert!(door.lock().addresses.is_empty() && door.lock().present == 0);
    }

    /// Attack 46: a host with a whole IPv6 subnet does not take all places.
    #[test]
    fn addresses_of_an_ipv6_subnet_count_as_one() {
        let door = door();
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
        let door = door();
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
        let door = door();
        for _ in 0..FAILURES_MAX {
            drop(enter(&door, address(1)).expect("allowed"));
        }
        assert_eq!(enter(&door, address(1)).err(), Some(Turned::Failing));
        enter(&door, address(2)).expect("others are served").succeed();
        let later = Instant::now() + FAILURE_WINDOW;
        door.enter(address(1), later).expect("forgiven").0.succeed();
        let local = IpAddr::from([127, 0, 0, 1]);
        for _ in 0..2 * FAILURES_MAX {
            drop(enter(&door, local).expect("loopback is not counted"));
        }
    }

    #[test]
    fn the_table_of_addresses_is_bounded() {
        let door = door();
        for number in 0..10_000_u32 {
            drop(enter(&door, IpAddr::from(number.to_be_bytes())).expect("allowed"));
            assert!(door.lock().addresses.len() <= ADDRESSES_MAX);
        }
    }
}
