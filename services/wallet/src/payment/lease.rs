//! Coins that payments under way have claimed.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use pentad_primitives::OutPoint;

/// How long a claim lasts: far longer than a payment takes to reach the mempool (from where on the
/// chain service says that the coin is spent), short enough that coins come back soon when a
/// payment is lost.
const LEASE: Duration = Duration::from_secs(120);

/// Outpoints that no other payment may use for now.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    until: HashMap<OutPoint, Instant>,
}

impl Leases {
    /// Claims `outpoints`, or none of them when one is claimed already.
    #[must_use]
    pub(crate) fn claim(&mut self, outpoints: &[OutPoint], now: Instant) -> bool {
        if outpoints.iter().any(|outpoint| self.holds(outpoint, now)) {
            return false;
        }
        let until = now + LEASE;
        self.until
            .extend(outpoints.iter().map(|&outpoint| (outpoint, until)));
        true
    }

    /// Gives `outpoints` back before their time.
    pub(crate) fn release(&mut self, outpoints: &[OutPoint]) {
        for outpoint in outpoints {
            self.until.remove(outpoint);
        }
    }

    /// Some payment has claimed it.
    pub(crate) fn holds(&self, outpoint: &OutPoint, now: Instant) -> bool {
        self.until.get(outpoint).is_some_and(|&until| now < until)
    }

    /// Forgets what has run out.
    pub(crate) fn sweep(&mut self, now: Instant) {
        self.until.retain(|_, until| now < *until);
    }
}

#[cfg(test)]
mod tests {
    use pentad_primitives::Txid;

    use super::*;

    fn outpoint(vout: u32) -> OutPoint {
        OutPoint {
            txid: Txid::from_bytes([1; 32]),
            vout,
        }
    }

    #[test]
    fn a_claim_is_whole_or_not_at_all() {
        let (mut leases, now) = (Leases::default(), Instant::now());
        assert!(leases.claim(&[outpoint(0), outpoint(1)], now));
        assert!(!leases.claim(&[outpoint(2), outpoint(1)], now));
        assert!(!leases.holds(&outpoint(2), now));
    }

    #[test]
    fn claims_run_out_and_can_be_given_back() {
        let (mut leases, now) = (Leases::default(), Instant::now());
        assert!(leases.claim(&[outpoint(0), outpoint(1)], now));
        leases.release(&[outpoint(0)]);
        assert!(leases.claim(&[outpoint(0)], now));
        let later = now + LEASE;
        assert!(!leases.holds(&outpoint(1), later));
        leases.sweep(later);
        assert!(leases.until.is_empty());
        assert!(leases.claim(&[outpoint(1)], later));
    }
}
