//! How fast the node catches up.

use std::collections::VecDeque;
use std::time::Duration;

use pentad_wire::sync::Progress;

/// Blocks behind from which on the node is said to catch up: fewer are only on their way.
const BEHIND: u32 = 8;
/// The pace is that of the last seconds.
const WINDOW: Duration = Duration::from_secs(10);
/// Between two lines in the log.
const LOG_PAUSE: Duration = Duration::from_secs(10);

/// The last heights and when they were reached.
#[derive(Debug, Default)]
pub(super) struct Pace {
    samples: VecDeque<(Duration, u32)>,
    logged: Duration,
    is_behind: bool,
}

impl Pace {
    /// Takes the present height, and logs how far the node is.
    pub(super) fn observe(&mut self, now: Duration, progress: &Progress) {
        self.samples.push_back((now, progress.height.get()));
        while self.samples.len() > 2
            && self.samples.front().is_some_and(|(at, _)| now.saturating_sub(*at) > WINDOW)
        {
            self.samples.pop_front();
        }
        let (height, target) = (progress.height.get(), progress.best_height.get());
        let was_behind = self.is_behind;
        self.is_behind = target > height.saturating_add(if was_behind { 0 } else { BEHIND });
        if self.is_behind && now.saturating_sub(self.logged) >= LOG_PAUSE {
            self.logged = now;
            let blocks_per_second = format!("{:.1}", self.blocks_per_second());
            let remaining = self.remaining(progress).map(|time| time.as_secs());
            tracing::info!(height, target, blocks_per_second, remaining, "catching up");
        } else if was_behind && !self.is_behind {
            tracing::info!(height, "caught up");
        }
    }

    /// Blocks connected in a second, over the last seconds.
    pub(super) fn blocks_per_second(&self) -> f64 {
        let (Some((start, low)), Some((end, high))) = (self.samples.front(), self.samples.back())
        else {
            return 0.0;
        };
        let seconds = end.saturating_sub(*start).as_secs_f64();
        if seconds > 0.0 { f64::from(high.saturating_sub(*low)) / seconds } else { 0.0 }
    }

    /// Until the best chain known is here, at the present pace.
    pub(super) fn remaining(&self, progress: &Progress) -> Option<Duration> {
        let missing = progress.best_height.get().saturating_sub(progress.height.get());
        let seconds = f64::from(missing) / self.blocks_per_second();
        (missing > 0).then(|| Duration::try_from_secs_f64(seconds).ok()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use pentad_primitives::BlockHeight;

    use super::*;

    fn progress(height: u32, best_height: u32) -> Progress {
        let [height, best_height] = [height, best_height].map(BlockHeight::new);
        Progress { height, best_height, in_flight: 0, buffered_bytes: 0 }
    }

    #[test]
    fn the_pace_is_that_of_the_last_seconds() {
        let mut pace = Pace::default();
        assert_eq!(pace.remaining(&progress(0, 100)), None, "nothing moves yet");
        for second in 0..=100_u32 {
            // 1000 blocks in the first second, 20 a second afterwards.
            let height = if second == 0 { 0 } else { 1000 + 20 * second };
            pace.observe(Duration::from_secs(second.into()), &progress(height, 10_000));
        }
        assert!((pace.blocks_per_second() - 20.0).abs() < 0.1);
        let remaining = pace.remaining(&progress(3000, 10_000)).expect("it moves");
        assert_eq!(remaining.as_secs(), 350);
        assert_eq!(pace.remaining(&progress(10_000, 10_000)), None);
        assert!(pace.samples.len() < 20);
    }
}
