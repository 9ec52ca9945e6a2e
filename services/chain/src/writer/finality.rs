//! Making blocks final by certificates that come by themselves: engine hybrid.

use pentad_ledger::header_tree::{BlockStatus, InsertError};
use pentad_ledger::verify::Fault;
use pentad_pbft::Sequence;
use pentad_primitives::{BlockHash, BlockHeight};
use pentad_store::StoreError;

use super::{FinalityOutcome, Writer};
use crate::finality::Certified;
use crate::refusal::Refusal;

/// Moves the tip to a block that is here; returns one on the way that turned out to be invalid.
pub(super) type Advance =
    fn(&mut Writer, &BlockHash) -> Result<Option<(BlockHash, Refusal)>, StoreError>;

impl Writer {
    /// Makes a block final, and the main chain one that holds it, also where another has more work.
    /// Durable and published when it returns.
    pub(super) fn on_finalise(
        &mut self,
        certified: Certified,
    ) -> Result<Result<FinalityOutcome, Refusal>, StoreError> {
        let outcome = self.finalise(certified)?;
        if outcome == Ok(FinalityOutcome::Final) {
            self.end_group()?;
        }
        Ok(outcome)
    }

    /// As [`on_finalise`](Self::on_finalise), in the open group.
    pub(super) fn finalise(
        &mut self,
        certified: Certified,
    ) -> Result<Result<FinalityOutcome, Refusal>, StoreError> {
        let hash = certified.block();
        let final_height = self.tree.final_height();
        let Some(height) = self.tree.height(&hash) else {
            return Ok(if certified.sequence() <= Sequence::from_height(final_height) {
                Err(conflict(&hash))
            } else {
                Ok(self.await_block(certified))
            });
        };
        if let Err(refusal) = certified.check_height(height) {
            return Ok(Err(refusal));
        }
        if !self.keeps_finality(&hash) {
            return Ok(Err(conflict(&hash)));
        }
        if height <= final_height {
            self.store.append_certificate(&hash, certified.bytes())?;
            return Ok(Ok(FinalityOutcome::AlreadyFinal));
        }
        if self.tree.status(&hash) == Some(BlockStatus::Invalid) {
            return Ok(Err(contradiction(&hash)));
        }
        if !self.tree.is_complete(&hash) {
            return Ok(Ok(self.await_block(certified)));
        }
        if !self.tree.is_active(&hash) {
            tracing::warn!(block = %hash, %height, "the validators chose another branch");
        }
        if let Err(refusal) = self.make_final(&hash, Self::move_to)? {
            self.move_to_best()?;
            return Ok(Err(refusal));
        }
        self.store.append_certificate(&hash, certified.bytes())?;
        if self.awaited.as_ref().is_some_and(|it| it.sequence() <= certified.sequence()) {
            self.set_awaited(None);
        }
        // What stands on it may have more work than the branch that was left.
        self.move_to_best()?;
        Ok(Ok(FinalityOutcome::Final))
    }

    /// Makes a block final that stands on the last final one, with all bodies on the way. `advance`
    /// moves the tip there if the main chain is another.
    fn make_final(
        &mut self,
        hash: &BlockHash,
        advance: Advance,
    ) -> Result<Result<(), Refusal>, StoreError> {
        if !self.tree.is_active(hash) {
            if advance(self, hash)?.is_some() {
                return Ok(Err(contradiction(hash)));
            }
            self.settle_tip();
        }
        self.tree.finalise(hash).expect("it is connected, above what is final");
        Ok(Ok(()))
    }

    /// At a start, makes final again what the log says is, the highest first. The index may have
    /// lagged behind, or be empty, and another branch may have more work.
    pub(super) fn restore_finality(
        &mut self,
        certified: &[BlockHash],
        advance: Advance,
    ) -> Result<(), StoreError> {
        for hash in certified {
            let is_invalid = self.tree.status(hash) == Some(BlockStatus::Invalid);
            let is_here = self.tree.is_complete(hash) && self.keeps_finality(hash);
            if is_here && !is_invalid && self.make_final(hash, advance)?.is_ok() {
                break;
            }
        }
        Ok(())
    }

    /// Remembers a certificate until its block is here. The highest will do: it proves all below.
    fn await_block(&mut self, certified: Certified) -> FinalityOutcome {
        let is_higher = |awaited: &Certified| awaited.sequence() < certified.sequence();
        if self.awaited.as_ref().is_none_or(is_higher) {
            self.set_awaited(Some(certified));
        }
        FinalityOutcome::Awaited
    }

    /// Returns what was awaited before.
    fn set_awaited(&mut self, awaited: Option<Certified>) -> Option<Certified> {
        self.tree.await_block(awaited.as_ref().map(Certified::block));
        std::mem::replace(&mut self.awaited, awaited)
    }

    /// A block came, perhaps with its certificate: it, or the one that a certificate waits for, may
    /// be final now. Where blocks are final at once, nothing waits.
    pub(super) fn finalise_at_hand(
        &mut self,
        certificate: Option<&Certified>,
    ) -> Result<(), StoreError> {
        if self.published.finality.is_instant() {
            return Ok(());
        }
        let awaited = self.set_awaited(None);
        for certified in certificate.cloned().into_iter().chain(awaited) {
            if let Err(refusal) = self.finalise(certified)? {
                tracing::warn!(reason = refusal.reason, "not final: {}", refusal.message);
            }
        }
        Ok(())
    }

    /// Bodies that a certificate waits for, lowest first.
    pub(super) fn awaited_bodies(&self, max: usize) -> Vec<BlockHash> {
        let awaited = self.awaited.as_ref();
        awaited.map(|it| self.tree.missing_bodies_to(&it.block(), max)).unwrap_or_default()
    }

    /// Is a block that is in the tree the last final one, below it or on it?
    pub(super) fn keeps_finality(&self, hash: &BlockHash) -> bool {
        let final_height = self.tree.final_height();
        let common = self.tree.height(hash).map(|height| height.min(final_height));
        let at = common.and_then(|height| self.tree.ancestor(hash, height));
        at.is_some_and(|at| self.tree.is_active(&at))
    }
}

/// No chain with such a block is followed. Its sender may not have heard of the final block.
pub(super) fn below_finality(final_height: BlockHeight) -> Refusal {
    Refusal::from(&InsertError::BelowFinality { final_height })
}

/// Only more faulty validators than the network bears sign both.
fn conflict(hash: &BlockHash) -> Refusal {
    tracing::error!(
        block = %hash,
        "a certificate contradicts a final block: more validators are faulty than the network bears"
    );
    let message = "another block of this height, or below it, is final";
    Refusal::new("CONFLICTING_FINALITY", Fault::Premature, message)
}

/// A quorum found it valid: our ledger is not theirs, and whoever looks must see that.
fn contradiction(hash: &BlockHash) -> Refusal {
    tracing::error!(
        block = %hash,
        "a certified block is invalid here: more validators are faulty than the network bears, or \
         this node runs other rules"
    );
    let message = "the validators made a block final that is invalid here";
    Refusal::new("CERTIFIED_INVALID", Fault::Premature, message)
}
