//! Who may knock: bounds on connections that have not passed the handshake.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pentad_wire::address::host;
use pentad_wire::gate::{Gate, TooFast};
use tokio::time::Instant;

use crate::config::PeerConfig;
use crate::shares::Shares;

/// Connections in the handshake, over all addresses: each costs two key exchanges (0.3 ms) and
/// some kilobytes.
pub(crate) const HALF_OPEN_MAX: usize = 64;
/// Connections that are being closed: the other side is given a moment to read why.
const CLOSING_MAX: usize = 64;
/// Of one address; several nodes may share it.
const HALF_OPEN_PER_ADDRESS_MAX: usize = 32;
/// The state of the door. A std mutex is right: it is held for a few instructions.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    state: Arc<Mutex<State>>,
    /// From where the gate counts its time.
    started: Instant,
    /// Connections in any state, in all and of one address.
    present_max: usize,
    present_per_address_max: usize,
    shares: Shares,
}

#[derive(Debug, Default)]
struct State {
    open: usize,
    present: usize,
    /// Those with a connection in any state.
    addresses: HashMap<IpAddr, Tally>,
    gate: Gate,
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    open: usize,
    present: usize,
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
    /// They come too fast.
    TooFast(TooFast),
}

impl Door {
    pub(crate) fn new(config: &PeerConfig) -> Self {
        let per_address = config.inbound_per_address_max;
        Self {
            state: Arc::default(),
            started: Instant::now(),
            present_max: config.inbound_max + HALF_OPEN_MAX + CLOSING_MAX,
            present_per_address_max: per_address + HALF_OPEN_PER_ADDRESS_MAX,
            shares: config.shares(),
        }
    }

    /// Lets a connection from `address` into the handshake at `now`.
    pub(crate) fn enter(&self, address: IpAddr, now: Instant) -> Result<(Pass, Presence), Turned> {
        let is_counted = self.shares.counts(address);
        let of_host = host(address);
        let mut state = self.lock();
        if state.open >= HALF_OPEN_MAX || state.present >= self.present_max {
            return Err(Turned::Crowded);
        }
        let tally = state.addresses.get(&of_host).copied().unwrap_or_default();
        let too_many = is_counted && tally.present >= self.present_per_address_max;
        if tally.open >= HALF_OPEN_PER_ADDRESS_MAX || too_many {
            return Err(Turned::Crowded);
        }
        let now = now.saturating_duration_since(self.started);
        state.gate.enter(address, !is_counted, now).map_err(Turned::TooFast)?;
        let tally = state.addresses.entry(of_host).or_default();
        tally.open += 1;
        tally.present += 1;
        state.open += 1;
        state.present += 1;
        let pass = Pass { door: self.clone(), address, settled: false };
        Ok((pass, Presence { door: self.clone(), address: of_host }))
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
        let is_counted = self.shares.counts(address);
        let of_host = host(address);
        let now = self.started.elapsed();
        let mut state = self.lock();
        state.open = state.open.saturating_sub(1);
        match failed {
            false => state.gate.on_success(address),
            true if is_counted => state.gate.on_failure(address, now),
            true => {}
        }
        let Some(tally) = state.addresses.get_mut(&of_host) else {
            return;
        };
        tally.open = tally.open.saturating_sub(1);
        state.forget_idle(of_host);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget_idle(&mut self, address: IpAddr) {
        let is_idle = |tally: &Tally| tally.open + tally.present == 0;
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
    use std::cell::Cell;
    use std::time::Duration;

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
        let now = Cell::new(Instant::now());
        let stay = |address| {
            // Slowly enough for the gate.
            now.set(now.get() + Duration::from_secs(2));
            let (pass, presence) = door.enter(address, now.get())?;
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
        let now = Instant::now();
        let enter = |subnet, host: u16| {
            let now = now + Duration::from_secs(2) * u32::from(host);
            door.enter(of(subnet, host), now).map(|(pass, _)| pass)
        };
        let inside: Vec<_> = (1..=100).map_while(|host| enter(1, host).ok()).collect();
        assert_eq!(inside.len(), HALF_OPEN_PER_ADDRESS_MAX);
        assert!(enter(2, 100).is_ok());
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

    /// Attack 46: garbage without end.
    #[test]
    fn an_address_that_keeps_failing_is_turned_away_for_a_while() {
        let door = door();
        let stranger = IpAddr::from([192, 0, 2, 1]);
        let failed = (0..100).map_while(|_| enter(&door, stranger).ok().map(drop)).count();
        assert_eq!(failed, 20);
        let error = enter(&door, stranger).err();
        assert_eq!(error, Some(Turned::TooFast(TooFast::Connections)));
        enter(&door, IpAddr::from([198, 51, 100, 1])).expect("others are served").succeed();
        let later = Instant::now() + Duration::from_secs(60);
        door.enter(stranger, later).expect("forgiven").0.succeed();
        for _ in 0..100 {
            let shared = door.enter(address(1), later);
            drop(shared.expect("a shared range is not counted"));
        }
    }

    /// Attack 41: what is kept of strangers is gone with them.
    #[test]
    fn those_who_left_are_not_remembered_here() {
        let door = door();
        let now = Instant::now();
        for number in 0..10_000_u32 {
            let now = now + Duration::from_secs(number.into());
            drop(door.enter(IpAddr::from(number.to_be_bytes()), now).expect("allowed"));
            assert!(door.lock().addresses.is_empty());
        }
    }
}
