//! Liveness: from any state, a schedule that delivers everything and lets timers run out only when
//! nothing else happens makes all blocks final. The faulty replica falls silent.

use pentad_pbft::Timer;

use super::tables::Move;
use super::{Action, Pbft, State};

/// Rounds in which every timer runs out once: each can cost a view, and there are four primaries.
const ROUNDS_MAX: usize = 24;

impl Pbft {
    /// A sample of the states: the check of each costs a whole run.
    pub(super) fn is_liveness_due(&self, state: &State) -> bool {
        let sum: u64 = state.locals.iter().flatten().map(|local| u64::from(*local)).sum();
        (sum * 31 + state.posts.len() as u64).is_multiple_of(self.scope.liveness_every)
    }

    pub(super) fn is_final_everywhere(&self, state: &State) -> bool {
        let mut locals = state.locals.iter().flatten();
        locals.all(|local| self.tables.local(*local).height() == self.scope.blocks)
    }

    pub(super) fn becomes_final(&self, state: &State) -> bool {
        let mut state = state.clone();
        for _ in 0..ROUNDS_MAX {
            self.deliver_all(&mut state);
            if self.is_final_everywhere(&state) {
                return true;
            }
            if !self.expire_all(&mut state, Timer::Resend) || !self.deliver_all(&mut state) {
                self.expire_all(&mut state, Timer::View);
            }
        }
        false
    }

    /// Delivers what honest replicas sent until it changes nothing more.
    fn deliver_all(&self, state: &mut State) -> bool {
        let mut has_changed = false;
        loop {
            let before = state.clone();
            for post in before.posts.iter().filter(|post| self.tables.is_honest(**post)) {
                for node in 0..state.locals.len() {
                    if self.tables.is_for(*post, node) {
                        self.advance(state, node, Move::Deliver(*post));
                    }
                }
            }
            if *state == before {
                return has_changed;
            }
            has_changed = true;
        }
    }

    fn expire_all(&self, state: &mut State, timer: Timer) -> bool {
        let before = state.clone();
        for node in 0..state.locals.len() {
            let runs =
                state.locals[node].is_some_and(|local| self.tables.local(local).has_timer(timer));
            if runs {
                self.advance(state, node, Move::Expire(timer));
            }
        }
        *state != before
    }

    fn advance(&self, state: &mut State, node: usize, happens: Move) {
        if let Some(next) = self.apply(state, Action { node, happens }) {
            *state = next;
        }
    }
}
