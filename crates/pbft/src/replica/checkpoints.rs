//! Checkpoints and watermarks (section 4.3 of the paper).

use std::collections::BTreeMap;

use pentad_primitives::Hash256;

use super::{Fault, Replica};
use crate::evidence::HaltReason;
use crate::identifiers::{ReplicaId, Sequence};
use crate::keys::{Keys, Signature};
use crate::message::{Checkpoint, Message};
use crate::record::{Record, StableCheckpoint};

/// Most CHECKPOINTs kept of each replica, the newest: between two watermarks there are two.
const KEPT_PER_REPLICA_MAX: usize = 2;

/// What replicas said of their states.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Checkpoints {
    stable: Option<StableCheckpoint>,
    /// Above the stable one.
    others: BTreeMap<ReplicaId, BTreeMap<Sequence, Checkpoint>>,
    /// The replica's own newest, stable or not.
    own: BTreeMap<Sequence, Checkpoint>,
}

impl Checkpoints {
    pub fn stable(&self) -> Option<&StableCheckpoint> {
        self.stable.as_ref()
    }

    pub fn stable_sequence(&self) -> Sequence {
        self.stable.as_ref().map_or(Sequence::GENESIS, |stable| stable.sequence)
    }

    pub fn own(&self) -> Vec<Checkpoint> {
        self.own.values().copied().collect()
    }

    pub fn held(&self, sender: ReplicaId, sequence: Sequence) -> Option<Checkpoint> {
        self.others.get(&sender)?.get(&sequence).copied()
    }

    pub fn keep(&mut self, checkpoint: Checkpoint) {
        let kept = self.others.entry(checkpoint.sender).or_default();
        keep_newest(kept, checkpoint);
    }

    pub fn keep_own(&mut self, checkpoint: Checkpoint) {
        keep_newest(&mut self.own, checkpoint);
    }

    /// What was said of another state is no measure of the present one, which may have been mended
    /// since; nor is it ever contradicted.
    pub fn forget_all_own_but(&mut self, sequence: Sequence, digest: Hash256, root: Hash256) {
        let present = (sequence, digest, root);
        self.own.retain(|_, own| (own.sequence, own.digest, own.root) == present);
    }

    pub fn set_stable(&mut self, stable: StableCheckpoint) {
        for kept in self.others.values_mut() {
            kept.retain(|sequence, _| *sequence > stable.sequence);
        }
        self.others.retain(|_, kept| !kept.is_empty());
        self.stable = Some(stable);
    }

    /// A state that `needed` replicas have, at the newest such sequence up to `last`.
    fn agreed(&self, last: Sequence, needed: usize) -> Option<StableCheckpoint> {
        type State = (Sequence, Hash256, Hash256);
        let mut states: BTreeMap<State, BTreeMap<ReplicaId, Signature>> = BTreeMap::new();
        let above = self.stable_sequence();
        for checkpoint in self.own.values().chain(self.others.values().flat_map(BTreeMap::values)) {
            if checkpoint.sequence > above && checkpoint.sequence <= last {
                let state = (checkpoint.sequence, checkpoint.digest, checkpoint.root);
                let signatures = states.entry(state).or_default();
                signatures.insert(checkpoint.sender, checkpoint.signature);
            }
        }
        let newest = states.into_iter().rev().find(|(_, signatures)| signatures.len() >= needed);
        newest.map(|((sequence, digest, root), signatures)| StableCheckpoint {
            sequence,
            digest,
            root,
            signatures: signatures.into_iter().take(needed).collect(),
        })
    }

    pub fn len(&self) -> usize {
        let others = self.others.values().map(BTreeMap::len).fold(0, usize::saturating_add);
        others.saturating_add(self.own.len())
    }
}

fn keep_newest(kept: &mut BTreeMap<Sequence, Checkpoint>, checkpoint: Checkpoint) {
    kept.entry(checkpoint.sequence).or_insert(checkpoint);
    if kept.len() > KEPT_PER_REPLICA_MAX {
        kept.pop_first();
    }
}

impl<K: Keys> Replica<K> {
    /// L = 2K: how far above the stable checkpoint a replica goes.
    pub(super) fn high_watermark(&self) -> Sequence {
        let distance = self.checkpoint_interval.saturating_mul(2);
        self.checkpoints.stable_sequence().plus(distance)
    }

    pub(super) fn is_checkpoint(&self, sequence: Sequence) -> bool {
        sequence != Sequence::GENESIS
            && sequence.get().checked_rem(self.checkpoint_interval) == Some(0)
    }

    /// The state after an executed block. It takes time to find: others may have gone on since.
    pub(super) fn on_root(&mut self, sequence: Sequence, digest: Hash256, root: Hash256) {
        if sequence > self.last.sequence {
            return;
        }
        let stable = self.checkpoints.stable().filter(|stable| stable.sequence == sequence);
        if let Some(stable) = stable.cloned()
            && self.halt_unless_same(digest, root, &stable)
        {
            return;
        }
        self.take_checkpoint(sequence, digest, root);
    }

    /// Section 4.3: "when a replica produces a checkpoint, it multicasts a message". Where a quorum
    /// agreed without it, it waits until one whose watermarks lag asks: that one may need every
    /// replica which is not faulty.
    pub(super) fn take_checkpoint(&mut self, sequence: Sequence, digest: Hash256, root: Hash256) {
        let is_said = self.checkpoints.own.contains_key(&sequence);
        let is_useless = self.checkpoints.stable().is_some_and(|stable| {
            let is_other = (stable.digest, stable.root) != (digest, root);
            sequence < stable.sequence || (sequence == stable.sequence && is_other)
        });
        if !self.is_checkpoint(sequence) || is_said || is_useless {
            return;
        }
        let checkpoint = Checkpoint::sign(&self.credentials, sequence, digest, root);
        self.checkpoints.keep_own(checkpoint);
        self.persist(Record::Checkpoint(checkpoint));
        if sequence > self.checkpoints.stable_sequence() {
            self.send_all(Message::Checkpoint(checkpoint));
        }
    }

    /// Section 4.3: a checkpoint that a quorum agrees on is stable, and the log is cut. A replica
    /// with another state halts (attack 18).
    pub(super) fn stabilise(&mut self) -> bool {
        let needed = self.credentials.quorum.quorum();
        let Some(stable) = self.checkpoints.agreed(self.last.sequence, needed) else {
            return false;
        };
        if let Some(own) = self.checkpoints.own.get(&stable.sequence) {
            let (digest, root) = (own.digest, own.root);
            if self.halt_unless_same(digest, root, &stable) {
                return true;
            }
        }
        self.checkpoints.set_stable(stable);
        self.accused.retain(|(_, fault)| *fault != Fault::Checkpoint);
        self.compact();
        true
    }

    /// Halts if this replica's state is not the one of a stable checkpoint (attack 18).
    fn halt_unless_same(
        &mut self,
        digest: Hash256,
        root: Hash256,
        stable: &StableCheckpoint,
    ) -> bool {
        let sequence = stable.sequence;
        if digest != stable.digest {
            self.halt(HaltReason::DifferentBlock { sequence, own: digest, quorum: stable.digest });
        } else if root != stable.root {
            self.halt(HaltReason::DifferentRoot { sequence, own: root, quorum: stable.root });
        }
        self.halted.is_some()
    }

    /// Its own checkpoint waits for a quorum.
    pub(super) fn has_unstable_checkpoint(&self) -> bool {
        let newest = self.checkpoints.own.last_key_value().map(|(sequence, _)| *sequence);
        newest.is_some_and(|newest| newest > self.checkpoints.stable_sequence())
    }
}
