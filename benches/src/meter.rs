//! Time on the wall and on the cores, memory.

use std::fs;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// What something took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cost {
    /// By the clock.
    pub wall: Duration,
    /// Of all threads of this process.
    pub cpu: Duration,
}

/// A measurement begun.
#[derive(Debug)]
pub struct Meter {
    wall: Instant,
    cpu: Duration,
}

impl Meter {
    /// Begins now.
    pub fn start() -> Self {
        Self { cpu: cpu(), wall: Instant::now() }
    }

    /// What it took until now.
    pub fn stop(self) -> Cost {
        Cost { wall: self.wall.elapsed(), cpu: cpu() - self.cpu }
    }
}

/// CPU time of this process.
pub fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).expect("a process has used no negative time")
}

/// The median by time on the wall; of an even number, the upper one.
pub fn median(mut costs: Vec<Cost>) -> Cost {
    costs.sort_unstable();
    costs[costs.len() / 2]
}

/// The median; of an even number, the upper one; of none, no number.
#[must_use]
pub fn median_of(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Bytes of memory that a process holds.
pub fn resident_bytes(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("a live process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.expect("the kernel says how much") * 1024
}
