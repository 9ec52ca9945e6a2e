//! What a policy says of a payment. Pure.

use std::collections::HashSet;

use pentad_keystore::Policy;
use pentad_keystore::audit::Paid;
use pentad_primitives::Amount;

use super::PolicyError;

/// What becomes of a payment that nothing forbids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// It can be made.
    Pay,
    /// The approver is asked first.
    Ask {
        /// Why.
        reason: String,
    },
}

/// Judges payments to others; how much may leave in a day is for the book to say.
pub(crate) fn judge(policy: &Policy, foreign: &[Paid]) -> Result<Judgement, PolicyError> {
    let allowed: HashSet<&str> = policy.allowed.iter().map(String::as_str).collect();
    let stranger = foreign
        .iter()
        // A data output pays nobody.
        .filter(|paid| paid.amount > 0)
        .find(|paid| !allowed.is_empty() && !allowed.contains(paid.to.as_str()));
    if let Some(Paid { to, .. }) = stranger {
        if policy.approver.is_none() {
            return Err(PolicyError::NotAllowed(to.clone()));
        }
        return Ok(Judgement::Ask { reason: format!("{to} is not on the list of the policy") });
    }
    let sum: u64 = foreign.iter().map(|paid| paid.amount).fold(0, u64::saturating_add);
    match policy.approval_above {
        Some(above) if sum > above => {
            let (sum, above) = (coins(sum), coins(above));
            Ok(Judgement::Ask { reason: format!("{sum} coins are more than {above}") })
        }
        _ => Ok(Judgement::Pay),
    }
}

pub(super) fn coins(units: u64) -> Amount {
    Amount::from_units(units).unwrap_or(Amount::MAX_MONEY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paid(to: &str, amount: u64) -> Paid {
        Paid { to: to.to_owned(), amount }
    }

    #[test]
    fn strangers_wait_for_the_approver_or_are_refused() {
        let alone = Policy { allowed: vec!["a".to_owned()], ..Policy::default() };
        let two = Policy { approver: Some("x".to_owned()), ..alone.clone() };
        assert_eq!(judge(&alone, &[paid("a", 9), paid("data:00", 0)]), Ok(Judgement::Pay));
        assert_eq!(
            judge(&alone, &[paid("a", 1), paid("b", 1)]),
            Err(PolicyError::NotAllowed("b".to_owned()))
        );
        assert!(matches!(judge(&two, &[paid("b", 1)]), Ok(Judgement::Ask { .. })));
        assert_eq!(judge(&two, &[paid("a", 1)]), Ok(Judgement::Pay));
        assert_eq!(judge(&Policy::default(), &[paid("b", 1)]), Ok(Judgement::Pay));
    }

    #[test]
    fn the_sum_of_a_payment_counts() {
        let approver = Some("x".to_owned());
        let policy = Policy { approval_above: Some(10), approver, ..Policy::default() };
        assert_eq!(judge(&policy, &[paid("a", 5), paid("b", 5)]), Ok(Judgement::Pay));
        assert!(matches!(judge(&policy, &[paid("a", 5), paid("b", 6)]), Ok(Judgement::Ask { .. })));
    }
}
