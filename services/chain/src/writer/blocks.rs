//! Accepting blocks and moving the tip.

use std::time::{Instant, SystemTime};

use pentad_ledger::connect::{ConnectError, connect};
use pentad_ledger::header_tree::{BlockStatus, InsertError};
use pentad_ledger::mempool::Updated;
use pentad_ledger::verify::{CheckedBlock, Fault};
use pentad_ledger::{BlockUndo, HeaderTree, Mempool};
use pentad_primitives::{BlockHash, BlockHeight};
use pentad_store::fail_point::{self, Point};
use pentad_store::{Snapshot, StoreError};

use super::{BlockOutcome, Group, Origin, Utxos, Writer, answer, signatures};
use crate::finality::Certified;
use crate::refusal::Refusal;
use crate::view::{MempoolEvent, TipView};
use crate::writer::transactions::removal_reason;

impl Writer {
    /// Checks a block in full and connects it, or keeps it off the main chain.
    pub(super) fn accept(
        &mut self,
        block: &CheckedBlock,
        certificate: Option<&Certified>,
        origin: Origin,
    ) -> Result<Result<BlockOutcome, Refusal>, StoreError> {
        let hash = block.hash();
        let header = &block.block().header;
        if let Some(BlockStatus::Active | BlockStatus::Stored) = self.tree.status(&hash) {
            self.finalise_at_hand(certificate)?;
            return Ok(Ok(BlockOutcome::AlreadyKnown));
        }
        if let Err(refusal) = self.check_height(std::slice::from_ref(header), certificate) {
            return Ok(Err(refusal));
        }
        match self.tree.insert(header, self.clock.unix_seconds()) {
            Ok(_) => {}
            Err(InsertError::UnknownParent { .. }) => return Ok(Ok(BlockOutcome::Orphan)),
            Err(error) => {
                if certificate.is_some() {
                    tracing::error!(
                        block = %hash, %error,
                        "a certified block cannot be: more validators are faulty than the network \
                         bears, or this node runs other rules"
                    );
                }
                return Ok(Err(Refusal::from(&error)));
            }
        }
        if origin == Origin::Peer && !self.tree.wants_body(&hash) {
            let message = "the block is on a branch with less work than the main chain";
            return Ok(Err(Refusal::new("UNWANTED_BODY", Fault::Premature, message)));
        }
        // Where certificates also come by themselves, one is stored when it makes its block final.
        let own = certificate.filter(|_| self.published.finality.is_instant());
        if header.prev_block_hash == self.tip() {
            // Nothing of an invalid block on the tip reaches the disk.
            if let Err(refusal) = self.check_and_connect(block, own)? {
                return Ok(Err(refusal));
            }
        } else {
            self.keep(block, own)?;
        }
        let refused = self.move_to_best()?;
        self.finalise_at_hand(certificate)?;
        Ok(match refused.into_iter().find(|(invalid, _)| self.is_on_branch(invalid, &hash)) {
            Some((_, refusal)) => Err(refusal),
            None if self.tree.is_active(&hash) => Ok(BlockOutcome::Connected),
            None => Ok(BlockOutcome::SideBranch),
        })
    }

    /// The block that everything in the open group is on top of.
    pub(super) fn tip(&self) -> BlockHash {
        self.store.tip().expect("genesis is connected at the start").hash
    }

    pub(super) fn is_on_branch(&self, ancestor: &BlockHash, hash: &BlockHash) -> bool {
        let height = self.tree.height(ancestor);
        height.and_then(|height| self.tree.ancestor(hash, height)) == Some(*ancestor)
    }

    /// Stores a block whose header is in the tree, with its certificate, in one record.
    fn keep(
        &mut self,
        block: &CheckedBlock,
        certificate: Option<&Certified>,
    ) -> Result<(), StoreError> {
        let hash = block.hash();
        let height = self.tree.height(&hash).expect("the header was inserted");
        let work = self.tree.chain_work(&hash).expect("the header was inserted");
        let certificate = certificate.map(|certificate| certificate.bytes().as_ref());
        self.store.append_block(block.block(), height, work, certificate)?;
        self.tree.body_known(&hash);
        Ok(())
    }

    /// Moves the tip to the block of most work. Blocks that turn out to be invalid on the way are
    /// returned with the rule they break.
    pub(super) fn move_to_best(&mut self) -> Result<Vec<(BlockHash, Refusal)>, StoreError> {
        let mut refused = Vec::new();
        loop {
            let (tip, best) = (self.tip(), self.tree.best_candidate());
            if tip == best {
                break;
            }
            refused.extend(self.move_to(&best)?);
        }
        self.settle_tip();
        Ok(refused)
    }

    /// Moves the tip to a block that is here, and all before it. Stops at one that turns out to be
    /// invalid, and returns it with the rule it breaks.
    pub(super) fn move_to(
        &mut self,
        target: &BlockHash,
    ) -> Result<Option<(BlockHash, Refusal)>, StoreError> {
        let tip = self.tip();
        let path = self.tree.path(&tip, target).expect("both are in the tree");
        if !path.undo.is_empty() {
            tracing::info!(from = %tip, to = %target, fork = %path.fork, "reorganising");
        }
        for hash in &path.undo {
            self.disconnect(hash)?;
            self.bound_group()?;
        }
        for hash in &path.apply {
            let block = self.stored(hash)?;
            // It is stored, and what it came with beside it.
            if let Err(refusal) = self.check_and_connect(&block, None)? {
                return Ok(Some((*hash, refusal)));
            }
            self.bound_group()?;
        }
        Ok(None)
    }

    /// Ends the group on a long way to a better tip, as soon as that is progress for readers. They
    /// see a step back only where the way is too long to be kept in memory.
    pub(super) fn bound_group(&mut self) -> Result<(), StoreError> {
        let is_progress =
            || self.tree.chain_work(&self.tip()) > Some(self.published.tip().chain_work);
        if self.store.must_commit() || (self.store.wants_commit() && is_progress()) {
            self.settle_tip();
            self.finish_group()?;
        }
        Ok(())
    }

    pub(super) fn settle_tip(&mut self) {
        let tip = self.tip();
        self.tree.set_tip(&tip).expect("a connected block can be the tip");
        if self.published.finality.is_instant() {
            self.tree.finalise(&tip).expect("the tip is connected, above what is final");
        }
    }

    /// Puts a block on the tip. An invalid one is remembered and leaves the tip as it is.
    fn check_and_connect(
        &mut self,
        block: &CheckedBlock,
        certificate: Option<&Certified>,
    ) -> Result<Result<(), Refusal>, StoreError> {
        let hash = block.hash();
        let known = match self.proposals.take(&hash) {
            Some(undo) => {
                self.metrics.blocks_prechecked.inc();
                Some(undo)
            }
            None => self.known_undo(&hash)?,
        };
        let undo = match known {
            // Its presence says that the block has been on this parent, or checked on it, valid.
            Some(undo) => undo,
            None => match self.check(block)? {
                Ok(undo) => undo,
                Err(refusal) => {
                    self.tree.mark_invalid(&hash);
                    if self.tree_has_body(&hash) {
                        self.store.mark_invalid(&hash)?;
                    }
                    return Ok(Err(refusal));
                }
            },
        };
        self.keep(block, certificate)?;
        self.put_on_tip(block, &undo)?;
        Ok(Ok(()))
    }

    /// Connects a stored block that is valid.
    pub(super) fn put_on_tip(
        &mut self,
        block: &CheckedBlock,
        undo: &BlockUndo,
    ) -> Result<(), StoreError> {
        let began = SystemTime::now();
        self.store.connect(block.block(), block.txids(), &undo.spent)?;
        self.group.written = Some((began, SystemTime::now()));
        self.group.blocks.insert(block.hash(), block.clone());
        Ok(())
    }

    fn tree_has_body(&self, hash: &BlockHash) -> bool {
        self.store.block_entry(hash).is_ok()
    }

    fn known_undo(&self, hash: &BlockHash) -> Result<Option<BlockUndo>, StoreError> {
        match self.store.undo(hash) {
            Ok(spent) => Ok(spent.map(|spent| BlockUndo { spent })),
            Err(StoreError::UnknownBlock(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Every rule that a block on the tip must keep.
    pub(super) fn check(
        &self,
        block: &CheckedBlock,
    ) -> Result<Result<BlockUndo, Refusal>, StoreError> {
        let undo = match self.check_but_signatures(block)? {
            Ok(undo) => undo,
            Err(refusal) => return Ok(Err(refusal)),
        };
        match signatures::verify_block(block, &undo, &self.published.signatures) {
            Ok(()) => Ok(Ok(undo)),
            Err(error) => Ok(Err(Refusal::from(&error))),
        }
    }

    pub(super) fn check_but_signatures(
        &self,
        block: &CheckedBlock,
    ) -> Result<Result<BlockUndo, Refusal>, StoreError> {
        let context = self.tree.context(&self.tip()).expect("the tip has room for a child");
        match connect(block, &context, &self.spec, &Utxos(&self.store)) {
            Ok(connected) => Ok(Ok(connected.undo)),
            Err(ConnectError::Rule(error)) => Ok(Err(Refusal::from(&error))),
            Err(ConnectError::View(error)) => Err(error.into()),
        }
    }

    pub(super) fn disconnect(&mut self, hash: &BlockHash) -> Result<(), StoreError> {
        let block = self.stored(hash)?;
        let spent = self.store.undo(hash)?.ok_or(StoreError::UnknownBlock(*hash))?;
        self.store.disconnect(block.block(), block.txids(), &spent)?;
        self.group.blocks.insert(*hash, block);
        Ok(())
    }

    fn stored(&self, hash: &BlockHash) -> Result<CheckedBlock, StoreError> {
        match self.group.blocks.get(hash) {
            Some(block) => Ok(block.clone()),
            None => Ok(CheckedBlock::assume_valid(self.store.block(hash)?)),
        }
    }

    /// Makes the group durable, shows it to readers, brings the mempool up to the new tip, then
    /// answers.
    pub(super) fn finish_group(&mut self) -> Result<(), StoreError> {
        if self.group.answers.is_empty() && self.group.blocks.is_empty() {
            return Ok(());
        }
        self.end_group()
    }

    /// As [`finish_group`](Self::finish_group), also where all that changed is what is final.
    pub(super) fn end_group(&mut self) -> Result<(), StoreError> {
        let (started, began) = (Instant::now(), SystemTime::now());
        let snapshot = self.store.commit()?;
        let trace = self.group.traced.iter().find_map(|traced| traced.trace().example());
        self.metrics.commit_seconds.observe(started.elapsed(), trace);
        for traced in &self.group.traced {
            traced.durable(began);
            self.published.traces.on_block(traced.hash(), traced.trace());
        }
        fail_point::pass(Point::TipPublish);
        let tip = self.tip();
        let before = self.published.tip().hash;
        if tip != before {
            self.publish(&before, &tip, snapshot)?;
        } else {
            // Readers need the new layers even so: the ones they hold may go down next.
            let view = tip_view(&self.tree, &tip, snapshot);
            self.published.change(|_| ((), Some(view), Vec::new()));
        }
        fail_point::pass(Point::TipAnswer);
        for (reply, outcome) in std::mem::take(&mut self.group.answers) {
            answer(reply, Ok(outcome));
        }
        self.group = Group::default();
        self.store.tidy()
    }

    fn publish(
        &mut self,
        before: &BlockHash,
        tip: &BlockHash,
        snapshot: Snapshot,
    ) -> Result<(), StoreError> {
        let path = self.tree.path(before, tip).expect("both are in the tree");
        let stored = |hash| self.stored(hash);
        let undone = path.undo.iter().rev().map(stored).collect::<Result<Vec<_>, _>>()?;
        let applied = path.apply.iter().map(stored).collect::<Result<Vec<_>, _>>()?;
        let context = self.tree.tip_context();
        let now = self.clock.unix_seconds();
        let view = tip_view(&self.tree, tip, snapshot);
        let height = view.height;
        let utxos = Utxos(&self.store);
        let (count, has_orphans, gone) = self.published.change(|mempool| {
            let Some(context) = &context else {
                return (Ok((0, false, Vec::new())), Some(view), Vec::new());
            };
            match mempool.update(&undone, &applied, &utxos, context, now) {
                Ok(mut updated) => {
                    let gone = std::mem::take(&mut updated.gone);
                    let found = (mempool.len(), mempool.orphans() > 0, gone);
                    (Ok(found), Some(view), events(mempool, updated))
                }
                Err(error) => (Err(error), None, Vec::new()),
            }
        })?;
        self.group.gone = gone;
        self.metrics.on_tip(height, undone.len(), count);
        tracing::info!(
            %height, %tip, undone = undone.len(), applied = applied.len(), mempool = count,
            "new tip"
        );
        if has_orphans {
            self.adopt(applied.iter().flat_map(CheckedBlock::txids).copied().collect())?;
        }
        Ok(())
    }
}

fn events(mempool: &Mempool, updated: Updated) -> Vec<MempoolEvent> {
    let removed = updated
        .removed
        .into_iter()
        .map(|(txid, removal)| MempoolEvent::Removed(txid, removal_reason(removal)));
    let returned =
        updated.returned.iter().filter_map(|txid| mempool.get(txid).map(MempoolEvent::added));
    removed.chain(returned).collect()
}

/// The view of a tip of the tree.
pub(super) fn tip_view(tree: &HeaderTree, tip: &BlockHash, snapshot: Snapshot) -> TipView {
    TipView {
        hash: *tip,
        height: tree.height(tip).unwrap_or(BlockHeight::GENESIS),
        header: tree.header(tip).expect("the tip is in the tree"),
        chain_work: tree.chain_work(tip).expect("the tip is in the tree"),
        median_time_past: tree.median_time_past(tip).expect("the tip is in the tree"),
        final_height: tree.final_height(),
        next: tree.context(tip),
        snapshot,
    }
}
