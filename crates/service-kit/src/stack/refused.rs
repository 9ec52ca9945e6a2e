//! How often one address may be refused. A good credential is always looked at, so whoever shows
//! wrong ones locks out nobody, not even behind the same address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::quota::{Bucket, NOBODY, Rate, SWEEP_PAUSE, network};
use crate::limits::Limits;

/// The addresses that had calls refused lately. Cheap to clone. A std mutex is right: it is held
/// for a few instructions, and once a second for a walk over a bounded table.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    rate: Rate,
    addresses_max: usize,
    table: Arc<Mutex<Table>>,
}

#[derive(Debug)]
struct Table {
    buckets: HashMap<IpAddr, Bucket>,
    swept: Instant,
}

impl Refused {
    pub(super) fn new(limits: &Limits) -> Self {
        let table = Table { buckets: HashMap::new(), swept: Instant::now() };
        let (rate, addresses_max) = (limits.refusal_rate(), limits.callers_max);
        Self { rate, addresses_max, table: Arc::new(Mutex::new(table)) }
    }

    /// A call from `address` is refused.
    ///
    /// # Errors
    /// When too many were: so long until one more is told why.
    pub(super) fn note(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = |table: &Table| table.buckets.len() >= self.addresses_max;
        if is_full(&table) && now.saturating_duration_since(table.swept) >= SWEEP_PAUSE {
            table.swept = now;
            table.buckets.retain(|_, bucket| !bucket.is_full(self.rate, now));
        }
        let address = network(address);
        let is_known = table.buckets.contains_key(&address);
        // Those for whom there is no place of their own share one.
        let address = if is_known || !is_full(&table) { address } else { NOBODY };
        let bucket = table.buckets.entry(address);
        bucket.or_insert_with(|| Bucket::full(self.rate, now)).take(self.rate, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_told_why_so_often_and_the_table_is_bounded() {
        let limits = Limits {
            refused_calls_per_second: 1,
            refused_calls_burst: 2,
            callers_max: 2,
            ..Limits::default()
        };
        let (refused, now) = (Refused::new(&limits), Instant::now());
        let [a, b, c, d] = [1, 2, 3, 4].map(|last| IpAddr::from([10, 0, 0, last]));
        for _ in 0..2 {
            refused.note(a, now).expect("within the burst");
        }
        assert_eq!(refused.note(a, now), Err(Duration::from_secs(1)));
        refused.note(b, now).expect("another address");
        for late in [c, d] {
            refused.note(late, now).expect("the place that latecomers share");
        }
        refused.note(d, now).expect_err("which is used up");
        assert_eq!(refused.table.lock().expect("no panic").buckets.len(), 3);
        let now = now + 2 * SWEEP_PAUSE;
        refused.note(c, now).expect("the others are forgotten");
        assert_eq!(refused.table.lock().expect("no panic").buckets.len(), 1);
    }
}
