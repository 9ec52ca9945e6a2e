//! Memory that links hold together: what one link may hold is bounded, but sixty of them at that
//! bound would be too much.

use std::time::Duration;

use crate::PeerId;

/// Most bytes of frames that have begun to arrive, over all links.
pub const ARRIVING_BYTES_MAX: usize = 96 << 20;
/// Most bytes of answers that wait to be read, over all links.
pub const ANSWER_BYTES_MAX: usize = 96 << 20;

/// What one link holds. Times count from any fixed start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holding {
    /// Whose link.
    pub peer: PeerId,
    /// How much.
    pub bytes: usize,
    /// Since when without getting on.
    pub since: Duration,
}

impl Holding {
    /// Honest links hold much for a short time or little for long.
    fn weight(&self, now: Duration) -> u128 {
        let bytes = u128::try_from(self.bytes).unwrap_or(u128::MAX);
        bytes.saturating_mul(now.saturating_sub(self.since).as_millis().max(1))
    }
}

/// The links to be closed so that all others together hold no more than `bytes_max`: those that
/// hold most for longest, the worst first.
#[must_use]
pub fn overdrawn(mut holdings: Vec<Holding>, bytes_max: usize, now: Duration) -> Vec<PeerId> {
    holdings.sort_unstable_by_key(|holding| (holding.weight(now), holding.peer));
    let total = |holdings: &[Holding]| {
        holdings.iter().fold(0_usize, |sum, holding| sum.saturating_add(holding.bytes))
    };
    let mut closed = Vec::new();
    while total(&holdings) > bytes_max {
        closed.extend(holdings.pop().map(|holding| holding.peer));
    }
    closed
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Duration = Duration::from_secs(1000);

    fn holding(peer: u64, bytes: usize, millis_ago: u64) -> Holding {
        let since = NOW - Duration::from_millis(millis_ago);
        Holding { peer: PeerId(peer), bytes, since }
    }

    #[test]
    fn within_the_budget_nobody_is_closed() {
        assert!(overdrawn(Vec::new(), 0, NOW).is_empty());
        let holdings = (0..10).map(|peer| holding(peer, 100, 900_000)).collect();
        assert!(overdrawn(holdings, 1000, NOW).is_empty());
    }

    /// Somebody with many links that never finish what they begin, and an honest block on its way.
    #[test]
    fn those_that_hold_most_for_longest_are_closed() {
        let mut holdings: Vec<_> = (1..=40).map(|peer| holding(peer, 4 << 20, 5_000)).collect();
        holdings.push(holding(0, 8 << 20, 50));
        let closed = overdrawn(holdings, ARRIVING_BYTES_MAX, NOW);
        assert_eq!(closed.len(), 18);
        assert!(!closed.contains(&PeerId(0)));
    }

    proptest! {
        #[test]
        fn the_rest_is_within_the_budget_and_no_more_than_needed_is_closed(
            links in proptest::collection::vec((0..10_000_usize, 0..100_000_u64), 0..60),
            max in 0..200_000_usize,
        ) {
            let holdings: Vec<_> = (0..)
                .zip(&links)
                .map(|(peer, (bytes, millis))| holding(peer, *bytes, *millis))
                .collect();
            let closed = overdrawn(holdings.clone(), max, NOW);
            let held = |closed: &[PeerId]| -> usize {
                holdings.iter().filter(|it| !closed.contains(&it.peer)).map(|it| it.bytes).sum()
            };
            prop_assert!(held(&closed) <= max);
            if let Some((_, all_but_the_last)) = closed.split_last() {
                prop_assert!(held(all_but_the_last) > max);
            }
        }
    }
}
