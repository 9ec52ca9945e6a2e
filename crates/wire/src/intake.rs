//! How much of one peer is dealt with in a time. Who sends more is read more slowly, and waits
//! behind its own socket: a flood costs this node a bounded share of its processor, whatever it is
//! made of.

use std::time::Duration;

use crate::Kind;

/// A unit of work, nanoseconds: one peer may cause 16.7 million in a second. It is about what a
/// byte of a transaction costs; an honest neighbour in a network of 10,000 payments a second causes
/// half of what is allowed.
const WORK_TIME: u64 = 60;
/// Work that may come at once, after quiet times.
const BURST: Duration = Duration::from_secs(4);
/// What any Noise message costs besides its bytes, and any frame.
const MESSAGE_WORK: u64 = 256;
const FRAME_WORK: u64 = 1 << 10;
/// A heartbeat is answered, a locator looked up, dozens of signatures are checked: honest peers
/// send a few of them a second.
const ANSWER_WORK: u64 = 64 << 10;

/// What one peer has caused. Times count from any fixed start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Intake {
    /// When all of it would be done at the rate allowed.
    done_at: Duration,
}

impl Intake {
    /// A Noise message of so many bytes has arrived.
    pub fn message(&mut self, bytes: usize, now: Duration) {
        // To decrypt is four times as quick as to hash.
        self.add(MESSAGE_WORK.saturating_add(bytes as u64 / 4), now);
    }

    /// A frame with a payload of so many bytes has arrived.
    pub fn frame(&mut self, kind: Kind, bytes: usize, now: Duration) {
        let bytes = bytes as u64;
        let work = match kind {
            Kind::Handshake | Kind::GetHeaders | Kind::Certificate => ANSWER_WORK,
            // 34 bytes lead to a look-up.
            Kind::Inventory
            | Kind::GetTransactions
            | Kind::GetBlocks
            | Kind::GetBlockTransactions => bytes.saturating_mul(4),
            Kind::Transactions | Kind::CompactBlock | Kind::Consensus => bytes,
            // Asked for; what was not is dropped unread.
            Kind::Block | Kind::BlockTransactions | Kind::Headers | Kind::Goodbye => 0,
        };
        self.add(work.saturating_add(FRAME_WORK), now);
    }

    /// How long to read nothing from this peer.
    #[must_use]
    pub fn pause(&self, now: Duration) -> Duration {
        self.done_at.saturating_sub(now).saturating_sub(BURST)
    }

    fn add(&mut self, work: u64, now: Duration) {
        let time = Duration::from_nanos(work.saturating_mul(WORK_TIME));
        self.done_at = self.done_at.max(now).saturating_add(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads one kind of frame for `seconds` as a link would. Returns how many.
    fn flood(kind: Kind, bytes: usize, seconds: u64) -> u64 {
        let (mut intake, mut now, mut count) = (Intake::default(), Duration::from_secs(100), 0);
        let end = now + Duration::from_secs(seconds);
        loop {
            intake.message(bytes + 9, now);
            intake.frame(kind, bytes, now);
            count += 1;
            now += intake.pause(now);
            if now > end {
                return count;
            }
        }
    }

    #[test]
    fn floods_of_every_kind_are_read_at_a_bounded_rate() {
        for kind in Kind::ALL {
            for bytes in [1, 1000, kind.payload_max()] {
                let (short, long) = (flood(kind, bytes, 10), flood(kind, bytes, 20));
                assert!(short > 0 && long > short, "{kind:?}: it is never shut out");
                assert!(long - short <= 10 * 13_100, "{kind:?} of {bytes} bytes: {}", long - short);
            }
        }
        // Four seconds' worth at once, then the rate.
        assert!((990..1005).contains(&flood(Kind::Handshake, 200, 0)));
        let beats = flood(Kind::Handshake, 200, 10) - flood(Kind::Handshake, 200, 0);
        assert!((2480..2500).contains(&beats), "{beats}");
    }

    #[test]
    fn honest_traffic_is_never_held_up() {
        let (mut intake, mut now) = (Intake::default(), Duration::ZERO);
        // For a minute: 10,000 payments of 250 bytes in frames of 25, as many ids of others,
        // twenty tips and 8 MB of blocks a second.
        for hundredth in 0..6000 {
            for _ in 0..4 {
                intake.message(25 * 250, now);
                intake.frame(Kind::Transactions, 25 * 250, now);
                intake.message(25 * 34, now);
                intake.frame(Kind::Inventory, 25 * 34, now);
            }
            if hundredth % 5 == 0 {
                intake.frame(Kind::Handshake, 200, now);
            }
            intake.message(80_000, now);
            intake.frame(Kind::Block, 80_000, now);
            assert_eq!(intake.pause(now), Duration::ZERO);
            now += Duration::from_millis(10);
        }
    }
}
