//! What misbehaviour costs, and who is banned for it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::StaticKey;

/// A peer with this score is banned and its connection closed.
pub const SCORE_MAX: u32 = 100;
/// A score falls by one in this time, so that rare accidents of an honest peer never add up.
pub const SCORE_DECAY: Duration = Duration::from_secs(60);
/// How long a ban lasts.
pub const BAN_DURATION: Duration = Duration::from_secs(24 * 3600);
/// Most bans; the one that ends first gives way, those of the operator last. A static key costs
/// an attacker nothing, so a longer list would keep nobody out.
pub const BANS_MAX: usize = 1024;

/// What a peer did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offence {
    /// It sent what is no message of the protocol.
    Malformed,
    /// It asked for more at once than the protocol allows.
    TooManyRequests,
    /// It sent headers nobody had asked for, beyond an announcement.
    UnaskedHeaders,
    /// It claimed more work than its headers show.
    UnprovenWork,
    /// It let headers without end be checked that lead nowhere.
    EndlessHeaders,
    /// It skipped a block that it had been asked for.
    WithheldBlock,
    /// The chain service refused what it sent, and judged it (0 to 100).
    Refused(u32),
}

impl Offence {
    /// One of each kind.
    pub const ALL: [Self; 7] = [
        Self::Malformed,
        Self::TooManyRequests,
        Self::UnaskedHeaders,
        Self::UnprovenWork,
        Self::EndlessHeaders,
        Self::WithheldBlock,
        Self::Refused(0),
    ];

    /// Its name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TooManyRequests => "too_many_requests",
            Self::UnaskedHeaders => "unasked_headers",
            Self::UnprovenWork => "unproven_work",
            Self::EndlessHeaders => "endless_headers",
            Self::WithheldBlock => "withheld_block",
            Self::Refused(_) => "refused",
        }
    }

    /// Points for it; [`SCORE_MAX`] is the end.
    #[must_use]
    pub const fn score(self) -> u32 {
        match self {
            // An honest peer never does that.
            Self::Malformed | Self::EndlessHeaders => SCORE_MAX,
            Self::TooManyRequests => 50,
            // A reorganisation between heartbeat and answer can look like a lie.
            Self::UnprovenWork => 20,
            Self::UnaskedHeaders | Self::WithheldBlock => 10,
            Self::Refused(score) => score,
        }
    }
}

/// The score of one peer. Times count from any fixed start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Score {
    points: u32,
    since: Duration,
}

impl Score {
    /// The points that are left at `now`.
    #[must_use]
    pub fn at(&self, now: Duration) -> u32 {
        let elapsed = now.saturating_sub(self.since).as_secs();
        let decayed = elapsed.checked_div(SCORE_DECAY.as_secs()).unwrap_or(0);
        self.points.saturating_sub(u32::try_from(decayed).unwrap_or(u32::MAX))
    }

    /// Adds an offence; true when the peer must go.
    #[must_use]
    pub fn add(&mut self, offence: Offence, now: Duration) -> bool {
        self.points = self.at(now).saturating_add(offence.score());
        self.since = now;
        self.points >= SCORE_MAX
    }
}

/// Why and until when a static key may not connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// When it ends.
    pub until: Duration,
    /// For people.
    pub reason: String,
    /// Who wants it.
    pub by: Banned,
}

/// Who wants a ban. The order is that in which bans give way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Banned {
    /// This node, for misbehaviour.
    ByOffence,
    /// Its operator.
    ByOperator,
}

/// Static keys that may not connect, each until a time.
#[derive(Clone, Debug, Default)]
pub struct Bans {
    bans: BTreeMap<StaticKey, Ban>,
}

impl Bans {
    /// Nobody.
    #[must_use]
    pub const fn new() -> Self {
        Self { bans: BTreeMap::new() }
    }

    /// Bans a key, in place of an older ban. An offence does not shorten what the operator wants.
    pub fn ban(&mut self, key: StaticKey, ban: Ban, now: Duration) {
        self.bans.retain(|_, ban| ban.until > now);
        if self.bans.get(&key).is_some_and(|old| old.by > ban.by) {
            return;
        }
        if self.bans.len() >= BANS_MAX && !self.bans.contains_key(&key) {
            let first = self.bans.iter().min_by_key(|(_, ban)| (ban.by, ban.until));
            if let Some(first) = first.map(|(key, _)| *key) {
                self.bans.remove(&first);
            }
        }
        self.bans.insert(key, ban);
    }

    /// Lifts a ban; true if there was one.
    pub fn unban(&mut self, key: &StaticKey) -> bool {
        self.bans.remove(key).is_some()
    }

    /// Whether a key is banned at `now`.
    #[must_use]
    pub fn contains(&self, key: &StaticKey, now: Duration) -> bool {
        self.bans.get(key).is_some_and(|ban| ban.until > now)
    }

    /// The bans that hold at `now`.
    pub fn iter(&self, now: Duration) -> impl Iterator<Item = (&StaticKey, &Ban)> {
        self.bans.iter().filter(move |(_, ban)| ban.until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn small_offences_add_up_and_fade() {
        let mut score = Score::default();
        for _ in 0..4 {
            assert!(!score.add(Offence::UnprovenWork, Duration::ZERO));
        }
        assert_eq!(score.at(Duration::ZERO), 80);
        assert_eq!(score.at(MINUTE * 30), 50);
        assert!(!score.add(Offence::UnprovenWork, MINUTE * 30));
        assert!(score.add(Offence::Refused(30), MINUTE * 30));
        assert_eq!(score.at(MINUTE * 10_000), 0);
    }

    #[test]
    fn one_grave_offence_is_enough() {
        assert!(Score::default().add(Offence::Malformed, Duration::ZERO));
        assert!(Score::default().add(Offence::Refused(100), Duration::ZERO));
        assert!(!Score::default().add(Offence::Refused(0), Duration::ZERO));
    }

    /// Attack 41.
    #[test]
    fn ban_list_is_capped_and_bans_expire() {
        let mut bans = Bans::new();
        let key = |number: u64| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            StaticKey::from_bytes(bytes)
        };
        let ban = |at: Duration, by| {
            let (until, reason) = (at + BAN_DURATION, "for nothing".to_owned());
            Ban { until, reason, by }
        };
        let operators = key(1 << 40);
        bans.ban(operators, ban(Duration::ZERO, Banned::ByOperator), Duration::ZERO);
        for number in 0..BANS_MAX as u64 + 10 {
            let now = Duration::from_millis(number);
            bans.ban(key(number), ban(now, Banned::ByOffence), now);
        }
        let now = Duration::from_secs(10);
        assert!(bans.contains(&operators, now), "what the operator wants gives way last");
        assert_eq!(bans.iter(now).count(), BANS_MAX);
        assert!(!bans.contains(&key(0), now), "the oldest gave way");
        assert!(bans.contains(&key(500), now));
        assert!(bans.unban(&key(500)) && !bans.contains(&key(500), now));
        assert!(!bans.contains(&key(501), now + BAN_DURATION));
        let over = Ban { until: now, ..ban(now, Banned::ByOffence) };
        bans.ban(operators, over, now);
        assert!(bans.contains(&operators, now), "an offence shortens no ban of the operator");
    }
}
