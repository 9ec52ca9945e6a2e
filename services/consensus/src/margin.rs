//! How many more validators may fall silent before nothing becomes final.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pentad_pbft::{Quorum, ReplicaId};

/// What is known of it. Cheap to clone. A std mutex is right: it is held for a few instructions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Margin(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    quorum: usize,
    /// Seconds that a validator may be silent.
    patience: i64,
    /// When each of the others was heard last, Unix seconds.
    heard: BTreeMap<ReplicaId, i64>,
    /// When there was last reason for all to speak: a block, or a view that was left.
    occasion: Option<i64>,
}

impl Margin {
    /// `patience` in seconds.
    pub(crate) fn set(&self, quorum: Quorum, patience: i64) {
        let mut state = self.lock();
        (state.quorum, state.patience) = (quorum.quorum(), patience);
    }

    pub(crate) fn on_heard(&self, replica: ReplicaId, now_unix: i64) {
        self.lock().heard.insert(replica, now_unix);
    }

    /// All have reason to speak.
    pub(crate) fn on_occasion(&self, now_unix: i64) {
        self.lock().occasion = Some(now_unix);
    }

    /// Validators that spoke around the last occasion, this one counted, beyond a quorum; below
    /// zero, nothing becomes final. `None`: there was no occasion yet. An idle network is not
    /// silent: it has nothing to say.
    pub(crate) fn get(&self) -> Option<i64> {
        let state = self.lock();
        let since = state.occasion?.saturating_sub(state.patience);
        let alive = state.heard.values().filter(|at| **at >= since).count() + 1;
        Some(i64::try_from(alive).ok()? - i64::try_from(state.quorum).ok()?)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_silent_when_there_is_reason_to_speak_counts_as_gone() {
        let margin = Margin::default();
        margin.set(Quorum::of(4).expect("four validators"), 4);
        assert_eq!(margin.get(), None, "nothing has happened yet");
        let others = [1, 2, 3].map(ReplicaId::new);
        margin.on_occasion(100);
        others.iter().take(2).for_each(|replica| margin.on_heard(*replica, 100));
        assert_eq!(margin.get(), Some(0), "the third is late");
        margin.on_heard(others[2], 101);
        assert_eq!(margin.get(), Some(1));
        // Nothing is said for an hour; then one speaks, and the view runs out.
        margin.on_heard(others[0], 3_700);
        assert_eq!(margin.get(), Some(1), "an idle network");
        margin.on_occasion(3_702);
        assert_eq!(margin.get(), Some(-1));
    }
}
