//! Signature checks on all cores.

use std::num::NonZero;
use std::thread;

use pentad_ledger::verify::{SignatureCheck, SignatureError, verify_signatures};

/// Checks that are worth a thread of their own: starting one costs less than one check.
const CHECKS_PER_THREAD_MIN: usize = 8;

/// Runs the checks on all cores.
pub(super) fn verify(checks: Vec<SignatureCheck<'_>>) -> Result<(), SignatureError> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let share = checks.len().div_ceil(cores).max(CHECKS_PER_THREAD_MIN);
    if checks.len() <= share {
        return verify_signatures(checks);
    }
    thread::scope(|scope| {
        let (own, others) = checks.split_at(share);
        let others: Vec<_> = others
            .chunks(share)
            .map(|chunk| scope.spawn(move || verify_signatures(chunk.iter().copied())))
            .collect();
        let mut outcome = verify_signatures(own.iter().copied());
        for other in others {
            let other = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            outcome = outcome.and(other);
        }
        outcome
    })
}

/// Runs the checks of several transactions on all cores: whether all checks of each are sound.
pub(super) fn verify_each(transactions: Vec<Vec<SignatureCheck<'_>>>) -> Vec<bool> {
    let sound = |share: &[Vec<SignatureCheck<'_>>]| -> Vec<bool> {
        share.iter().map(|checks| verify_signatures(checks.iter().copied()).is_ok()).collect()
    };
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let share = transactions.len().div_ceil(cores).max(CHECKS_PER_THREAD_MIN);
    thread::scope(|scope| {
        let (own, others) = transactions.split_at(share.min(transactions.len()));
        let others: Vec<_> =
            others.chunks(share).map(|chunk| scope.spawn(move || sound(chunk))).collect();
        let mut outcome = sound(own);
        for other in others {
            let other = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            outcome.extend(other);
        }
        outcome
    })
}
