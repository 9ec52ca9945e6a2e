//! What a replica starts with.

use std::sync::Arc;

use pentad_primitives::Hash256;

use crate::certificate::CommitCertificate;
use crate::domain::Domain;
use crate::identifiers::{ReplicaId, Sequence};
use crate::quorum::Quorum;
use crate::record::Record;

/// Most sequences in flight: a view change carries a certificate for each.
pub const WINDOW_MAX: u64 = 8;

/// What does not change while a replica runs. Where a number is out of range, the nearest in range
/// is taken.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// The replica itself: its place in the validator set.
    pub own: ReplicaId,
    /// How many replicas there are.
    pub quorum: Quorum,
    /// The network and its validator set. `domain.chain` is the digest of sequence 0.
    pub domain: Domain,
    /// Sequences in flight above the last executed one, 1 to [`WINDOW_MAX`].
    pub window: u64,
    /// K: a checkpoint is taken at multiples of it; at least 1.
    pub checkpoint_interval: u64,
    /// How long a view may take without progress, at first; at least 1.
    pub view_timeout_ms: u64,
    /// After what time unanswered messages are sent again, at first; at least 1.
    pub resend_ms: u64,
}

/// The last final block of the chain.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tip {
    /// Its sequence; 0 for genesis.
    pub sequence: Sequence,
    /// Its hash.
    pub digest: Hash256,
    /// What makes it final; none for genesis.
    pub certificate: Option<CommitCertificate>,
    /// The block, to help others that missed it; without it they need sync.
    pub body: Option<Arc<[u8]>>,
}

/// What a replica finds when it starts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Recovered {
    /// The whole safety log, in its order.
    pub records: Vec<Record>,
    /// The last final block.
    pub tip: Tip,
    /// Hash and UTXO-set root of the last block at a checkpoint height, if known.
    pub checkpoint: Option<(Sequence, Hash256, Hash256)>,
}
