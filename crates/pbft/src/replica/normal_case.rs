//! The normal case (section 4.2 of the paper): what a sequence can do once it can.

use pentad_primitives::Hash256;

use super::Replica;
use super::slot::Stage;
use crate::certificate::{CommitCertificate, PreparedCertificate};
use crate::event::Output;
use crate::identifiers::Sequence;
use crate::keys::Keys;
use crate::message::{Message, Phase, PrePrepare, Vote};
use crate::record::Record;

/// Whether the block below is settled enough to vote for one on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parent {
    Settled,
    Unsettled,
    /// It is settled on another block.
    Other,
}

impl<K: Keys> Replica<K> {
    pub(super) fn advance_slots(&mut self) -> bool {
        let sequences: Vec<_> = self.slots.keys().copied().collect();
        sequences.into_iter().any(|sequence| {
            self.certify(sequence)
                || self.execute(sequence)
                || self.check(sequence)
                || self.prepare(sequence)
        })
    }

    /// A proposal is voted for only on a parent that is final, or prepared in the same view: so
    /// nothing above a gap, or on a block that loses its place, can ever be committed.
    fn parent(&self, sequence: Sequence, parent: Hash256) -> Parent {
        let Some(below) = sequence.prev() else {
            return Parent::Other;
        };
        let slot = self.slots.get(&below);
        let settled = if below == self.last.sequence {
            Some(self.last.digest)
        } else {
            slot.and_then(|slot| {
                let certified = slot.certificate.as_ref().map(|certificate| certificate.digest);
                certified.or_else(|| {
                    let prepared = slot.prepared.as_ref()?;
                    (prepared.view() == self.view).then_some(prepared.pre_prepare.digest)
                })
            })
        };
        match settled {
            Some(settled) if settled == parent => Parent::Settled,
            Some(_) => Parent::Other,
            None => Parent::Unsettled,
        }
    }

    /// Section 4.2: "checks" before it accepts a PRE-PREPARE. The ledger's part is the driver's.
    fn check(&mut self, sequence: Sequence) -> bool {
        if !self.is_active || !self.is_votable(sequence) {
            return false;
        }
        let held = self.slots.get(&sequence).and_then(|slot| slot.proposal.clone());
        let Some(proposal) = held.filter(|proposal| proposal.stage == Stage::Received) else {
            return false;
        };
        let signed = proposal.signed;
        match self.parent(sequence, signed.parent) {
            Parent::Unsettled => return false,
            Parent::Other => {
                self.set_stage(sequence, Stage::Rejected);
                return true;
            }
            Parent::Settled => {}
        }
        let bodies = self.slots.get(&sequence).map(|slot| &slot.bodies);
        let Some(body) = bodies.and_then(|bodies| bodies.get(&signed.digest)).cloned() else {
            self.want_body(signed.digest);
            return false;
        };
        self.set_stage(sequence, Stage::Checking);
        let proposer = proposal.is_first.then_some(signed.sender);
        self.emit(Output::Check {
            view: self.view,
            sequence,
            digest: signed.digest,
            parent: signed.parent,
            body,
            proposer,
            is_first: proposal.is_first,
        });
        true
    }

    pub(super) fn set_stage(&mut self, sequence: Sequence, stage: Stage) {
        let slot = self.slots.get_mut(&sequence);
        if let Some(proposal) = slot.and_then(|slot| slot.proposal.as_mut()) {
            proposal.stage = stage;
        }
    }

    /// Section 4.2: a backup that accepts a PRE-PREPARE "enters the prepare phase by multicasting
    /// a PREPARE"; first it writes down what it accepted.
    pub(super) fn accept(&mut self, message: PrePrepare) {
        let signed = message.signed.clone();
        self.persist(Record::PrePrepare(message));
        self.set_stage(signed.sequence, Stage::Accepted);
        if signed.sender != self.credentials.own {
            self.vote(Phase::Prepare, signed.sequence, signed.digest);
        }
    }

    /// Signs, counts and sends an own vote. What it rests on was written down just before.
    fn vote(&mut self, phase: Phase, sequence: Sequence, digest: Hash256) {
        let vote = self.count_own_vote(phase, sequence, digest);
        self.send_all(match phase {
            Phase::Prepare => Message::Prepare(vote),
            Phase::Commit => Message::Commit(vote),
        });
    }

    pub(super) fn count_own_vote(
        &mut self,
        phase: Phase,
        sequence: Sequence,
        digest: Hash256,
    ) -> Vote {
        let vote = Vote::sign(&self.credentials, phase, self.view, sequence, digest);
        let slot = self.slots.entry(sequence).or_default();
        slot.votes_mut(phase).insert(vote.sender, vote);
        vote
    }

    /// Section 4.2: prepared(m, v, n, i) has become true: write the certificate down, then COMMIT.
    fn prepare(&mut self, sequence: Sequence) -> bool {
        let needed = self.credentials.quorum.prepares();
        let Some(slot) = self.slots.get(&sequence) else {
            return false;
        };
        let Some(proposal) = slot.accepted().filter(|_| !slot.is_prepared_in(self.view)) else {
            return false;
        };
        let pre_prepare = proposal.signed.clone();
        let digest = pre_prepare.digest;
        let Some(prepares) = slot.signatures(Phase::Prepare, digest, needed) else {
            return false;
        };
        if self.parent(sequence, pre_prepare.parent) != Parent::Settled {
            return false;
        }
        let certificate = PreparedCertificate { pre_prepare, prepares };
        if let Some(slot) = self.slots.get_mut(&sequence) {
            slot.prepared = Some(certificate.clone());
            slot.drop_bodies();
        }
        self.persist(Record::Prepared(certificate));
        self.vote(Phase::Commit, sequence, digest);
        true
    }

    /// Section 4.2: committed: COMMITs of a quorum for one block. They prove it to anyone, so
    /// they do to a replica that is not prepared itself.
    fn certify(&mut self, sequence: Sequence) -> bool {
        let needed = self.credentials.quorum.quorum();
        let Some(slot) = self.slots.get_mut(&sequence) else {
            return false;
        };
        if slot.certificate.is_some() || !self.is_active {
            return false;
        }
        let Some((digest, signatures)) = slot.committed(needed) else {
            return false;
        };
        let view = self.view;
        slot.certificate = Some(CommitCertificate { view, sequence, digest, signatures });
        true
    }

    /// Section 4.2: executes "after all requests with lower sequence numbers", so one at a time.
    fn execute(&mut self, sequence: Sequence) -> bool {
        if self.last.sequence.next() != Some(sequence) || self.executing == Some(sequence) {
            return false;
        }
        let slot = self.slots.get(&sequence);
        let Some((slot, certificate)) = slot.and_then(|s| Some((s, s.certificate.clone()?))) else {
            return false;
        };
        let Some(body) = slot.bodies.get(&certificate.digest).cloned() else {
            self.want_body(certificate.digest);
            return false;
        };
        self.executing = Some(sequence);
        self.emit(Output::Execute { certificate, body });
        true
    }
}
