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
        let found = (batch..=last).find(|&nonce| target.is_met_by(&hasher.hash(nonce)));
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
