//! Who may connect: so many in all, and so many from one address.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::gauge::Gauge;

use crate::limits::Limits;

/// The connections of a server; its size is bounded by the number of connections. A std mutex is
/// right: it is held for a few instructions and never across an await.
#[derive(Clone, Debug)]
pub(super) struct Places {
    total_max: usize,
    per_address_max: usize,
    taken: Arc<Mutex<Taken>>,
    open: Gauge,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl Places {
    pub(super) fn new(limits: &Limits, open: Gauge) -> Self {
        Self {
            total_max: limits.connections_max,
            per_address_max: limits.connections_per_address_max,
            taken: Arc::default(),
            open,
        }
    }

    /// A place for a connection from `address`, if there is one.
    pub(super) fn take(&self, address: IpAddr) -> Option<Place> {
        let mut taken = self.lock();
        let here = taken.by_address.get(&address).copied().unwrap_or(0);
        if taken.total >= self.total_max || here >= self.per_address_max {
            return None;
        }
        taken.total = taken.total.saturating_add(1);
        taken.by_address.insert(address, here.saturating_add(1));
        drop(taken);
        self.open.inc();
        Some(Place { places: self.clone(), address })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
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
        if let Entry::Occupied(mut here) = taken.by_address.entry(self.address) {
            *here.get_mut() = here.get().saturating_sub(1);
            if *here.get() == 0 {
                here.remove();
            }
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
        let places = Places::new(&limits, Gauge::default());
        let [a, b, c] = [1, 2, 3].map(|last| IpAddr::from([10, 0, 0, last]));
        let first = places.take(a).expect("room");
        let second = places.take(a).expect("room");
        assert!(places.take(a).is_none(), "third of one address");
        let third = places.take(b).expect("room for another");
        assert!(places.take(c).is_none(), "beyond the total");
        assert_eq!(places.open.get(), 3);
        drop((first, second));
        let fourth = places.take(c).expect("given back");
        drop((third, fourth));
        assert_eq!(places.open.get(), 0);
        assert!(places.lock().by_address.is_empty(), "an address without connections is forgotten");
    }
}
