//! What the chain and peer services do in a node: assemble, check, connect, pass on, catch up.

use std::sync::Arc;

use pentad_pbft::{CommitCertificate, Input};

use crate::checker::Violation;
use crate::ledger::{Block, FinalBlock, Transaction, digest_of};
use crate::network::NodeId;
use crate::node::{Answer, Question};
use crate::world::{Event, World};

/// How often a node asks another for blocks and transactions that it lacks.
const PULL_MS: u64 = 700;
/// Longest time in which a node finds the root of its state, while it goes on.
const ROOT_MS_MAX: u64 = 400;
/// Most blocks of one answer.
const PULL_BLOCKS_MAX: u64 = 16;

impl World {
    /// Gives the network `count` new transactions, each first to one honest node that passes it
    /// on.
    pub fn submit(&mut self, count: u64) {
        for _ in 0..count {
            let transaction = self.submitted.len() as u64 + 1;
            self.submitted.push(transaction);
            for to in 0..self.nodes.len() {
                let after = self.rng.between(0, 5);
                self.queue.schedule(after, Event::Transaction { to, transaction });
            }
        }
    }

    /// Enough transactions for `blocks` blocks, however full they are made.
    pub fn submit_for(&mut self, blocks: u64) {
        self.submit(blocks * crate::ledger::BLOCK_TRANSACTIONS_MAX as u64);
    }

    /// Transactions that are in no final block.
    #[must_use]
    pub fn unconfirmed(&self) -> usize {
        let chain = self.checker.chain();
        self.submitted.iter().filter(|transaction| !chain.includes(**transaction)).count()
    }

    pub(crate) fn learn(&mut self, node: NodeId, transaction: Transaction) {
        let it = &mut self.nodes[node];
        if !it.is_up() || it.ledger.includes(transaction) {
            return;
        }
        it.mempool.entry(transaction).or_insert(0);
        self.tell_pending(node);
        self.assemble(node);
    }

    fn tell_pending(&mut self, node: NodeId) {
        let pending = !self.nodes[node].mempool.is_empty();
        if self.nodes[node].told_pending != pending {
            self.nodes[node].told_pending = pending;
            self.feed(node, Input::Pending(pending));
        }
    }

    /// Answers a wish of the core for a proposal, once there is something to propose.
    pub(crate) fn assemble(&mut self, node: NodeId) {
        if self.setup.work.is_some() {
            return self.propose_ripe(node);
        }
        let now = self.queue.now();
        let it = &mut self.nodes[node];
        let Some((view, sequence, parent)) = it.wanted else {
            return;
        };
        let Some(block) = it.assemble(sequence, parent, now) else {
            return;
        };
        let body = block.encode();
        let digest = digest_of(&body);
        it.wanted = None;
        it.bodies.insert(digest, Arc::clone(&body));
        self.feed(node, Input::Proposal { view, sequence, digest, parent, body });
    }

    /// Answers a question of the core about a body, or keeps it until the parent is known.
    pub(crate) fn answer(&mut self, node: NodeId, question: Question) {
        if self.setup.work.is_some() {
            return self.check_ripe(node, question);
        }
        let replicas = self.validators.quorum().replicas();
        let verdict = match self.nodes[node].answer(&question, replicas, self.queue.now()) {
            Answer::NotYet => return self.nodes[node].parked.push(question),
            Answer::Verdict(verdict) => verdict,
        };
        if verdict.is_ok() {
            let body = Arc::clone(&question.body);
            self.nodes[node].bodies.insert(question.digest, body);
        }
        let Question { view, sequence, digest, .. } = question;
        self.feed(node, Input::Checked { view, sequence, digest, verdict });
        self.ask_again(node);
    }

    pub(crate) fn ask_again(&mut self, node: NodeId) {
        for question in std::mem::take(&mut self.nodes[node].parked) {
            self.answer(node, question);
        }
    }

    /// The core says that a block is certified.
    pub(crate) fn execute(
        &mut self,
        node: NodeId,
        certificate: CommitCertificate,
        body: &Arc<[u8]>,
    ) {
        if self.setup.work.is_some() {
            self.watch_certificate(node, &certificate, body);
            return self.finalise(node, &certificate);
        }
        let height = self.nodes[node].ledger.height();
        if certificate.sequence.get() <= height {
            return; // the peer service brought it first
        }
        if certificate.sequence.get() > height + 1 {
            let reason = format!("executed above a gap over {height}");
            let height = certificate.sequence.get();
            self.checker.report(Violation::InvalidBlock { node, height, reason });
            return;
        }
        self.connect(node, certificate, body);
    }

    /// A block from another node's chain, as the peer service brings it.
    pub(crate) fn import(&mut self, node: NodeId, block: &FinalBlock) {
        let it = &self.nodes[node];
        let height = it.ledger.height() + 1;
        let is_next = block.certificate.sequence.get() == height
            && Block::decode(&block.body).is_some_and(|body| body.parent == it.ledger.tip())
            && it.keys.proves(
                &block.certificate,
                height,
                &block.body,
                &self.domain,
                &self.validators,
            );
        if is_next {
            self.connect(node, block.certificate.clone(), &block.body);
        }
    }

    fn connect(&mut self, node: NodeId, certificate: CommitCertificate, body: &Arc<[u8]>) {
        let sequence = certificate.sequence;
        let digest = digest_of(body);
        let it = &mut self.nodes[node];
        if it.is_honest() {
            self.checker.on_final(node, sequence.get(), body, &certificate);
        }
        let Some(block) = Block::decode(body) else {
            return;
        };
        it.ledger.append(&block, Arc::clone(body), certificate.clone());
        it.settle(&block);
        let is_checkpoint = sequence.get().is_multiple_of(self.setup.checkpoint_interval);
        let root = it.ledger.root();
        self.trace.line(self.queue.now(), node, || format!("final {sequence} {digest}"));
        if is_checkpoint {
            let (after, life) = (self.rng.between(0, ROOT_MS_MAX), self.nodes[node].life);
            let event = Event::Root { node, life, sequence, digest, root };
            self.queue.schedule(after, event);
        }
        self.feed(node, Input::Executed { sequence, digest, certificate });
        self.tell_pending(node);
        self.ask_again(node);
        self.assemble(node);
        let Some(view) = self.nodes[node].core.as_ref().map(|core| core.status().view) else {
            return;
        };
        if self.nodes[node].sees_censorship(view) {
            self.feed(node, Input::Suspect { view });
        }
    }

    /// Takes blocks and transactions from a random node, as the peer service does all the time.
    pub(crate) fn pull_from_peer(&mut self, node: NodeId) {
        let after = self.rng.between(PULL_MS / 2, PULL_MS);
        self.queue.schedule(after, Event::PullFromPeer { node });
        let other = self.rng.index(self.nodes.len());
        let is_reachable = self.network.connects(node, other) && self.network.connects(other, node);
        if other == node || !is_reachable || !self.nodes[node].is_up() || !self.nodes[other].is_up()
        {
            return;
        }
        if self.setup.work.is_some() {
            return self.pull_chain(node, other);
        }
        let from = self.height(node) + 1;
        let blocks: Vec<FinalBlock> = (from..from + PULL_BLOCKS_MAX)
            .map_while(|height| self.nodes[other].ledger.block(height).cloned())
            .collect();
        let delay = self.rng.between(2, 20);
        let life = self.nodes[node].life;
        if !blocks.is_empty() {
            self.queue.schedule(delay, Event::Blocks { to: node, life, blocks });
        }
        if self.nodes[other].is_honest() {
            for transaction in self.nodes[other].mempool.keys() {
                let event = Event::Transaction { to: node, transaction: *transaction };
                self.queue.schedule(delay, event);
            }
        }
    }
}
