//! How fast the search is.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

/// The rate is an average over this time.
const WINDOW: Duration = Duration::from_secs(10);
/// Samples are at least this far apart, which bounds their number.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(250);

/// Counts header hashes over all threads. A thread adds a batch at a time, so the counter is not
/// contended.
#[derive(Debug)]
pub(crate) struct Meter {
    hashes: AtomicU64,
    samples: Mutex<VecDeque<Sample>>,
    /// From new work to each thread's first look at it.
    pub(crate) switch: Histogram,
}

impl Default for Meter {
    fn default() -> Self {
        // 64 µs to 0.5 s.
        let switch = Histogram::new(exponential_buckets(0.000_064, 2.0, 14));
        Self { hashes: AtomicU64::default(), samples: Mutex::default(), switch }
    }
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    hashes: u64,
}

impl Meter {
    pub(crate) fn add(&self, hashes: u64) {
        self.hashes.fetch_add(hashes, Ordering::Relaxed);
    }

    /// Headers hashed so far.
    pub(crate) fn hashes(&self) -> u64 {
        self.hashes.load(Ordering::Relaxed)
    }

    /// Notes where the counter stands; called a few times a second while there is work.
    pub(crate) fn sample(&self, now: Instant) {
        let mut samples = self.samples.lock().expect("no panic while the lock is held");
        if samples.back().is_some_and(|last| now.duration_since(last.at) < SAMPLE_INTERVAL) {
            return;
        }
        samples.push_back(Sample { at: now, hashes: self.hashes() });
        // One sample from before the window stays: the average reaches back to it.
        while samples.get(1).is_some_and(|second| now.duration_since(second.at) >= WINDOW) {
            samples.pop_front();
        }
    }

    /// Hashes per second over the last ten seconds, or since the first sample.
    pub(crate) fn rate(&self, now: Instant) -> f64 {
        let samples = self.samples.lock().expect("no panic while the lock is held");
        let Some(first) = samples.front() else {
            return 0.0;
        };
        let seconds = now.duration_since(first.at).as_secs_f64();
        let hashes = self.hashes().saturating_sub(first.hashes);
        // Up to 2^53 hashes are exact.
        #[allow(clippy::cast_precision_loss)]
        let hashes = hashes as f64;
        if seconds > 0.0 { hashes / seconds } else { 0.0 }
    }

    /// Starts over, after a pause.
    pub(crate) fn reset(&self) {
        self.samples.lock().expect("no panic while the lock is held").clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_is_over_the_window() {
        let (meter, start) = (Meter::default(), Instant::now());
        assert_eq!(meter.rate(start), 0.0);
        // 1000 hashes a second for 20 seconds, then 3000 for ten.
        for quarter in 0..=120 {
            meter.sample(start + SAMPLE_INTERVAL * quarter);
            meter.add(if quarter < 80 { 250 } else { 750 });
        }
        let rate = meter.rate(start + Duration::from_secs(30));
        assert!((2900.0..3100.0).contains(&rate), "{rate}");
        assert!(meter.samples.lock().expect("unpoisoned").len() <= 42);
        meter.reset();
        assert_eq!(meter.rate(start + Duration::from_secs(31)), 0.0);
        assert_eq!(meter.hashes(), 80 * 250 + 41 * 750);
    }
}
