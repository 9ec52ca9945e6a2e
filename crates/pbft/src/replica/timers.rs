//! When a replica waits, and for how long (section 4.5.2 of the paper).

use super::Replica;
use super::slot::Slot;
use crate::event::{Output, Timer};
use crate::identifiers::{Sequence, View};
use crate::keys::Keys;

/// Doublings of the view timer at most: 64 times the base.
const VIEW_DOUBLINGS_MAX: u32 = 6;
/// Doublings of the resend timer at most: 8 times the base.
const RESEND_DOUBLINGS_MAX: u32 = 3;

/// What the view timer waits for: when that changes, it starts anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Awaited {
    /// The next block after this one, in this view.
    Block(View, Sequence),
    /// The NEW-VIEW of this view.
    NewView(View),
}

/// The timers that run, and how they grow.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Timers {
    view_timeout_ms: u64,
    resend_ms: u64,
    /// Views left in a row without a block.
    failed_views: u32,
    /// Resends in a row without a block or a new view.
    resends: u32,
    awaited: Option<Awaited>,
    /// Doublings of the resend timer that runs.
    resending: Option<u32>,
}

impl Timers {
    pub fn new(view_timeout_ms: u64, resend_ms: u64) -> Self {
        Self {
            view_timeout_ms: view_timeout_ms.max(1),
            resend_ms: resend_ms.max(1),
            failed_views: 0,
            resends: 0,
            awaited: None,
            resending: None,
        }
    }

    pub fn failed_views(&self) -> u32 {
        self.failed_views
    }

    pub fn view_failed(&mut self) {
        self.failed_views = self.failed_views.saturating_add(1);
        self.resends = 0;
    }

    /// A block is final; while the replica waits for a view, that says nothing of the view.
    pub fn made_progress(&mut self, is_active: bool) {
        if is_active {
            self.failed_views = 0;
        }
        self.resends = 0;
    }

    pub fn resent(&mut self) {
        self.resends = self.resends.saturating_add(1);
    }

    /// The timer ran out; whether it was set.
    pub fn expire(&mut self, timer: Timer) -> bool {
        match timer {
            Timer::View => self.awaited.take().is_some(),
            Timer::Resend => self.resending.take().is_some(),
        }
    }

    fn await_next(&mut self, awaited: Option<Awaited>) -> Option<Output> {
        if awaited == self.awaited {
            return None;
        }
        // The first view in a row that fails has the base: the doubling is for the next ones.
        let doublings = match awaited {
            Some(Awaited::NewView(_)) => self.failed_views.saturating_sub(1),
            _ => self.failed_views,
        };
        self.awaited = awaited;
        Some(match awaited {
            Some(_) => {
                let after_ms = doubled(self.view_timeout_ms, doublings.min(VIEW_DOUBLINGS_MAX));
                Output::SetTimer { timer: Timer::View, after_ms }
            }
            None => Output::CancelTimer(Timer::View),
        })
    }

    /// Starts, stops or hastens the resend timer; one that runs is not put off, so that it ticks
    /// under a steady load as well.
    fn resend(&mut self, is_needed: bool) -> Option<Output> {
        let doublings = self.resends.min(RESEND_DOUBLINGS_MAX);
        let wanted = is_needed.then_some(doublings);
        let is_early_enough = match (self.resending, wanted) {
            (Some(running), Some(wanted)) => running <= wanted,
            (running, wanted) => running == wanted,
        };
        if is_early_enough {
            return None;
        }
        self.resending = wanted;
        Some(match wanted {
            Some(doublings) => {
                let after_ms = doubled(self.resend_ms, doublings);
                Output::SetTimer { timer: Timer::Resend, after_ms }
            }
            None => Output::CancelTimer(Timer::Resend),
        })
    }
}

fn doubled(base_ms: u64, doublings: u32) -> u64 {
    base_ms.saturating_mul(2_u64.saturating_pow(doublings))
}

impl<K: Keys> Replica<K> {
    pub(super) fn run_timers(&mut self) {
        let awaited = self.awaited();
        let outputs = [self.timers.await_next(awaited), {
            let is_needed = self.has_something_to_resend();
            self.timers.resend(is_needed)
        }];
        self.outputs.extend(outputs.into_iter().flatten());
    }

    /// Section 4.5.2: a backup's timer runs while it waits for a request to be executed; one that
    /// left a view starts it once a quorum has.
    fn awaited(&self) -> Option<Awaited> {
        if self.is_alone() {
            return None;
        }
        if !self.is_active {
            return self.has_quorum_of_view_changes().then_some(Awaited::NewView(self.view));
        }
        let is_in_flight = |slot: &Slot| slot.proposal.is_some() && slot.certificate.is_none();
        (self.is_pending || self.slots.values().any(is_in_flight))
            .then_some(Awaited::Block(self.view, self.last.sequence))
    }

    fn has_something_to_resend(&self) -> bool {
        let is_in_flight =
            |slot: &Slot| slot.proposal.is_some() || slot.has_vote_of(self.credentials.own);
        !self.is_alone()
            && (!self.is_active
                || !self.fetching.is_empty()
                || !self.helped.is_empty()
                || self.has_unstable_checkpoint()
                || self.slots.values().any(is_in_flight))
    }
}
