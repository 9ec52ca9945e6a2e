//! What a worker has proved: shares, hashes that meet an easier target than the block's.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use pentad_primitives::pow::Target;

/// The rate is an average over this time.
const WINDOW: Duration = Duration::from_secs(60);
/// The difficulty follows so that shares come about this far apart.
const SHARE_INTERVAL: Duration = Duration::from_millis(500);
/// Shares after which the difficulty is looked at.
const RETARGET_SHARES: u32 = 16;
/// Expected hashes of a share, as a power of two: at first, at least, at most.
const BITS_FIRST: u32 = 16;
const BITS_MIN: u32 = 8;
const BITS_MAX: u32 = 64;
/// Samples of a window: shares that come faster are put together.
const SAMPLES_MAX: usize = 512;

/// The shares of one worker.
#[derive(Debug)]
pub(crate) struct Shares {
    /// A share takes two to this power of hashes.
    bits: u32,
    /// Since the difficulty is this one: when, and how many came.
    since: (Instant, u32),
    begun: Instant,
    samples: VecDeque<(Instant, f64)>,
    /// What was handed in for work that can still be answered: work, slot, time, nonce.
    seen: HashSet<(u64, u32, u32, u32)>,
}

impl Shares {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            bits: BITS_FIRST,
            since: (now, 0),
            begun: now,
            samples: VecDeque::new(),
            seen: HashSet::new(),
        }
    }

    /// What to ask of a worker that searches for a block of this target.
    pub(crate) fn target(&self, block: &Target) -> Target {
        share_target(self.bits).max(*block)
    }

    /// Notes a solution; `false` if it was handed in before. What belongs to work before `oldest`
    /// is forgotten.
    pub(crate) fn is_new(&mut self, solution: (u64, u32, u32, u32), oldest: u64) -> bool {
        self.seen.retain(|(work, ..)| *work >= oldest);
        self.seen.insert(solution)
    }

    /// A share that met `target` was handed in. Whether the difficulty has changed with it.
    pub(crate) fn add(&mut self, now: Instant, target: &Target) -> bool {
        let hashes = expected_hashes(target);
        let is_full = self.samples.len() >= SAMPLES_MAX;
        match self.samples.back_mut() {
            Some((_, sum)) if is_full => *sum += hashes,
            _ => self.samples.push_back((now, hashes)),
        }
        self.trim(now);
        self.since.1 += 1;
        self.since.1 >= RETARGET_SHARES && self.retarget(now)
    }

    /// Looks at the difficulty, for a worker that has gone quiet as well.
    pub(crate) fn retarget(&mut self, now: Instant) -> bool {
        let (since, count) = self.since;
        let expected = now.duration_since(since).div_duration_f64(SHARE_INTERVAL);
        let pace = (f64::from(count) + 1.0) / (expected + 1.0);
        let before = self.bits;
        // A factor of two either way is as good as it gets.
        if pace > 2.0 {
            self.bits = (self.bits + rounded_log2(pace)).min(BITS_MAX);
        } else if pace < 0.5 {
            self.bits = self.bits.saturating_sub(rounded_log2(1.0 / pace)).max(BITS_MIN);
        }
        let has_changed = self.bits != before;
        if has_changed || count >= RETARGET_SHARES {
            self.since = (now, 0);
        }
        has_changed
    }

    /// Hashes per second that the shares of the last minute prove.
    pub(crate) fn rate(&self, now: Instant) -> f64 {
        let recent = self.samples.iter().filter(|(at, _)| now.duration_since(*at) < WINDOW);
        // From 0: the sum of no floats is -0, and would be shown as that.
        let hashes = recent.fold(0.0, |sum, (_, hashes)| sum + hashes);
        let seconds = now.duration_since(self.begun).min(WINDOW).as_secs_f64();
        // A first share after an instant says nothing about a rate yet.
        hashes / seconds.max(1.0)
    }

    fn trim(&mut self, now: Instant) {
        while self.samples.front().is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW) {
            self.samples.pop_front();
        }
    }
}

/// Met by one in two to the power of `bits` hashes.
fn share_target(bits: u32) -> Target {
    let mut bytes = [0xff; 32];
    let zeros = (bits / 8) as usize;
    bytes[..zeros].fill(0);
    bytes[zeros] >>= bits % 8;
    Target::from_be_bytes(bytes)
}

/// 2²⁵⁶ / (target + 1), near enough.
fn expected_hashes(target: &Target) -> f64 {
    let fold = |sum: f64, byte: u8| sum / 256.0 + f64::from(byte);
    let share = target.to_be_bytes().into_iter().rev().fold(0.0, fold) / 256.0;
    1.0 / share.max(f64::MIN_POSITIVE)
}

fn rounded_log2(factor: f64) -> u32 {
    // Between 1 and 64 by what it is called with.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let bits = factor.log2().round().clamp(1.0, 64.0) as u32;
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    const HARD: [u8; 32] = [0; 32];

    /// A worker of so many hashes a second for so many seconds, its luck even.
    fn work(shares: &mut Shares, from: Instant, rate: f64, seconds: f64) -> Instant {
        let (mut now, end) = (from, from + Duration::from_secs_f64(seconds));
        loop {
            let target = shares.target(&Target::from_be_bytes(HARD));
            let next = now + Duration::from_secs_f64(expected_hashes(&target) / rate);
            if next > end {
                return end;
            }
            now = next;
            shares.add(now, &target);
        }
    }

    #[test]
    fn the_rate_is_what_the_shares_prove() {
        for rate in [2e4, 9e6, 3e9, 1e14] {
            let start = Instant::now();
            let mut shares = Shares::new(start);
            let now = work(&mut shares, start, rate, 120.0);
            let proved = shares.rate(now);
            assert!((0.9..1.1).contains(&(proved / rate)), "{rate}: {proved}");
            // Shares come at a pace that costs nothing.
            assert!(shares.samples.len() <= 4 * 60 * 2, "{}", shares.samples.len());
            assert_eq!(shares.rate(now + WINDOW).to_string(), "0");
        }
    }

    #[test]
    fn the_difficulty_follows_a_worker_down_as_well() {
        let start = Instant::now();
        let mut shares = Shares::new(start);
        let mut now = work(&mut shares, start, 1e9, 60.0);
        let before = shares.bits;
        for _ in 0..30 {
            now = work(&mut shares, now, 1e4, 10.0);
            shares.retarget(now);
        }
        assert!(shares.bits + 10 < before, "{before} to {}", shares.bits);
        assert!((0.5..2.0).contains(&(shares.rate(now) / 1e4)), "{}", shares.rate(now));
    }

    #[test]
    fn an_easy_block_target_is_the_share_target() {
        let shares = Shares::new(Instant::now());
        assert_eq!(shares.target(&Target::MAX), Target::MAX);
        assert_eq!(share_target(0), Target::MAX);
        assert!((expected_hashes(&share_target(20)) / 1_048_576.0 - 1.0).abs() < 1e-6);
        assert!((expected_hashes(&Target::MAX) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn a_solution_counts_once_and_old_ones_are_forgotten() {
        let mut shares = Shares::new(Instant::now());
        assert!(shares.is_new((1, 0, 5, 6), 1));
        assert!(!shares.is_new((1, 0, 5, 6), 1));
        assert!(shares.is_new((1, 1, 5, 6), 1));
        assert!(shares.is_new((2, 0, 5, 6), 2));
        assert_eq!(shares.seen.len(), 1);
    }
}
