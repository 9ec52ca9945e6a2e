//! One replica with its disk, ledger and mempool: what the consensus and chain services are.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use pentad_pbft::{
    HaltReason, Input, Output, Record, Recovered, Replica, ReplicaId, Sequence, Timer, Tip, View,
};
use pentad_primitives::Hash256;

use crate::adversary::Adversary;
use crate::disk::Disk;
use crate::hybrid::Chain;
use crate::keys::SimulatedKeys;
use crate::ledger::{BLOCK_TRANSACTIONS_MAX, Block, Ledger, Terms, Transaction, digest_of};
use crate::queue::Millis;

/// Blocks with room that may leave a valid transaction out before the primary is suspected: more
/// than the largest window used here, since those in flight were assembled before it came.
const PASSED_OVER_MAX: u32 = 8;
/// Inputs that wait while a replica is paused or syncs; more are lost, as from a full queue.
const INBOX_MAX: usize = 50_000;

/// A question of the core about a body, until the ledger can answer it.
#[derive(Clone, Debug)]
pub struct Question {
    pub view: View,
    pub sequence: Sequence,
    pub digest: Hash256,
    pub parent: Hash256,
    pub body: Arc<[u8]>,
    pub proposer: Option<ReplicaId>,
    pub is_first: bool,
}

/// What the ledger says to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Verdict(Result<(), String>),
    /// The parent is not known yet.
    NotYet,
}

#[derive(Debug)]
pub struct Node {
    pub replica: ReplicaId,
    pub keys: SimulatedKeys,
    /// None while the process is down.
    pub core: Option<Replica<SimulatedKeys>>,
    /// Counts the starts: what was scheduled for an earlier life never happens.
    pub life: u64,
    pub disk: Disk<Record>,
    pub ledger: Ledger,
    /// Where work makes the blocks; the ledger stays empty there.
    pub chain: Option<Chain>,
    /// Its share of the work, among those of all nodes.
    pub hash_power: u64,
    pub mempool: BTreeMap<Transaction, u32>,
    pub adversary: Option<Box<dyn Adversary>>,
    /// Answers that its adversary may still give before it next plots: two adversaries that
    /// answer each other must not talk for ever.
    pub answers_left: usize,
    pub inbox: VecDeque<Input>,
    pub outputs: VecDeque<Output>,
    pub is_syncing: bool,
    pub is_paused: bool,
    /// Copies of messages that still leave before the process dies.
    pub dies_after_copies: Option<usize>,
    pub timers: BTreeMap<Timer, u64>,
    /// Bodies of blocks that are not final yet.
    pub bodies: BTreeMap<Hash256, Arc<[u8]>>,
    /// The proposal that the core asks for.
    pub wanted: Option<(View, Sequence, Hash256)>,
    pub parked: Vec<Question>,
    pub told_pending: bool,
    /// The last checkpoint whose root was asked for, where work makes the blocks.
    pub root_asked: u64,
    pub suspected: Option<View>,
    /// Why the core stopped for good.
    pub halted: Option<HaltReason>,
    pub clock_offset_ms: i64,
    /// How fast its clock runs, in thousandths.
    pub clock_rate: u64,
}

impl Node {
    #[must_use]
    pub fn new(replica: ReplicaId, keys: SimulatedKeys) -> Self {
        Self {
            replica,
            keys,
            core: None,
            life: 0,
            disk: Disk::default(),
            ledger: Ledger::default(),
            chain: None,
            hash_power: 1,
            mempool: BTreeMap::new(),
            adversary: None,
            answers_left: 0,
            inbox: VecDeque::new(),
            outputs: VecDeque::new(),
            is_syncing: false,
            is_paused: false,
            dies_after_copies: None,
            timers: BTreeMap::new(),
            bodies: BTreeMap::new(),
            wanted: None,
            parked: Vec::new(),
            told_pending: false,
            root_asked: 0,
            suspected: None,
            halted: None,
            clock_offset_ms: 0,
            clock_rate: 1000,
        }
    }

    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.core.is_some()
    }

    #[must_use]
    pub fn is_honest(&self) -> bool {
        self.adversary.is_none()
    }

    #[must_use]
    pub const fn is_busy(&self) -> bool {
        self.is_syncing || self.is_paused
    }

    pub fn push_inbox(&mut self, input: Input) {
        if self.inbox.len() < INBOX_MAX {
            self.inbox.push_back(input);
        }
    }

    #[must_use]
    pub fn clock(&self, now: Millis) -> i64 {
        i64::try_from(now).expect("a run is short") + self.clock_offset_ms
    }

    /// The height up to which all is final here.
    #[must_use]
    pub fn final_height(&self) -> u64 {
        self.chain.as_ref().map_or_else(|| self.ledger.height(), Chain::final_height)
    }

    /// What a core starts from: the safety log and the end of the chain.
    #[must_use]
    pub fn recovered(&self, checkpoint_interval: u64) -> Recovered {
        let height = self.final_height();
        let at = height - height % checkpoint_interval;
        if let Some(chain) = &self.chain {
            // The hash of a block of work stands for the state after it.
            let block = chain.block_at(at).filter(|_| at > 0);
            return Recovered {
                records: self.disk.records().to_vec(),
                tip: chain.last_final(),
                checkpoint: block.map(|hash| (Sequence::new(at), hash, hash)),
            };
        }
        let last = self.ledger.block(height);
        Recovered {
            records: self.disk.records().to_vec(),
            tip: Tip {
                sequence: Sequence::new(height),
                digest: self.ledger.tip(),
                certificate: last.map(|last| last.certificate.clone()),
                body: last.map(|last| Arc::clone(&last.body)),
            },
            checkpoint: self
                .ledger
                .block(at)
                .map(|block| (Sequence::new(at), block.digest, block.root)),
        }
    }

    /// Everything but the disk and the ledger is gone.
    pub fn forget_memory(&mut self) {
        self.core = None;
        self.life += 1;
        self.mempool.clear();
        self.inbox.clear();
        self.outputs.clear();
        self.timers.clear();
        self.bodies.clear();
        self.wanted = None;
        self.parked.clear();
        self.is_syncing = false;
        self.is_paused = false;
        self.dies_after_copies = None;
        self.told_pending = false;
        self.suspected = None;
    }

    /// The blocks between the tip and `parent`, `parent` included; none if one is unknown.
    fn ancestors(&self, parent: Hash256) -> Option<Vec<Block>> {
        let mut found = Vec::new();
        let mut next = parent;
        while next != self.ledger.tip() {
            let block = Block::decode(self.bodies.get(&next)?)?;
            if block.height <= self.ledger.height() {
                return None;
            }
            next = block.parent;
            found.push(block);
        }
        found.reverse();
        Some(found)
    }

    /// A block on `parent`, or none while there is nothing to put in it or the parent is unknown.
    #[must_use]
    pub fn assemble(&self, sequence: Sequence, parent: Hash256, now: Millis) -> Option<Block> {
        let ancestors = self.ancestors(parent)?;
        let is_spent = |transaction: &Transaction| {
            self.ledger.includes(*transaction)
                || ancestors.iter().any(|block| block.transactions.contains(transaction))
        };
        let censors = |transaction: &Transaction| {
            self.adversary.as_ref().is_some_and(|adversary| adversary.censors(*transaction))
        };
        let transactions: Vec<Transaction> = self
            .mempool
            .keys()
            .filter(|transaction| !is_spent(transaction) && !censors(transaction))
            .take(BLOCK_TRANSACTIONS_MAX)
            .copied()
            .collect();
        if transactions.is_empty() {
            return None;
        }
        let parent_time = ancestors.last().map_or(self.ledger.tip_time_ms(), |last| last.time_ms);
        Some(Block {
            parent,
            height: sequence.get(),
            proposer: self.replica.get(),
            time_ms: self.clock(now).max(parent_time),
            transactions,
        })
    }

    /// Checks a body as the chain service does.
    #[must_use]
    pub fn answer(&self, question: &Question, replicas: u16, now: Millis) -> Answer {
        let refuse = |reason: &str| Answer::Verdict(Err(reason.to_owned()));
        if digest_of(&question.body) != question.digest {
            return refuse("the digest is not the body's");
        }
        let Some(block) = Block::decode(&question.body) else {
            return refuse("not a block");
        };
        if block.parent != question.parent {
            return refuse("another parent");
        }
        if question.sequence.get() <= self.ledger.height() {
            let is_final = self
                .ledger
                .block(question.sequence.get())
                .is_some_and(|block| block.digest == question.digest);
            return Answer::Verdict(if is_final { Ok(()) } else { Err("another is final".into()) });
        }
        let Some(ancestors) = self.ancestors(question.parent) else {
            return Answer::NotYet;
        };
        let terms = Terms {
            proposer: question.proposer.map(|id| id.get()),
            now_ms: question.is_first.then(|| self.clock(now)),
            replicas,
        };
        Answer::Verdict(self.ledger.validate(&ancestors, &block, terms).map_err(str::to_owned))
    }

    /// After a block became final: forgets what it settles, counts what it passed over.
    pub fn settle(&mut self, block: &Block) {
        let height = self.ledger.height();
        let has_room = block.transactions.len() < BLOCK_TRANSACTIONS_MAX;
        self.mempool.retain(|transaction, _| !block.transactions.contains(transaction));
        if has_room {
            self.mempool.values_mut().for_each(|passed_over| *passed_over += 1);
        }
        self.bodies.retain(|_, body| Block::decode(body).is_some_and(|b| b.height > height));
        self.wanted = self.wanted.filter(|(_, sequence, _)| sequence.get() > height);
    }

    /// Whether a transaction stayed out of blocks that had room for it, in the present view.
    pub fn sees_censorship(&mut self, view: View) -> bool {
        if self.suspected == Some(view)
            || self.mempool.values().all(|passed_over| *passed_over < PASSED_OVER_MAX)
        {
            return false;
        }
        self.suspected = Some(view);
        self.mempool.values_mut().for_each(|passed_over| *passed_over = 0);
        true
    }
}
