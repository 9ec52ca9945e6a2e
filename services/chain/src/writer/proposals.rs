//! Blocks that PBFT is about to agree on: checked once, then connected without a second check.

use std::collections::VecDeque;

use pentad_ledger::BlockUndo;
use pentad_ledger::proposal::{self, Proposal};
use pentad_ledger::verify::CheckedBlock;
use pentad_primitives::BlockHash;
use pentad_store::StoreError;

use super::{NotOnTip, Writer};
use crate::refusal::Refusal;

/// Sound proposals on the tip that are remembered: one of them is usually the next block; a view
/// change may bring another.
const PROPOSALS_MAX: usize = 2;

/// Sound proposals on the tip, and what they spend.
#[derive(Debug, Default)]
pub(super) struct Proposals(VecDeque<(BlockHash, BlockUndo)>);

impl Proposals {
    fn contains(&self, hash: &BlockHash) -> bool {
        self.0.iter().any(|(known, _)| known == hash)
    }

    fn remember(&mut self, hash: BlockHash, undo: BlockUndo) {
        self.0.truncate(PROPOSALS_MAX - 1);
        self.0.push_front((hash, undo));
    }

    /// What a proposal spends that is about to be connected. The others are on its parent too,
    /// and of no use once it is the tip.
    pub(super) fn take(&mut self, hash: &BlockHash) -> Option<BlockUndo> {
        let found = self.0.drain(..).find(|(known, _)| known == hash);
        found.map(|(_, undo)| undo)
    }
}

impl Writer {
    /// Checks a block that is to be agreed on: every rule, but for the certificate that the
    /// agreement is about. The tree learns nothing of it: anybody could propose anything.
    pub(super) fn on_proposal(
        &mut self,
        block: &CheckedBlock,
        proposal: Proposal,
    ) -> Result<Result<Result<(), Refusal>, NotOnTip>, StoreError> {
        let (parent, tip) = (block.block().header.prev_block_hash, self.tip());
        if parent != tip {
            return Ok(Err(NotOnTip { parent, tip }));
        }
        let context = self.tree.context(&tip).expect("the tip has room for a child");
        let now = self.clock.unix_seconds();
        if let Err(error) = proposal::check(block, &context, &self.spec, proposal, now) {
            return Ok(Ok(Err(Refusal::from(&error))));
        }
        if self.proposals.contains(&block.hash()) {
            return Ok(Ok(Ok(())));
        }
        Ok(Ok(match self.check(block)? {
            Ok(undo) => {
                self.proposals.remember(block.hash(), undo);
                Ok(())
            }
            Err(refusal) => Err(refusal),
        }))
    }
}
