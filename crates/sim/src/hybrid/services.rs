//! What a node does where work makes the blocks: find them, pass them on, propose and check those
//! that are deep enough, make them final, catch up.

use std::sync::Arc;

use pentad_pbft::{CommitCertificate, Input, Sequence};
use pentad_primitives::{BlockHeader, sha256d};

use super::chain::digest;
use super::{Chain, GENESIS_TIME, Outcome};
use crate::claim::short;
use crate::network::NodeId;
use crate::node::{Answer, Node, Question};
use crate::queue::Millis;
use crate::world::{Event, World};

/// Chances to find a block in the mean time between two.
const TRIES_PER_BLOCK: u64 = 20;
/// Most blocks of one answer.
const PULL_BLOCKS_MAX: u64 = 64;
/// Longest time until consensus hears what the chain service has done.
const TELL_MS_MAX: u64 = 3;

impl Node {
    /// Unix seconds by this node's clock.
    fn seconds(&self, now: Millis) -> u32 {
        let seconds = i64::from(GENESIS_TIME) + self.clock(now) / 1000;
        u32::try_from(seconds).expect("clocks differ by minutes")
    }

    /// The last block that the core knows to be final.
    fn executed(&self) -> u64 {
        self.core.as_ref().map_or(0, |core| core.status().last_final.get())
    }
}

impl World {
    /// Lets one of the miners find a block on its tip, as often as their power says.
    pub(crate) fn mine(&mut self) {
        let Some(work) = &self.setup.work else { return };
        self.queue.schedule((work.block_ms / TRIES_PER_BLOCK).max(1), Event::Mine);
        let powers: u64 = self.nodes.iter().map(|node| node.hash_power).sum();
        if !self.rng.chance(1000 / TRIES_PER_BLOCK) {
            return;
        }
        let mut drawn = self.rng.below(powers);
        let miner = self.nodes.iter().position(|node| {
            let is_drawn = drawn < node.hash_power;
            drawn = drawn.saturating_sub(node.hash_power);
            is_drawn
        });
        if let Some(node) = miner.filter(|node| self.nodes[*node].is_up()) {
            self.find_block(node);
        }
    }

    /// `node` finds a block and sends it to everybody.
    pub fn find_block(&mut self, node: NodeId) {
        let salt = sha256d(&self.rng.next_u64().to_le_bytes());
        let now = self.nodes[node].seconds(self.queue.now());
        let Some(chain) = &self.nodes[node].chain else { return };
        let header = chain.mine(salt, now);
        self.take_block(node, &header);
        self.note_depth(node);
        for to in (0..self.nodes.len()).filter(|to| *to != node) {
            for after in self.network.arrivals(node, to, &mut self.rng) {
                let life = self.nodes[to].life;
                self.queue.schedule(after, Event::Mined { to, life, blocks: vec![header] });
            }
        }
    }

    /// Blocks came to `node`, parents first. What does not fit is dropped: its parents come from
    /// those whose chain it is.
    pub(crate) fn take_blocks(&mut self, node: NodeId, blocks: &[BlockHeader]) {
        for header in blocks {
            self.take_block(node, header);
        }
    }

    fn take_block(&mut self, node: NodeId, header: &BlockHeader) {
        let now = self.nodes[node].seconds(self.queue.now());
        let Some(chain) = &mut self.nodes[node].chain else { return };
        let (tip, final_height) = (chain.tip(), chain.final_height());
        if !chain.insert(header, now) {
            return;
        }
        if chain.final_height() > final_height {
            self.tell_final(node);
        }
        if self.nodes[node].chain.as_ref().is_some_and(|chain| chain.tip() != tip) {
            self.on_moved(node);
        }
    }

    /// The main chain moved.
    pub(crate) fn on_moved(&mut self, node: NodeId) {
        let Some(chain) = &self.nodes[node].chain else { return };
        let (height, tip) = (chain.height(), chain.tip());
        self.trace.line(self.queue.now(), node, || format!("tip {height} {}", short(tip)));
        self.watch_chain(node);
        self.tell_ripe(node);
        self.propose_ripe(node);
        self.ask_again(node);
    }

    /// Tells the core whether any block is deep enough to be made final.
    fn tell_ripe(&mut self, node: NodeId) {
        let it = &mut self.nodes[node];
        let Some(chain) = &it.chain else { return };
        let pending = chain.ripe_above(it.executed()) > 0;
        if it.told_pending != pending {
            it.told_pending = pending;
            self.feed(node, Input::Pending(pending));
        }
    }

    /// Answers a wish of the core, once the block of that height is deep enough and stands on the
    /// final one.
    pub(crate) fn propose_ripe(&mut self, node: NodeId) {
        let it = &mut self.nodes[node];
        let (Some((view, sequence, parent)), Some(chain)) = (it.wanted, &it.chain) else { return };
        let Some(header) = chain.candidate(sequence.get()) else { return };
        if digest(header.prev_block_hash) != parent {
            return;
        }
        it.wanted = None;
        let digest = digest(header.block_hash());
        let body = Arc::from(header.to_array());
        self.feed(node, Input::Proposal { view, sequence, digest, parent, body });
    }

    /// Answers a question of the core, or keeps it until the chain moves.
    pub(crate) fn check_ripe(&mut self, node: NodeId, question: Question) {
        let Question { view, sequence, digest, .. } = question;
        if sequence.get() <= self.nodes[node].executed() {
            return; // decided meanwhile
        }
        let Some(chain) = &self.nodes[node].chain else { return };
        match chain.answer(&question) {
            Answer::NotYet => self.nodes[node].parked.push(question),
            Answer::Verdict(verdict) => {
                self.feed(node, Input::Checked { view, sequence, digest, verdict });
            }
        }
    }

    /// A certificate came, by the own core or from another node.
    pub(crate) fn finalise(&mut self, node: NodeId, certificate: &CommitCertificate) {
        let it = &mut self.nodes[node];
        let Some(chain) = &mut it.chain else { return };
        if !it.keys.signed(certificate, &self.domain, &self.validators) {
            return;
        }
        let tip = chain.tip();
        let outcome = chain.finalise(certificate);
        let is_moved = chain.tip() != tip;
        self.trace.line(self.queue.now(), node, || {
            let CommitCertificate { sequence, digest, .. } = certificate;
            format!("certificate of {sequence} {}: {outcome:?}", short(*digest))
        });
        match outcome {
            Outcome::Final => self.tell_final(node),
            Outcome::Refused => self.watch_refusal(node, certificate),
            Outcome::AlreadyFinal | Outcome::Awaited => {}
        }
        if is_moved {
            self.on_moved(node);
        }
    }

    fn tell_final(&mut self, node: NodeId) {
        self.watch_final(node);
        let it = &self.nodes[node];
        let certificate = it.chain.as_ref().and_then(Chain::last_certificate).cloned();
        if let Some(certificate) = certificate {
            let (after, life) = (self.rng.between(0, TELL_MS_MAX), it.life);
            self.queue.schedule(after, Event::Finalised { node, life, certificate });
        }
    }

    /// Consensus hears that more is final.
    pub(crate) fn on_finalised(&mut self, node: NodeId, certificate: CommitCertificate) {
        let (sequence, digest) = (certificate.sequence, certificate.digest);
        if sequence.get() <= self.nodes[node].executed() {
            return;
        }
        let it = &mut self.nodes[node];
        it.wanted = it.wanted.filter(|(_, wanted, _)| *wanted > sequence);
        it.parked.retain(|question| question.sequence > sequence);
        self.feed(node, Input::Executed { sequence, digest, certificate });
        self.ask_for_root(node, sequence);
        self.tell_ripe(node);
        self.propose_ripe(node);
        self.ask_again(node);
    }

    /// Asks for the root at the last checkpoint: the hash of its block stands for the state.
    fn ask_for_root(&mut self, node: NodeId, executed: Sequence) {
        let at = executed.get() - executed.get() % self.setup.checkpoint_interval;
        let it = &mut self.nodes[node];
        if at <= it.root_asked {
            return;
        }
        it.root_asked = at;
        let Some(digest) = it.chain.as_ref().and_then(|chain| chain.block_at(at)) else { return };
        let life = it.life;
        let after = self.rng.between(0, TELL_MS_MAX);
        let sequence = Sequence::new(at);
        self.queue.schedule(after, Event::Root { node, life, sequence, digest, root: digest });
    }

    /// Takes blocks and the last certificate from another node, as the peer service does.
    pub(crate) fn pull_chain(&mut self, node: NodeId, other: NodeId) {
        let (Some(own), Some(theirs)) = (&self.nodes[node].chain, &self.nodes[other].chain) else {
            return;
        };
        // A faulty node keeps to itself what it knows.
        if !own.is_behind(theirs) || !self.nodes[other].is_honest() {
            return;
        }
        let blocks = theirs.lacked_by(own, PULL_BLOCKS_MAX);
        let is_behind = theirs.final_height() > own.final_height();
        let certificate = theirs.last_certificate().filter(|_| is_behind).cloned();
        let life = self.nodes[node].life;
        if !blocks.is_empty() {
            let delay = self.rng.between(2, 20);
            self.queue.schedule(delay, Event::Mined { to: node, life, blocks });
        }
        // It travels by itself, and may come before its block.
        if let Some(certificate) = certificate {
            let delay = self.rng.between(2, 20);
            self.queue.schedule(delay, Event::Certificate { to: node, life, certificate });
        }
    }
}
