//! Liveness: from any state, a schedule that delivers everything, syncs chains, and lets timers run
//! out only when nothing else happens, makes all blocks final. The faulty replica falls silent.

use pentad_pbft::Timer;

use super::tables::Move;
use super::{Action, Pbft, State};

/// Rounds in which every timer runs out once: each can cost a view, and there are four primaries.
const ROUNDS_MAX: usize = 12;
/// Times that messages are sent again before the timers of views run out.
const RESENDS: usize = 3;

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
            for _ in 0..RESENDS {
                self.deliver_all(&mut state);
                self.sync_all(&mut state);
                if self.is_final_everywhere(&state) {
                    return true;
                }
                self.expire_all(&mut state, Timer::Resend);
            }
            self.expire_all(&mut state, Timer::View);
        }
        false
    }

    /// Delivers what honest replicas sent until it changes nothing more.
    fn deliver_all(&self, state: &mut State) {
        loop {
            let before = state.clone();
            for post in before.posts.iter().filter(|post| self.tables.is_honest(**post)) {
                for node in 0..state.locals.len() {
                    if self.tables.is_for(*post, node) {
                        let alone = self.tables.bundle(&[*post]);
                        self.advance(state, node, Move::Deliver(alone));
                    }
                }
            }
            if *state == before {
                return;
            }
        }
    }

    /// Lets every replica take blocks from the one with the most.
    fn sync_all(&self, state: &mut State) {
        let highest = state.locals.iter().flatten().copied();
        if let Some(highest) = highest.max_by_key(|local| self.tables.local(*local).height()) {
            for node in 0..state.locals.len() {
                self.advance(state, node, Move::Sync(highest));
            }
        }
    }

    fn expire_all(&self, state: &mut State, timer: Timer) {
        for node in 0..state.locals.len() {
            let runs =
                state.locals[node].is_some_and(|local| self.tables.local(local).has_timer(timer));
            if runs {
                self.advance(state, node, Move::Expire(timer));
            }
        }
    }

    fn advance(&self, state: &mut State, node: usize, happens: Move) {
        if let Some(next) = self.apply(state, Action { node, happens }) {
            *state = next;
        }
    }
}
