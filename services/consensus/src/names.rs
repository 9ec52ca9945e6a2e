//! Validators by their names.

use std::sync::Arc;

use pentad_pbft::{Quorum, ReplicaId, ValidatorSet};

/// The names of a validator set.
#[derive(Clone, Debug)]
pub(crate) struct Names(pub(crate) Arc<ValidatorSet>);

impl Names {
    pub(crate) fn quorum(&self) -> Quorum {
        self.0.quorum()
    }

    /// The name of one; empty for one who is none.
    pub(crate) fn of(&self, replica: ReplicaId) -> &str {
        self.0.get(replica).map_or("", |validator| &validator.name)
    }

    pub(crate) fn all(&self, replicas: &[ReplicaId]) -> Vec<String> {
        replicas.iter().map(|replica| self.of(*replica).to_owned()).collect()
    }

    /// Several, for people.
    pub(crate) fn list(&self, replicas: &[ReplicaId]) -> String {
        if replicas.is_empty() { "none".to_owned() } else { self.all(replicas).join(", ") }
    }
}
