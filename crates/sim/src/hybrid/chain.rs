//! The chain of one node where work makes the blocks: what the chain service keeps and decides.

use std::sync::Arc;

use pentad_ledger::HeaderTree;
use pentad_ledger::spec::ChainSpec;
use pentad_pbft::{CommitCertificate, Sequence, Tip};
use pentad_primitives::encode::Decode as _;
use pentad_primitives::pow::{HeaderHasher, Target};
use pentad_primitives::{BlockHash, BlockHeader, BlockHeight, Hash256};

use super::Work;
use crate::node::{Answer, Question};

/// A record of the block log; durable before anybody hears of it, as in the chain service.
#[derive(Clone, Debug)]
enum Stored {
    Block(BlockHeader),
    Certificate(CommitCertificate),
}

/// What became of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Final,
    AlreadyFinal,
    /// Its block is not here yet.
    Awaited,
    /// Another block of that height is final, or it names another height than its block has.
    Refused,
}

/// A block's hash as the core has it.
#[must_use]
pub fn digest(hash: BlockHash) -> Hash256 {
    Hash256::from_bytes(hash.to_bytes())
}

/// Blocks without transactions: their headers say all. Fork choice is the ledger's own.
#[derive(Debug)]
pub struct Chain {
    spec: ChainSpec,
    tree: HeaderTree,
    /// Blocks that must stand on one before this node agrees to make it final.
    depth: u64,
    last_final: Option<CommitCertificate>,
    awaited: Option<CommitCertificate>,
    log: Vec<Stored>,
    /// Mutation: fork choice does not heed what is final.
    ignores_finality: bool,
}

impl Chain {
    #[must_use]
    pub fn new(spec: &ChainSpec, work: &Work) -> Self {
        let depth = if work.signs_at_any_depth { 0 } else { work.depth };
        Self::empty(spec, depth, work.ignores_finality)
    }

    fn empty(spec: &ChainSpec, depth: u64, ignores_finality: bool) -> Self {
        Self {
            spec: spec.clone(),
            tree: HeaderTree::new(spec),
            depth,
            last_final: None,
            awaited: None,
            log: Vec::new(),
            ignores_finality,
        }
    }

    #[must_use]
    pub fn tip(&self) -> Hash256 {
        digest(self.tree.tip())
    }

    /// The height of the main chain.
    #[must_use]
    pub fn height(&self) -> u64 {
        self.tree.tip_height().get().into()
    }

    /// Whether a node with this chain asks one with `other` for blocks: where there is more work,
    /// or more is final.
    #[must_use]
    pub fn is_behind(&self, other: &Self) -> bool {
        let work = |chain: &Self| chain.tree.chain_work(&chain.tree.tip());
        work(other) > work(self) || other.final_height() > self.final_height()
    }

    /// The height up to which all is final.
    #[must_use]
    pub fn final_height(&self) -> u64 {
        self.last_final.as_ref().map_or(0, |certificate| certificate.sequence.get())
    }

    /// The last final block.
    #[must_use]
    pub fn final_block(&self) -> Hash256 {
        let last_final = self.last_final.as_ref();
        last_final.map_or_else(|| digest(self.spec.genesis_hash()), |last| last.digest)
    }

    #[must_use]
    pub const fn last_certificate(&self) -> Option<&CommitCertificate> {
        self.last_final.as_ref()
    }

    /// The main chain's block of a height.
    #[must_use]
    pub fn block_at(&self, height: u64) -> Option<Hash256> {
        self.hash_at(height).map(digest)
    }

    fn hash_at(&self, height: u64) -> Option<BlockHash> {
        self.tree.hash_at(BlockHeight::new(u32::try_from(height).ok()?))
    }

    /// The block so far below the tip.
    #[must_use]
    pub fn block_below_tip(&self, depth: u64) -> Option<Hash256> {
        self.block_at(self.height().checked_sub(depth)?)
    }

    /// Heights that are deep enough and above `executed`.
    #[must_use]
    pub fn ripe_above(&self, executed: u64) -> u64 {
        self.height().saturating_sub(self.depth).saturating_sub(executed)
    }

    /// The header of the main chain's block of a height, if that is deep enough: GetCandidate.
    #[must_use]
    pub fn candidate(&self, height: u64) -> Option<BlockHeader> {
        let hash = self.hash_at(height)?;
        self.is_deep(height).then(|| self.tree.header(&hash))?
    }

    fn is_deep(&self, height: u64) -> bool {
        height + self.depth <= self.height()
    }

    /// What the core starts from.
    #[must_use]
    pub fn last_final(&self) -> Tip {
        let digest = self.final_block();
        let header = self.tree.header(&digest.into());
        let body = header.map(|header| Arc::from(header.to_array()));
        Tip {
            sequence: Sequence::new(self.final_height()),
            digest,
            certificate: self.last_final.clone(),
            body,
        }
    }

    /// A new block on the tip; `salt` tells it from others, `now` is in Unix seconds.
    ///
    /// # Panics
    /// At the end of heights, which no run sees.
    #[must_use]
    pub fn mine(&self, salt: Hash256, now: u32) -> BlockHeader {
        let context = self.tree.tip_context().expect("a run is short");
        let mut header = BlockHeader {
            version: 1,
            prev_block_hash: self.tree.tip(),
            merkle_root: salt.into(),
            time: now.max(context.min_time),
            bits: context.bits,
            nonce: 0,
        };
        let target = Target::from_compact(header.bits).expect("the spec's target");
        let found = HeaderHasher::new(&header).find(0..=u32::MAX, &target);
        header.nonce = found.expect("every second nonce will do");
        header
    }

    /// Takes in a block whose parent is here, and moves to the best chain; whether it is new.
    pub fn insert(&mut self, header: &BlockHeader, now: u32) -> bool {
        let is_new = self.tree.insert(header, now).is_ok_and(|inserted| inserted.is_new);
        if is_new {
            self.tree.body_known(&header.block_hash());
            self.log.push(Stored::Block(*header));
            self.move_to_best();
            if let Some(awaited) = self.awaited.take() {
                self.finalise(&awaited);
            }
        }
        is_new
    }

    fn move_to_best(&mut self) {
        let best = self.tree.best_candidate();
        self.tree.set_tip(&best).expect("a candidate is complete and keeps finality");
    }

    /// What the chain service says of a proposal: CheckCandidate, and the driver's look at the
    /// body.
    #[must_use]
    pub fn answer(&self, question: &Question) -> Answer {
        let refuse = |reason: &str| Answer::Verdict(Err(reason.to_owned()));
        let Ok(header) = BlockHeader::from_bytes(&question.body) else {
            return refuse("no header");
        };
        let (hash, parent) = (header.block_hash(), header.prev_block_hash);
        if digest(hash) != question.digest || digest(parent) != question.parent {
            return refuse("the body is not that block on that parent");
        }
        let Some(height) = self.tree.height(&hash).map(|height| u64::from(height.get())) else {
            // Of a quorum that prepared it, those who are not faulty have it.
            return if question.is_first { Answer::NotYet } else { Answer::Verdict(Ok(())) };
        };
        if self.tree.is_active(&hash) {
            // What a quorum has prepared was deep enough there.
            let may_be = !question.is_first || self.is_deep(height);
            return if may_be { Answer::Verdict(Ok(())) } else { Answer::NotYet };
        }
        if height <= self.final_height() {
            return refuse("another block of that height is final");
        }
        // On another branch: a quorum has it on its main chain, or it may come to be on this one.
        if question.is_first { Answer::NotYet } else { Answer::Verdict(Ok(())) }
    }

    /// Makes a block final whose certificate has been checked, and the main chain one that holds
    /// it, also where another has more work: FinaliseBlock.
    pub fn finalise(&mut self, certificate: &CommitCertificate) -> Outcome {
        let hash = BlockHash::from(certificate.digest);
        let sequence = certificate.sequence.get();
        let Some(height) = self.tree.height(&hash) else {
            if sequence <= self.final_height() {
                return Outcome::Refused;
            }
            let awaited = self.awaited.as_ref().map_or(0, |awaited| awaited.sequence.get());
            if awaited < sequence {
                self.awaited = Some(certificate.clone());
            }
            return Outcome::Awaited;
        };
        let is_active = self.tree.is_active(&hash);
        if u64::from(height.get()) != sequence || (sequence <= self.final_height() && !is_active) {
            return Outcome::Refused;
        }
        if sequence <= self.final_height() {
            return Outcome::AlreadyFinal;
        }
        if !is_active && self.tree.set_tip(&hash).is_err() {
            return Outcome::Refused;
        }
        if !self.ignores_finality && self.tree.finalise(&hash).is_err() {
            return Outcome::Refused;
        }
        self.last_final = Some(certificate.clone());
        self.log.push(Stored::Certificate(certificate.clone()));
        // What stands on it may have more work than the branch that was left.
        self.move_to_best();
        Outcome::Final
    }

    /// Comes back from the block log, as a process that was killed does.
    pub fn restart(&mut self) {
        let fresh = Self::empty(&self.spec, self.depth, self.ignores_finality);
        let log = std::mem::replace(self, fresh).log;
        for stored in log {
            match stored {
                Stored::Block(header) => {
                    self.insert(&header, header.time);
                }
                Stored::Certificate(certificate) => {
                    self.finalise(&certificate);
                }
            }
        }
    }

    /// Loses the newest certificate: what a disk that lies about fsync does. Only to show that the
    /// checkers see it.
    pub fn forget_certificate(&mut self) {
        let is_certificate = |stored: &Stored| matches!(stored, Stored::Certificate(_));
        if let Some(at) = self.log.iter().rposition(is_certificate) {
            self.log.remove(at);
        }
    }

    /// The lowest blocks of this main chain that `other` lacks, at most `max`.
    #[must_use]
    pub fn lacked_by(&self, other: &Self, max: u64) -> Vec<BlockHeader> {
        let mut from = self.height() + 1;
        while from > 1 && self.hash_at(from - 1).is_some_and(|hash| !other.tree.contains(&hash)) {
            from -= 1;
        }
        (from..from + max).map_while(|height| self.tree.header(&self.hash_at(height)?)).collect()
    }

    /// Another block of the same height, if one is here.
    #[must_use]
    pub fn rival(&self, of: Hash256) -> Option<BlockHeader> {
        let hash = BlockHash::from(of);
        let height = self.tree.height(&hash)?;
        self.log.iter().rev().find_map(|stored| match stored {
            Stored::Block(header) => {
                let other = header.block_hash();
                (other != hash && self.tree.height(&other) == Some(height)).then_some(*header)
            }
            Stored::Certificate(_) => None,
        })
    }

    /// The header of the tip.
    #[must_use]
    pub fn tip_header(&self) -> Option<BlockHeader> {
        self.tree.header(&self.tree.tip())
    }
}
