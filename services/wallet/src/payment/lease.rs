use std::collections::HashSet;

use pentad_primitives::OutPoint;

/// Coins that payments have claimed: from the moment they are chosen until the payment has failed
/// or is settled. No other payment may use them.
#[derive(Debug, Default)]
pub(crate) struct Leases(HashSet<OutPoint>);

impl Leases {
    /// Claims `outpoints`, or none of them when one is claimed already.
    #[must_use]
    pub(crate) fn claim(&mut self, outpoints: &[OutPoint]) -> bool {
        if outpoints.iter().any(|outpoint| self.holds(outpoint)) {
            return false;
        }
        self.0.extend(outpoints);
        true
    }

    /// Gives `outpoints` back.
    pub(crate) fn release(&mut self, outpoints: &[OutPoint]) {
        for outpoint in outpoints {
            self.0.remove(outpoint);
        }
    }

    /// Some payment has claimed it.
    pub(crate) fn holds(&self, outpoint: &OutPoint) -> bool {
        self.0.contains(outpoint)
    }
}

#[cfg(test)]
mod tests {
    use pentad_primitives::Txid;

    use super::*;

    #[test]
    fn a_claim_is_whole_or_not_at_all() {
        let outpoint = |vout| OutPoint { txid: Txid::from_bytes([1; 32]), vout };
        let mut leases = Leases::default();
        assert!(leases.claim(&[outpoint(0), outpoint(1)]));
        assert!(!leases.claim(&[outpoint(2), outpoint(1)]));
        assert!(!leases.holds(&outpoint(2)));
        leases.release(&[outpoint(1)]);
        assert!(leases.claim(&[outpoint(2), outpoint(1)]));
    }
}
