//! The replica: one step per input, effects as data.
//!
//! An input first changes what the replica holds (`on_*.rs`, one file per input), then
//! [`Replica::settle`] does everything that has become possible, one small move at a time. No move
//! calls another, so nothing recurses however many views change.

mod checkpoints;
mod early;
mod fetch;
mod help;
mod log;
mod normal_case;
mod on_catch_up;
mod on_checkpoint;
mod on_executed;
mod on_new_view;
mod on_pre_prepare;
mod on_proposal;
mod on_timeout;
mod on_view_change;
mod on_vote;
mod recover;
mod size;
mod slot;
mod status;
#[cfg(test)]
mod tests;
mod timers;
mod view_change;

use std::collections::{BTreeMap, BTreeSet};

use pentad_primitives::Hash256;
pub use size::Size;
pub use slot::Stage;
pub use status::{InFlight, Status};

use crate::certificate::CommitCertificate;
use crate::config::{Config, Recovered, Tip, WINDOW_MAX};
use crate::credentials::Credentials;
use crate::event::{Input, Output, Recipient};
use crate::evidence::{Evidence, HaltReason};
use crate::identifiers::{ReplicaId, Sequence, View};
use crate::keys::Keys;
use crate::message::{Certified, Message, NewView, Phase, PrePrepare, ViewChange};

/// A replica of the protocol, without IO.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Replica<K> {
    window: u64,
    checkpoint_interval: u64,
    credentials: Credentials<K>,

    /// The view it is in, or wants to enter; it acts in none below.
    view: View,
    /// It entered its view; otherwise it waits for the NEW-VIEW.
    is_active: bool,
    /// What started its view; none in view 0.
    new_view: Option<NewView>,
    /// The last block that `new_view` shows to be final: its view orders what is above.
    base: Sequence,
    /// The VIEW-CHANGE of the highest view of each replica, its own included; for its view and
    /// above.
    view_changes: BTreeMap<ReplicaId, ViewChange>,

    last: LastFinal,
    /// What is in flight above the last executed sequence.
    slots: BTreeMap<Sequence, slot::Slot>,
    /// The newest executed blocks, for replicas that missed them.
    recent: BTreeMap<Sequence, Certified>,
    /// The sequence whose execution was asked for and not reported.
    executing: Option<Sequence>,
    /// The proposal that the driver was asked for.
    proposing: Option<(View, Sequence, Hash256)>,
    /// Transactions wait for a block.
    is_pending: bool,

    /// Votes for views not entered yet.
    early: early::EarlyVotes,
    /// Proposals of the view that it waits for.
    early_proposals: BTreeMap<Sequence, PrePrepare>,
    checkpoints: checkpoints::Checkpoints,
    /// Bodies asked for, and how often.
    fetching: BTreeMap<Hash256, u32>,
    /// Whom it helped with what since the last tick of the resend timer.
    helped: BTreeSet<(ReplicaId, help::Help)>,
    /// Who sent what for sequences in `recent`: none for a PRE-PREPARE.
    late_votes: BTreeSet<(Sequence, ReplicaId, Option<Phase>)>,
    /// Who showed to be in its view.
    heard: BTreeSet<ReplicaId>,
    /// Against whom it gave evidence.
    accused: BTreeSet<(ReplicaId, Fault)>,
    timers: timers::Timers,
    /// Bytes of the safety log.
    log_bytes: usize,
    halted: Option<HaltReason>,
    /// Outputs of the step under way; empty between steps.
    outputs: Vec<Output>,
}

/// The last block that is durable in the chain.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct LastFinal {
    sequence: Sequence,
    digest: Hash256,
    certificate: Option<CommitCertificate>,
}

/// What evidence was given for, so that it is given once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Fault {
    Vote(Phase, Sequence),
    ViewChange,
    Checkpoint,
}

impl<K: Keys> Replica<K> {
    /// A replica as it comes back from its safety log and its chain, and what it does first.
    #[must_use]
    pub fn new(config: Config, keys: K, recovered: Recovered) -> (Self, Vec<Output>) {
        let Config { own, quorum, domain, .. } = config;
        let Recovered { records, tip, checkpoint } = recovered;
        let mut replica = Self {
            window: config.window.clamp(1, WINDOW_MAX),
            checkpoint_interval: config.checkpoint_interval.max(1),
            credentials: Credentials { own, domain, quorum, keys },
            view: View::ZERO,
            is_active: true,
            new_view: None,
            base: Sequence::GENESIS,
            view_changes: BTreeMap::new(),
            last: LastFinal {
                sequence: tip.sequence,
                digest: tip.digest,
                certificate: tip.certificate.clone(),
            },
            slots: BTreeMap::new(),
            recent: BTreeMap::new(),
            executing: None,
            proposing: None,
            is_pending: false,
            early: early::EarlyVotes::default(),
            early_proposals: BTreeMap::new(),
            checkpoints: checkpoints::Checkpoints::default(),
            fetching: BTreeMap::new(),
            helped: BTreeSet::new(),
            late_votes: BTreeSet::new(),
            heard: BTreeSet::new(),
            accused: BTreeSet::new(),
            timers: timers::Timers::new(config.view_timeout_ms, config.resend_ms),
            log_bytes: 0,
            halted: None,
            outputs: Vec::new(),
        };
        if let Tip { sequence, certificate: Some(certificate), body: Some(body), .. } = tip {
            replica.recent.insert(sequence, Certified { certificate, body });
        }
        replica.recover(records, checkpoint);
        replica.settle();
        let outputs = std::mem::take(&mut replica.outputs);
        (replica, outputs)
    }

    /// Takes one input; what follows is to be done in order.
    pub fn step(&mut self, input: Input) -> Vec<Output> {
        if self.halted.is_some() {
            return Vec::new();
        }
        match input {
            Input::Message { message } => self.on_message(message),
            Input::Proposal { view, sequence, digest, parent, body } => {
                self.on_proposal(view, sequence, digest, parent, body);
            }
            Input::Checked { view, sequence, digest, verdict } => {
                self.on_checked(view, sequence, digest, verdict);
            }
            Input::Executed { sequence, digest, certificate } => {
                self.on_executed(sequence, digest, certificate);
            }
            Input::Root { sequence, digest, root } => self.on_root(sequence, digest, root),
            Input::Pending(is_pending) => self.is_pending = is_pending,
            Input::Suspect { view } => self.on_suspect(view),
            Input::Timeout(timer) => self.on_timeout(timer),
        }
        self.settle();
        std::mem::take(&mut self.outputs)
    }

    fn on_message(&mut self, message: Message) {
        if message.sender().is_some_and(|sender| !self.is_other(sender)) {
            return;
        }
        match message {
            Message::PrePrepare(message) => self.on_pre_prepare(message),
            Message::Prepare(vote) => self.on_vote(Phase::Prepare, vote),
            Message::Commit(vote) => self.on_vote(Phase::Commit, vote),
            Message::Checkpoint(message) => self.on_checkpoint(message),
            Message::ViewChange(message) => self.on_view_change(message),
            Message::NewView(message) => self.on_new_view(message),
            Message::FetchBody(message) => self.on_fetch_body(message),
            Message::Body(message) => self.on_body(message),
            Message::Certified(message) => self.on_certified(message),
        }
    }

    /// Does everything that has become possible. Every move uses something up (a vote not sent, a
    /// view not joined, a sequence not executed), so the loop ends.
    fn settle(&mut self) {
        while self.halted.is_none()
            && (self.stabilise()
                || self.join_view()
                || self.start_new_view()
                || self.advance_slots()
                || self.ask_for_proposal())
        {}
        if self.halted.is_none() {
            self.run_timers();
        }
    }

    /// A replica of the network, and not this one.
    fn is_other(&self, replica: ReplicaId) -> bool {
        self.credentials.quorum.contains(replica) && replica != self.credentials.own
    }

    fn primary(&self) -> ReplicaId {
        self.credentials.quorum.primary(self.view)
    }

    fn is_primary(&self) -> bool {
        self.primary() == self.credentials.own
    }

    fn is_alone(&self) -> bool {
        self.credentials.quorum.replicas() == 1
    }

    /// The sequences that messages are kept for: twice the window, because a primary that has
    /// executed a block proposes the next one before slower backups have executed it; and below
    /// the high watermark (section 4.2).
    fn is_in_window(&self, sequence: Sequence) -> bool {
        let high = self.last.sequence.plus(self.window.saturating_mul(2));
        sequence > self.last.sequence && sequence <= high && sequence <= self.high_watermark()
    }

    /// The sequences that the replica votes for.
    fn is_votable(&self, sequence: Sequence) -> bool {
        sequence > self.base
            && sequence <= self.last.sequence.plus(self.window)
            && self.is_in_window(sequence)
    }

    fn emit(&mut self, output: Output) {
        self.outputs.push(output);
    }

    fn send_all(&mut self, message: Message) {
        if !self.is_alone() {
            self.emit(Output::Send { to: Recipient::All, message });
        }
    }

    fn send_to(&mut self, replica: ReplicaId, message: Message) {
        self.emit(Output::Send { to: Recipient::One(replica), message });
    }

    fn halt(&mut self, reason: HaltReason) {
        self.halted = Some(reason.clone());
        self.emit(Output::Halt(reason));
    }

    /// Gives evidence, unless it was given.
    fn accuse(&mut self, replica: ReplicaId, fault: Fault, evidence: Evidence) {
        if self.accused.insert((replica, fault)) {
            self.emit(Output::Evidence(evidence));
        }
    }

    fn is_accused(&self, replica: ReplicaId, fault: Fault) -> bool {
        self.accused.contains(&(replica, fault))
    }
}
