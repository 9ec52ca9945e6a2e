use crate::chain::Output;

/// What a wallet holds, in units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Balance {
    /// Mature outputs at the tip, spent in the mempool or not.
    pub(crate) confirmed: u64,
    /// What the mempool adds or takes away.
    pub(crate) pending: i64,
    /// Coinbase outputs that have not matured.
    pub(crate) immature: u64,
}

impl Balance {
    pub(crate) fn of(outputs: &[Output]) -> Self {
        let mut balance = Self::default();
        for output in outputs {
            let units = i64::try_from(output.amount).unwrap_or(i64::MAX);
            let confirmed = output.confirmations > 0;
            match (confirmed, output.spent_in_mempool) {
                (false, false) => balance.pending = balance.pending.saturating_add(units),
                (true, true) => balance.pending = balance.pending.saturating_sub(units),
                // Came and went in the mempool, or is at rest.
                (false, true) | (true, false) => {}
            }
            if confirmed {
                let held =
                    if output.mature { &mut balance.confirmed } else { &mut balance.immature };
                *held = held.saturating_add(output.amount);
            }
        }
        balance
    }
}

#[cfg(test)]
mod tests {
    use pentad_crypto::{Address, KeyHash};
    use pentad_primitives::OutPoint;

    use super::*;

    #[test]
    fn pending_is_the_signed_effect_of_the_mempool() {
        let output = |amount, confirmations, mature, spent_in_mempool| Output {
            outpoint: OutPoint::NULL,
            amount,
            address: Address::P2pkh(KeyHash::from_bytes([0; 20])),
            confirmations,
            from_coinbase: false,
            mature,
            spent_in_mempool,
        };
        let balance = Balance::of(&[
            output(1000, 1, true, true),
            output(200, 1, true, false),
            output(50, 1, false, false),
            output(900, 0, true, true),
            output(700, 0, true, false),
        ]);
        assert_eq!(balance, Balance { confirmed: 1200, pending: -300, immature: 50 });
    }
}
