//! What is due when.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pentad_pbft::Timer;

/// The guard is durable within this time of a signature.
const GUARD_INTERVAL: Duration = Duration::from_secs(1);
/// When nothing is due: a time at which looking once more costs nothing.
const IDLE: Duration = Duration::from_secs(3600);

/// The alarms that are set.
#[derive(Debug)]
pub(super) struct Deadlines {
    timers: BTreeMap<Timer, Instant>,
    propose: Option<Instant>,
    guard: Option<Instant>,
    heartbeat: Option<Instant>,
    /// Zero: none.
    heartbeat_interval: Duration,
}

/// The alarms that went off.
#[derive(Debug, Default)]
pub(super) struct Due {
    pub(super) timers: Vec<Timer>,
    pub(super) propose: bool,
    pub(super) guard: bool,
    pub(super) heartbeat: bool,
}

impl Deadlines {
    pub(super) fn new(heartbeat_interval: Duration) -> Self {
        let mut deadlines = Self {
            timers: BTreeMap::new(),
            propose: None,
            guard: None,
            heartbeat: None,
            heartbeat_interval,
        };
        deadlines.restart_heartbeat();
        deadlines
    }

    pub(super) fn set(&mut self, timer: Timer, after: Duration) {
        self.timers.insert(timer, Instant::now() + after);
    }

    /// Lets a timer that runs go off within `after`.
    pub(super) fn hasten(&mut self, timer: Timer, after: Duration) {
        if let Some(at) = self.timers.get_mut(&timer) {
            *at = (*at).min(Instant::now() + after);
        }
    }

    pub(super) fn cancel(&mut self, timer: Timer) {
        self.timers.remove(&timer);
    }

    /// A wish for a block is to be looked at again.
    pub(super) fn propose_at(&mut self, at: Instant) {
        self.propose = Some(at);
    }

    /// The guard has moved and is not durable.
    pub(super) fn guard_moved(&mut self) {
        self.guard.get_or_insert_with(|| Instant::now() + GUARD_INTERVAL);
    }

    /// A block became final.
    pub(super) fn restart_heartbeat(&mut self) {
        let is_on = !self.heartbeat_interval.is_zero();
        self.heartbeat = is_on.then(|| Instant::now() + self.heartbeat_interval);
    }

    /// When to look next.
    pub(super) fn next(&self) -> Instant {
        let others = [self.propose, self.guard, self.heartbeat];
        let all = self.timers.values().copied().chain(others.into_iter().flatten());
        all.min().unwrap_or_else(|| Instant::now() + IDLE)
    }

    /// Takes out what went off.
    pub(super) fn take_due(&mut self, now: Instant) -> Due {
        let timers = self.timers.extract_if(.., |_, at| *at <= now).map(|(timer, _)| timer);
        let timers = timers.collect();
        let take = |alarm: &mut Option<Instant>| alarm.take_if(|at| *at <= now).is_some();
        Due {
            timers,
            propose: take(&mut self.propose),
            guard: take(&mut self.guard),
            heartbeat: take(&mut self.heartbeat),
        }
    }
}
