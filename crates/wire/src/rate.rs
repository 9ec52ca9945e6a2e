//! Rates: so many events in a time, and so many at once.

use std::time::Duration;

/// One event per `interval` on average, `burst` at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    pub interval: Duration,
    pub burst: u32,
}

/// What was used of a rate: the theoretical arrival time of the generic cell rate algorithm
/// (ITU-T I.371, annex A).
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter(Duration);

impl Meter {
    /// Whether one more event fits into the rate at `now`.
    pub fn has_room(&self, rate: &Rate, now: Duration) -> bool {
        self.after_one(rate, now) <= now.saturating_add(rate.interval.saturating_mul(rate.burst))
    }

    /// Counts an event, if it fits into the rate at `now`.
    pub fn allows(&mut self, rate: &Rate, now: Duration) -> bool {
        let allowed = self.has_room(rate, now);
        if allowed {
            self.0 = self.after_one(rate, now);
        }
        allowed
    }

    fn after_one(&self, rate: &Rate, now: Duration) -> Duration {
        self.0.max(now).saturating_add(rate.interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_the_rate() {
        let rate = Rate { interval: Duration::from_secs(2), burst: 3 };
        let (mut meter, now) = (Meter::default(), Duration::from_secs(100));
        let taken = |meter: &mut Meter, now| (0..10).filter(|_| meter.allows(&rate, now)).count();
        assert_eq!(taken(&mut meter, now), 3);
        assert!(!meter.has_room(&rate, now + Duration::from_secs(1)));
        assert_eq!(taken(&mut meter, now + Duration::from_secs(2)), 1);
        assert_eq!(taken(&mut meter, now + Duration::from_secs(60)), 3);
    }
}
