//! One sequence in flight.

use std::collections::BTreeMap;
use std::sync::Arc;

use pentad_primitives::Hash256;

use crate::certificate::{CommitCertificate, PreparedCertificate};
use crate::identifiers::{ReplicaId, View};
use crate::keys::Signature;
use crate::message::{Phase, SignedPrePrepare, Vote};

/// What is known of one sequence. Proposal and votes are those of the replica's view.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Slot {
    pub proposal: Option<Proposal>,
    pub prepares: BTreeMap<ReplicaId, Vote>,
    pub commits: BTreeMap<ReplicaId, Vote>,
    /// Of the highest view that it formed in.
    pub prepared: Option<PreparedCertificate>,
    pub certificate: Option<CommitCertificate>,
    /// The block accepted last in an earlier view: another replica may have prepared it.
    pub accepted_before: Option<Hash256>,
    /// Bodies of the blocks above; no others are kept.
    pub bodies: BTreeMap<Hash256, Arc<[u8]>>,
}

/// The one proposal of a view for a sequence.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Proposal {
    pub signed: SignedPrePrepare,
    /// Not one that a NEW-VIEW repeats.
    pub is_first: bool,
    pub stage: Stage,
}

/// How far this replica is with a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Its parent is not prepared yet, or its body not there.
    Received,
    /// The driver checks the block.
    Checking,
    /// Written down and prepared.
    Accepted,
    /// Refused; nothing else is taken for this sequence in this view.
    Rejected,
}

impl Slot {
    pub fn votes(&self, phase: Phase) -> &BTreeMap<ReplicaId, Vote> {
        match phase {
            Phase::Prepare => &self.prepares,
            Phase::Commit => &self.commits,
        }
    }

    pub fn votes_mut(&mut self, phase: Phase) -> &mut BTreeMap<ReplicaId, Vote> {
        match phase {
            Phase::Prepare => &mut self.prepares,
            Phase::Commit => &mut self.commits,
        }
    }

    /// Section 4.2: the predicate prepared(m, v, n, i).
    pub fn is_prepared_in(&self, view: View) -> bool {
        self.prepared.as_ref().is_some_and(|certificate| certificate.view() == view)
    }

    /// The first `needed` signatures for `digest`, in the order of the replicas, if there are so
    /// many. A map has one vote per sender, so none counts twice.
    pub fn signatures(
        &self,
        phase: Phase,
        digest: Hash256,
        needed: usize,
    ) -> Option<Vec<(ReplicaId, Signature)>> {
        let matching = self.votes(phase).values().filter(|vote| vote.digest == digest);
        let signatures: Vec<_> =
            matching.map(|vote| (vote.sender, vote.signature)).take(needed).collect();
        (signatures.len() == needed).then_some(signatures)
    }

    /// The block that `needed` COMMITs name.
    pub fn committed(&self, needed: usize) -> Option<(Hash256, Vec<(ReplicaId, Signature)>)> {
        self.commits.values().find_map(|vote| {
            Some((vote.digest, self.signatures(Phase::Commit, vote.digest, needed)?))
        })
    }

    /// The proposal, if this replica accepted it.
    pub fn accepted(&self) -> Option<&Proposal> {
        self.proposal.as_ref().filter(|proposal| proposal.stage == Stage::Accepted)
    }

    /// The block that stands here as far as this replica knows.
    pub fn digest(&self) -> Option<Hash256> {
        let certified = self.certificate.as_ref().map(|certificate| certificate.digest);
        certified.or_else(|| {
            let proposal = self.proposal.as_ref()?;
            (proposal.stage != Stage::Rejected).then_some(proposal.signed.digest)
        })
    }

    /// Forgets what belongs to a view that the replica left.
    pub fn leave_view(&mut self) {
        if let Some(proposal) = self.accepted() {
            self.accepted_before = Some(proposal.signed.digest);
        }
        self.proposal = None;
        self.prepares.clear();
        self.commits.clear();
        self.drop_bodies();
    }

    /// Keeps the body of a block that stands here.
    pub fn keep_body(&mut self, digest: Hash256, body: &Arc<[u8]>) {
        if self.names(digest) {
            self.bodies.entry(digest).or_insert_with(|| Arc::clone(body));
        }
    }

    /// Drops bodies of blocks that no longer stand here.
    pub fn drop_bodies(&mut self) {
        let mut bodies = std::mem::take(&mut self.bodies);
        bodies.retain(|digest, _| self.names(*digest));
        self.bodies = bodies;
    }

    /// The replica has voted here.
    pub fn has_vote_of(&self, replica: ReplicaId) -> bool {
        self.prepares.contains_key(&replica) || self.commits.contains_key(&replica)
    }

    /// Nothing is known here.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn names(&self, digest: Hash256) -> bool {
        let proposed = self.proposal.as_ref().map(|proposal| proposal.signed.digest);
        let prepared = self.prepared.as_ref().map(|prepared| prepared.pre_prepare.digest);
        let certified = self.certificate.as_ref().map(|certificate| certificate.digest);
        [proposed, prepared, certified, self.accepted_before].contains(&Some(digest))
    }
}
