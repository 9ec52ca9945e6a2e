//! All arithmetic on n and f.

use crate::identifiers::{ReplicaId, View};

/// Most replicas of a network: certificates and NEW-VIEWs grow with n and n².
pub const REPLICAS_MAX: u16 = 64;

/// How many replicas there are, and what follows from it (section 3 of the paper, for any n).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quorum {
    replicas: u16,
}

impl Quorum {
    /// For `replicas` of 1 to [`REPLICAS_MAX`]; none otherwise.
    #[must_use]
    pub fn of(replicas: usize) -> Option<Self> {
        let replicas = u16::try_from(replicas).ok()?;
        (1..=REPLICAS_MAX).contains(&replicas).then_some(Self { replicas })
    }

    /// n.
    #[must_use]
    pub const fn replicas(self) -> u16 {
        self.replicas
    }

    /// f: the most replicas that may be faulty, the largest with n ≥ 3f + 1.
    #[must_use]
    pub fn max_faulty(self) -> usize {
        usize::from(self.replicas.saturating_sub(1).div_euclid(3))
    }

    /// ⌈(n + f + 1) / 2⌉: any two sets of this size share an honest replica.
    #[must_use]
    pub fn quorum(self) -> usize {
        usize::from(self.replicas).saturating_add(self.max_faulty()).saturating_add(1).div_ceil(2)
    }

    /// f + 1: any set of this size holds an honest replica.
    #[must_use]
    pub fn weak_quorum(self) -> usize {
        self.max_faulty().saturating_add(1)
    }

    /// PREPAREs that make a PRE-PREPARE prepared: a quorum without the primary.
    #[must_use]
    pub fn prepares(self) -> usize {
        self.quorum().saturating_sub(1)
    }

    /// The primary of a view: view mod n.
    #[must_use]
    pub fn primary(self, view: View) -> ReplicaId {
        let place = view.get().checked_rem(u64::from(self.replicas)).unwrap_or_default();
        ReplicaId::new(u16::try_from(place).unwrap_or_default())
    }

    /// Whether there is such a replica.
    #[must_use]
    pub const fn contains(self, replica: ReplicaId) -> bool {
        replica.get() < self.replicas
    }

    /// All replicas in their order.
    pub fn ids(self) -> impl Iterator<Item = ReplicaId> {
        (0..self.replicas).map(ReplicaId::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_quorums_share_an_honest_replica_and_honest_replicas_make_one() {
        for n in 1..=REPLICAS_MAX {
            let quorum = Quorum::of(usize::from(n)).unwrap();
            let (n, f, q) = (usize::from(n), quorum.max_faulty(), quorum.quorum());
            assert!(n > 3 * f && n < 3 * (f + 1) + 1, "n {n} f {f}");
            assert!(2 * q - n > f, "n {n}: two quorums share only {}", 2 * q - n);
            assert!(q <= n - f, "n {n}: the honest are no quorum");
            assert_eq!(quorum.weak_quorum(), f + 1);
            assert_eq!(quorum.prepares(), q - 1);
        }
        let sizes: Vec<_> =
            (1..=7).map(|n| Quorum::of(n).map(|q| (q.max_faulty(), q.quorum())).unwrap()).collect();
        assert_eq!(sizes, [(0, 1), (0, 2), (0, 2), (1, 3), (1, 4), (1, 4), (2, 5)]);
    }

    #[test]
    fn there_are_1_to_64_replicas() {
        assert_eq!(Quorum::of(0), None);
        assert_eq!(Quorum::of(65), None);
        assert!(Quorum::of(64).is_some());
    }

    #[test]
    fn primaries_take_turns() {
        let quorum = Quorum::of(4).unwrap();
        let primaries: Vec<_> = (0..6).map(|view| quorum.primary(View::new(view)).get()).collect();
        assert_eq!(primaries, [0, 1, 2, 3, 0, 1]);
        assert_eq!(quorum.primary(View::new(u64::MAX)).get(), 3);
    }
}
