//! How often one address may be refused. A good credential is always looked at, so whoever shows
//! wrong ones locks out nobody, not even behind the same address.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::quota::{Bucket, NOBODY, Places, Rate, network};
use crate::limits::Limits;

/// The addresses that had calls refused lately. Cheap to clone. A std mutex is right: it is held
/// for a few instructions, and once a second for a walk over a bounded table.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    rate: Rate,
    table: Arc<Mutex<Places<IpAddr, Bucket>>>,
}

impl Refused {
    pub(super) fn new(limits: &Limits) -> Self {
        let table = Places::new(limits.callers_max);
        Self { rate: limits.refusal_rate(), table: Arc::new(Mutex::new(table)) }
    }

    /// A call from `address` is refused.
    ///
    /// # Errors
    /// When too many were: so long until one more is told why.
    pub(super) fn note(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let address =
            table.key(network(address), NOBODY, now, |bucket| bucket.is_full(self.rate, now));
        let bucket = table.taken.entry(address);
        bucket.or_insert_with(|| Bucket::full(self.rate, now)).take(self.rate, now)
    }
}

#[cfg(test)]
mod tests {
    use super::super::quota::SWEEP_PAUSE;
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
        assert_eq!(refused.table.lock().expect("no panic").taken.len(), 3);
        let now = now + 2 * SWEEP_PAUSE;
        refused.note(c, now).expect("the others are forgotten");
        assert_eq!(refused.table.lock().expect("no panic").taken.len(), 1);
    }
}
