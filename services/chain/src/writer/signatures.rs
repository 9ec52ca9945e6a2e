//! Signature checks on all cores.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use pentad_ledger::BlockUndo;
use pentad_ledger::verify::{
    CheckedBlock, SignatureCheck, SignatureError, block_signatures, verify_signatures,
};

use crate::cores::cores;
use crate::signature_cache::SignatureCache;

/// Checks that a thread takes at a time, and the least that are worth a thread: starting one costs
/// less than one check. Between two takes, whoever waits for the core has it: a read does not wait
/// until a block is verified, no more than half a millisecond.
const CHUNK_LEN: usize = 8;

/// Threads of this process that check signatures now.
static AT_WORK: AtomicUsize = AtomicUsize::new(0);

/// One of them.
struct Working;

impl Working {
    fn begin() -> Self {
        AT_WORK.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        AT_WORK.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Runs the checks on all cores. Of several errors, the first in order counts.
pub(super) fn verify(checks: Vec<SignatureCheck<'_>>) -> Result<(), SignatureError> {
    let failed = AtomicUsize::new(usize::MAX);
    let outcomes = on_cores(&checks, cores(), |number, chunk| {
        // What comes behind an error says no more.
        if number > failed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let outcome = verify_signatures(chunk.iter().copied());
        if outcome.is_err() {
            failed.fetch_min(number, Ordering::Relaxed);
        }
        outcome
    });
    outcomes.into_iter().collect()
}

/// Runs the checks of several transactions on the cores that no others are checked on: the outcome
/// of each. More threads than cores would only be in one another's way.
pub(crate) fn verify_each(
    transactions: Vec<Vec<SignatureCheck<'_>>>,
) -> Vec<Result<(), SignatureError>> {
    let free = cores().saturating_sub(AT_WORK.load(Ordering::Relaxed));
    let outcomes = on_cores(&transactions, free, |_, chunk| {
        let each = chunk.iter().map(|checks| verify_signatures(checks.iter().copied()));
        each.collect::<Vec<_>>()
    });
    outcomes.into_iter().flatten().collect()
}

/// What work on each chunk of the items yields, in their order, on this thread and as many more as
/// make `threads`. The chunks go to whichever is free, so that one which shares its core with
/// others holds nobody up.
fn on_cores<T: Sync, R: Send>(
    items: &[T],
    threads: usize,
    work: impl Fn(usize, &[T]) -> R + Sync,
) -> Vec<R> {
    let chunks: Vec<&[T]> = items.chunks(CHUNK_LEN).collect();
    let next = AtomicUsize::new(0);
    let some = || {
        let _working = Working::begin();
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(chunk) = chunks.get(number) else { return done };
            if number > 0 {
                thread::yield_now();
            }
            done.push((number, work(number, chunk)));
        }
    };
    let mut done = thread::scope(|scope| {
        let others = threads.min(chunks.len()).saturating_sub(1);
        let others: Vec<_> = (0..others).map(|_| scope.spawn(some)).collect();
        let mut done = some();
        for other in others {
            done.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        done
    });
    done.sort_unstable_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, outcome)| outcome).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_on_all_cores_yields_every_chunk_in_order() {
        for count in [0, 1, CHUNK_LEN, CHUNK_LEN + 1, 1_000] {
            let items: Vec<usize> = (0..count).collect();
            let expected: Vec<usize> = items.chunks(CHUNK_LEN).map(|it| it.iter().sum()).collect();
            for threads in [0, 1, 3] {
                let sums = on_cores(&items, threads, |number, chunk| {
                    assert_eq!(chunk[0], number * CHUNK_LEN);
                    chunk.iter().sum::<usize>()
                });
                assert_eq!(sums, expected);
            }
        }
    }
}
