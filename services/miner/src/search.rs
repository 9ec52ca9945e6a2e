//! The search for a nonce, on one thread.

use pentad_primitives::BlockHeader;
use pentad_primitives::pow::{HeaderHasher, Target};

/// Nonces between two looks at the outside world: about half a millisecond, so that a stop is
/// prompt and the look costs nothing.
pub(crate) const BATCH: u32 = 4096;

/// How a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// This nonce is enough work.
    Found(u32),
    /// No nonce is: the coinbase or the time has to change.
    Exhausted,
    /// Nobody wants the answer any more.
    Stopped,
}

/// Tries the nonces from `first` on. After each batch `proceed` is told how many headers were
/// hashed, and says whether to go on.
pub(crate) fn search(
    header: &BlockHeader,
    target: &Target,
    first: u32,
    mut proceed: impl FnMut(u32) -> bool,
) -> Outcome {
    let hasher = HeaderHasher::new(header);
    let mut batch = first;
    loop {
        let last = batch.saturating_add(BATCH - 1);
        let found = hasher.find(batch..=last, target);
        let hashed = found.unwrap_or(last) - batch + 1;
        let wanted = proceed(hashed);
        if let Some(nonce) = found {
            return Outcome::Found(nonce);
        }
        if !wanted {
            return Outcome::Stopped;
        }
        match last.checked_add(1) {
            Some(next) => batch = next,
            None => return Outcome::Exhausted,
        }
    }
}

#[cfg(test)]
mod tests {
    use pentad_primitives::{BlockHash, CompactTarget, MerkleRoot};

    use super::*;

    const HEADER: BlockHeader = BlockHeader {
        version: 1,
        prev_block_hash: BlockHash::ZERO,
        merkle_root: MerkleRoot::ZERO,
        time: 1_800_000_000,
        bits: CompactTarget(0x1f00_ffff),
        nonce: 0,
    };

    #[test]
    fn the_nonce_found_is_the_first_that_meets_the_target() {
        let target = Target::from_compact(HEADER.bits).expect("a constant");
        let mut hashed = 0;
        let outcome = search(&HEADER, &target, 0, |batch| {
            hashed += batch;
            true
        });
        let Outcome::Found(nonce) = outcome else { panic!("{outcome:?}") };
        assert_eq!(hashed, nonce + 1);
        let meets = |nonce| target.is_met_by(&BlockHeader { nonce, ..HEADER }.block_hash());
        assert_eq!((0..=nonce).find(|&nonce| meets(nonce)), Some(nonce));
    }

    #[test]
    fn the_last_nonce_is_tried_and_ends_the_search() {
        let nothing = Target::from_be_bytes([0; 32]);
        let mut hashed = 0;
        let first = u32::MAX - 2 * BATCH;
        let outcome = search(&HEADER, &nothing, first, |batch| {
            hashed += batch;
            true
        });
        assert_eq!((outcome, hashed), (Outcome::Exhausted, 2 * BATCH + 1));
        let everything = Target::from_be_bytes([0xff; 32]);
        let outcome = search(&HEADER, &everything, u32::MAX, |_| true);
        assert_eq!(outcome, Outcome::Found(u32::MAX));
    }

    #[test]
    fn ends_after_the_batch_in_which_it_was_stopped() {
        let nothing = Target::from_be_bytes([0; 32]);
        let mut batches = 0;
        let outcome = search(&HEADER, &nothing, 0, |_| {
            batches += 1;
            batches < 3
        });
        assert_eq!((outcome, batches), (Outcome::Stopped, 3));
    }
}
