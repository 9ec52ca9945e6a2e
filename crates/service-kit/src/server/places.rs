//! Who may connect: so many in all, so many from one address, and not again and again.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::gauge::Gauge;

use crate::limits::Limits;
use crate::stack::{Bucket, Rate};

/// Addresses that are remembered for how fast they come again; beyond it only known ones come in.
/// Each takes about 100 bytes, and is forgotten within seconds.
const ADDRESSES_MAX: usize = 16_384;

/// The connections of a server. A std mutex is right: it is held for a few instructions, and once a
/// second for a walk over a bounded table.
#[derive(Clone, Debug)]
pub(super) struct Places {
    total_max: usize,
    per_address_max: usize,
    rate: Rate,
    taken: Arc<Mutex<Taken>>,
    open: Gauge,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    by_address: HashMap<IpAddr, Address>,
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Address {
    connections: usize,
    bucket: Bucket,
}

/// Pause between two looks for addresses to forget.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);

impl Places {
    pub(super) fn new(limits: &Limits, open: Gauge) -> Self {
        Self {
            total_max: limits.connections_max,
            per_address_max: limits.connections_per_address_max,
            rate: limits.connection_rate(),
            taken: Arc::default(),
            open,
        }
    }

    /// A place for a connection from `address`, if there is one.
    pub(super) fn take(&self, address: IpAddr, now: Instant) -> Option<Place> {
        let mut taken = self.lock();
        taken.sweep(self.rate, now);
        if taken.total >= self.total_max {
            return None;
        }
        let is_full = taken.by_address.len() >= ADDRESSES_MAX;
        let here = match taken.by_address.entry(address) {
            Entry::Occupied(here) => here.into_mut(),
            Entry::Vacant(_) if is_full => return None,
            Entry::Vacant(place) => {
                place.insert(Address { connections: 0, bucket: Bucket::full(self.rate, now) })
            }
        };
        if here.connections >= self.per_address_max || here.bucket.take(self.rate, now).is_err() {
            return None;
        }
        here.connections = here.connections.saturating_add(1);
        taken.total = taken.total.saturating_add(1);
        drop(taken);
        self.open.inc();
        Some(Place { places: self.clone(), address })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Forgets addresses that have no connection and had none for a while.
    fn sweep(&mut self, rate: Rate, now: Instant) {
        let is_due = |swept: Instant| now.saturating_duration_since(swept) >= SWEEP_PAUSE;
        if self.swept.is_none_or(is_due) {
            self.swept = Some(now);
            self.by_address
                .retain(|_, here| here.connections > 0 || !here.bucket.is_full(rate, now));
        }
    }
}

/// Held by a connection; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.total = taken.total.saturating_sub(1);
        if let Some(here) = taken.by_address.get_mut(&self.address) {
            here.connections = here.connections.saturating_sub(1);
        }
        drop(taken);
        self.places.open.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_all_places() {
        let limits =
            Limits { connections_max: 3, connections_per_address_max: 2, ..Limits::default() };
        let (places, now) = (Places::new(&limits, Gauge::default()), Instant::now());
        let [a, b, c] = [1, 2, 3].map(|last| IpAddr::from([10, 0, 0, last]));
        let first = places.take(a, now).expect("room");
        let second = places.take(a, now).expect("room");
        assert!(places.take(a, now).is_none(), "third of one address");
        let third = places.take(b, now).expect("room for another");
        assert!(places.take(c, now).is_none(), "beyond the total");
        assert_eq!(places.open.get(), 3);
        drop((first, second));
        let fourth = places.take(c, now).expect("given back");
        drop((third, fourth));
        assert_eq!(places.open.get(), 0);
    }

    #[test]
    fn one_address_cannot_come_again_and_again() {
        let limits = Limits {
            address_connections_per_second: 1,
            address_connections_burst: 2,
            ..Limits::default()
        };
        let (places, now) = (Places::new(&limits, Gauge::default()), Instant::now());
        let [a, b] = [1, 2].map(|last| IpAddr::from([10, 0, 0, last]));
        for _ in 0..2 {
            places.take(a, now).expect("within the burst");
        }
        assert!(places.take(a, now).is_none(), "beyond it");
        places.take(b, now).expect("another address");
        let now = now + SWEEP_PAUSE;
        places.take(a, now).expect("in time");
        let now = now + SWEEP_PAUSE * 2;
        places.take(b, now).expect("room");
        assert_eq!(places.lock().by_address.len(), 1, "who left is forgotten");
    }
}
