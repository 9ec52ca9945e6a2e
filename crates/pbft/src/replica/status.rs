//! What a person asks a replica that makes no progress.

use pentad_primitives::Hash256;

use super::Replica;
use super::slot::Stage;
use crate::evidence::HaltReason;
use crate::identifiers::{ReplicaId, Sequence, View};
use crate::keys::Keys;
use crate::message::Phase;

/// Where a replica stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The view it is in, or waits for.
    pub view: View,
    /// That view's primary.
    pub primary: ReplicaId,
    /// It left the view below and waits for the NEW-VIEW.
    pub in_view_change: bool,
    /// Who wants which view: all it holds a VIEW-CHANGE of, itself included.
    pub view_changes: Vec<(ReplicaId, View)>,
    /// Views left in a row without a block.
    pub failed_views: u32,
    /// Sequence of the last final block.
    pub last_final: Sequence,
    /// Its hash.
    pub last_digest: Hash256,
    /// h: sequence of the stable checkpoint.
    pub low_watermark: Sequence,
    /// H: it takes part up to this sequence.
    pub high_watermark: Sequence,
    /// Sequences above the last final one.
    pub in_flight: Vec<InFlight>,
    /// Transactions wait for a block.
    pub is_pending: bool,
    /// Bodies that it asked others for.
    pub fetching: Vec<Hash256>,
    /// Why it does nothing any more.
    pub halted: Option<HaltReason>,
}

/// One sequence in flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// The sequence.
    pub sequence: Sequence,
    /// The block proposed for it in this view.
    pub digest: Option<Hash256>,
    /// How far this replica is with the proposal.
    pub stage: Option<Stage>,
    /// Who sent a PREPARE for the block; without a proposal, for any.
    pub prepared_by: Vec<ReplicaId>,
    /// Who sent a COMMIT for the block; without a proposal, for any.
    pub committed_by: Vec<ReplicaId>,
    /// It is prepared here, in this view.
    pub is_prepared: bool,
    /// It is final and waits to be executed.
    pub is_committed: bool,
}

impl<K: Keys> Replica<K> {
    /// Where it stands.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            view: self.view,
            primary: self.primary(),
            in_view_change: !self.is_active,
            view_changes: self.view_changers(),
            failed_views: self.timers.failed_views(),
            last_final: self.last.sequence,
            last_digest: self.last.digest,
            low_watermark: self.checkpoints.stable_sequence(),
            high_watermark: self.high_watermark(),
            in_flight: self.in_flight(),
            is_pending: self.is_pending,
            fetching: self.fetching.keys().copied().collect(),
            halted: self.halted.clone(),
        }
    }

    fn in_flight(&self) -> Vec<InFlight> {
        let in_flight = self.slots.iter().map(|(sequence, slot)| {
            let digest = slot.proposal.as_ref().map(|proposal| proposal.signed.digest);
            let voters = |phase| {
                let votes = slot.votes(phase).values();
                let matching =
                    votes.filter(|vote| digest.is_none_or(|digest| digest == vote.digest));
                matching.map(|vote| vote.sender).collect()
            };
            InFlight {
                sequence: *sequence,
                digest,
                stage: slot.proposal.as_ref().map(|proposal| proposal.stage),
                prepared_by: voters(Phase::Prepare),
                committed_by: voters(Phase::Commit),
                is_prepared: slot.is_prepared_in(self.view),
                is_committed: slot.certificate.is_some(),
            }
        });
        in_flight.collect()
    }
}
