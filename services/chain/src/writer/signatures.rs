//! Signature checks on all cores.

use std::num::NonZero;
use std::thread;

use pentad_ledger::BlockUndo;
use pentad_ledger::verify::{
    CheckedBlock, SignatureCheck, SignatureError, block_signatures, verify_signatures,
};

use crate::signature_cache::SignatureCache;

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

/// Runs the checks of several transactions on all cores: the outcome of each.
pub(crate) fn verify_each(
    transactions: Vec<Vec<SignatureCheck<'_>>>,
) -> Vec<Result<(), SignatureError>> {
    let outcomes = |share: &[Vec<SignatureCheck<'_>>]| -> Vec<_> {
        share.iter().map(|checks| verify_signatures(checks.iter().copied())).collect()
    };
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let share = transactions.len().div_ceil(cores).max(CHECKS_PER_THREAD_MIN);
    if transactions.len() <= share {
        return outcomes(&transactions);
    }
    thread::scope(|scope| {
        let (own, others) = transactions.split_at(share);
        let others: Vec<_> =
            others.chunks(share).map(|chunk| scope.spawn(move || outcomes(chunk))).collect();
        let mut all = outcomes(own);
        for other in others {
            let other = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            all.extend(other);
        }
        all
    })
}

/// Verifies the signatures of a block that nobody has verified yet, and notes all of them as
/// verified if they are. `undo` holds the outputs that the chain has at the block's outpoints.
pub(super) fn verify_block(
    block: &CheckedBlock,
    undo: &BlockUndo,
    verified: &SignatureCache,
) -> Result<(), SignatureError> {
    let mut spent = undo.spent.iter();
    let (mut keys, mut unknown) = (Vec::new(), Vec::new());
    let mut checks = block_signatures(block, undo);
    for (txid, transaction) in block.transactions().skip(1) {
        let inputs = transaction.inputs.len();
        let outputs = spent.by_ref().take(inputs).map(|utxo| &utxo.output);
        let key = verified.key(txid, outputs);
        let of_transaction = checks.by_ref().take(inputs);
        if verified.contains(&key) {
            of_transaction.for_each(drop);
        } else {
            keys.push(key);
            unknown.extend(of_transaction);
        }
    }
    verify(unknown)?;
    keys.into_iter().for_each(|key| verified.insert(key));
    Ok(())
}
