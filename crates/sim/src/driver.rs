//! What the consensus service does around the core: it executes outputs in order, and lets no
//! message leave before the records it rests on are durable.

use std::sync::Arc;

use pentad_pbft::{Input, Message, Output, Recipient, Replica};
use pentad_primitives::encode::Decode as _;
use pentad_primitives::{BlockHeader, Hash256};

use crate::adversary::Parcel;
use crate::checker::Violation;
use crate::claim;
use crate::hybrid;
use crate::ledger::{Block, digest_of};
use crate::network::NodeId;
use crate::node::Question;
use crate::world::{Event, World};

/// How long the chain service takes to check, assemble or connect a block.
const LEDGER_MS: u64 = 2;

/// Where a process dies around a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    BeforeSync,
    AfterSync,
    AfterSomeCopies,
}

impl World {
    /// Starts the process of `node`, on what its disk holds.
    pub fn start(&mut self, node: NodeId) {
        let config = self.config(node);
        let it = &mut self.nodes[node];
        it.life += 1;
        if let Some(chain) = &mut it.chain {
            chain.restart();
        }
        if it.is_honest() {
            self.checker.on_restart(node, it.final_height());
        }
        let recovered = it.recovered(config.checkpoint_interval);
        let keys = it.keys.clone();
        let (core, outputs) = Replica::new(config, keys, recovered);
        it.core = Some(core);
        it.outputs.extend(outputs);
        let height = it.final_height();
        it.root_asked = height - height % self.setup.checkpoint_interval;
        self.trace.line(self.queue.now(), node, || format!("starts at height {height}"));
        self.pump(node);
        for transaction in self.submitted.clone() {
            self.learn(node, transaction);
        }
        self.on_moved(node);
    }

    /// Gives the core an input, or keeps it while the replica is busy.
    pub(crate) fn feed(&mut self, node: NodeId, input: Input) {
        if !self.nodes[node].is_up() {
            return;
        }
        self.nodes[node].push_inbox(input);
        self.pump(node);
    }

    /// Executes outputs and takes inputs until the replica waits for its disk or has no more.
    fn pump(&mut self, node: NodeId) {
        while self.nodes[node].is_up() && !self.nodes[node].is_busy() {
            if let Some(output) = self.nodes[node].outputs.pop_front() {
                self.execute_output(node, output);
            } else if !self.nodes[node].disk.is_synced() {
                self.begin_sync(node);
            } else if let Some(input) = self.nodes[node].inbox.pop_front() {
                let it = &mut self.nodes[node];
                let core = it.core.as_mut().expect("it is up");
                let view = core.status().view;
                let outputs = core.step(input);
                let entered = core.status().view;
                it.outputs.extend(outputs);
                self.weigh(node);
                if entered != view {
                    self.totals.view_changes += 1;
                    self.trace.line(self.queue.now(), node, || format!("enters view {entered}"));
                }
            } else {
                return;
            }
        }
    }

    /// Shows the checker what an honest replica holds in memory and on disk.
    fn weigh(&mut self, node: NodeId) {
        let it = &self.nodes[node];
        if let Some(core) = it.core.as_ref().filter(|_| it.is_honest()) {
            let (size, records) = (core.size(), it.disk.records().len());
            self.checker.on_size(node, size, records, self.setup.window);
        }
    }

    fn execute_output(&mut self, node: NodeId, output: Output) {
        let life = self.nodes[node].life;
        let is_record = matches!(output, Output::Persist(_) | Output::Compact(_));
        if !is_record && !self.nodes[node].disk.is_synced() && !self.setup.sends_before_sync {
            self.nodes[node].outputs.push_front(output);
            return self.begin_sync(node);
        }
        match output {
            Output::Persist(record) => self.nodes[node].disk.append(record),
            Output::Compact(records) => self.nodes[node].disk.replace(records),
            Output::Send { to, message } => self.send(node, to, message),
            Output::Propose { view, sequence, parent } => {
                self.nodes[node].wanted = Some((view, sequence, parent));
                self.queue.schedule(LEDGER_MS, Event::Assemble { node, life });
            }
            Output::Check { view, sequence, digest, parent, body, proposer, is_first } => {
                let question =
                    Question { view, sequence, digest, parent, body, proposer, is_first };
                self.queue.schedule(LEDGER_MS, Event::Ask { node, life, question });
            }
            Output::Execute { certificate, body } => {
                let event = Event::Execute { node, life, certificate, body };
                self.queue.schedule(LEDGER_MS, event);
            }
            Output::SetTimer { timer, after_ms } => {
                let ticket = self.next_ticket;
                self.next_ticket += 1;
                self.nodes[node].timers.insert(timer, ticket);
                let after = after_ms * 1000 / self.nodes[node].clock_rate;
                self.queue.schedule(after, Event::Expire { node, life, timer, ticket });
            }
            Output::CancelTimer(timer) => {
                self.nodes[node].timers.remove(&timer);
            }
            Output::Evidence(evidence) => {
                self.totals.evidence += 1;
                self.trace.line(self.queue.now(), node, || format!("evidence {evidence:?}"));
            }
            Output::Halt(reason) => {
                self.trace.line(self.queue.now(), node, || format!("halts: {reason:?}"));
                self.nodes[node].halted = Some(reason);
                self.nodes[node].forget_memory();
            }
        }
    }

    /// Writes the records to disk; nothing else happens on this replica until they are there.
    fn begin_sync(&mut self, node: NodeId) {
        let life = self.nodes[node].life;
        if !self.nodes[node].is_honest() {
            self.nodes[node].disk.sync();
            return;
        }
        self.nodes[node].is_syncing = true;
        let after = self.rng.between(0, self.setup.sync_ms_max);
        self.queue.schedule(after, Event::Synced { node, life });
    }

    pub(crate) fn on_synced(&mut self, node: NodeId) {
        let death = self.rng.chance(self.setup.crash_at_sync_per_mille).then(|| {
            *self.rng.pick(&[Death::BeforeSync, Death::AfterSync, Death::AfterSomeCopies])
        });
        self.nodes[node].is_syncing = false;
        match death {
            Some(Death::BeforeSync) => return self.crash_and_restart(node),
            Some(Death::AfterSync) => {
                self.nodes[node].disk.sync();
                return self.crash_and_restart(node);
            }
            Some(Death::AfterSomeCopies) => {
                let copies = self.rng.index(self.nodes.len());
                self.nodes[node].dies_after_copies = Some(copies);
            }
            None => {}
        }
        self.nodes[node].disk.sync();
        self.pump(node);
    }

    pub(crate) fn crash_and_restart(&mut self, node: NodeId) {
        self.crash(node);
        let after = self.rng.between(10, 2_000);
        self.queue.schedule(after, Event::Restart { node });
    }

    pub(crate) fn resume(&mut self, node: NodeId) {
        self.nodes[node].is_paused = false;
        self.pump(node);
    }

    /// A message leaves the core: an honest one as it is, another's as its adversary likes.
    fn send(&mut self, node: NodeId, to: Recipient, message: Message) {
        if self.nodes[node].is_honest() {
            self.watch(node, &message);
            self.emit(node, Parcel::new(to, message));
        } else {
            self.with_adversary(node, |adversary, forge| adversary.outgoing(forge, to, message));
        }
    }

    /// Shows the checker what an honest replica says, and that its encoding holds it.
    fn watch(&mut self, node: NodeId, message: &Message) {
        for claim in claim::of(message) {
            if claim.sender == self.nodes[node].replica {
                self.checker.on_claim(node, claim);
            }
        }
        let decoded = Message::from_bytes(&message.to_bytes());
        if decoded.as_ref() != Ok(message) {
            let message = format!("{message:?} comes back as {decoded:?}");
            self.checker.report(Violation::Encoding { node, message });
        }
    }

    /// Puts a message on the links.
    pub(crate) fn emit(&mut self, from: NodeId, parcel: Parcel) {
        let recipients: Vec<NodeId> = match parcel.to {
            Recipient::All => (0..self.nodes.len()).filter(|node| *node != from).collect(),
            Recipient::One(replica) => self.nodes_of(replica),
        };
        let message = Arc::new(parcel.message);
        self.trace.line(self.queue.now(), from, || {
            format!("sends to {:?}: {}", parcel.to, claim::describe(&message))
        });
        for to in recipients {
            if let Some(copies) = self.nodes[from].dies_after_copies.as_mut() {
                if *copies == 0 {
                    return self.crash_and_restart(from);
                }
                *copies -= 1;
            }
            if self.filter.as_ref().is_some_and(|filter| !(filter.0)(from, to, &message)) {
                continue;
            }
            for after in self.network.arrivals(from, to, &mut self.rng) {
                let message = Arc::clone(&message);
                self.totals.messages += 1;
                self.queue.schedule(after, Event::Deliver { to, message });
            }
        }
    }

    pub(crate) fn deliver(&mut self, to: NodeId, message: &Arc<Message>) {
        if !self.nodes[to].is_up() || !is_whole(message) {
            return;
        }
        if self.nodes[to].answers_left > 0 {
            self.nodes[to].answers_left -= 1;
            self.with_adversary(to, |adversary, forge| adversary.incoming(forge, message));
        }
        self.feed(to, Input::Message { message: Message::clone(message) });
    }
}

/// What the driver checks of a message before the core sees it: that a body is the block of the
/// digest beside it, and names the parent beside it.
#[must_use]
pub fn is_whole(message: &Message) -> bool {
    match message {
        Message::PrePrepare(proposal) => {
            digest_of(&proposal.body) == proposal.signed.digest
                && parent_of(&proposal.body) == Some(proposal.signed.parent)
        }
        Message::Body(body) => digest_of(&body.body) == body.digest,
        Message::Certified(block) => digest_of(&block.body) == block.certificate.digest,
        _ => true,
    }
}

/// The parent that a body names: a block's or, where work makes the blocks, a header's.
fn parent_of(body: &[u8]) -> Option<Hash256> {
    if body.len() == BlockHeader::LEN {
        let header = BlockHeader::from_bytes(body).ok()?;
        return Some(hybrid::digest(header.prev_block_hash));
    }
    Block::decode(body).map(|block| block.parent)
}
