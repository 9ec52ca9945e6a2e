//! Who a replica is, and whom it believes.

use crate::domain::{Domain, Statement};
use crate::identifiers::ReplicaId;
use crate::keys::{Keys, Signature};
use crate::quorum::Quorum;

/// What signing and checking need: the replica's place, its network, the keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Credentials<K> {
    /// The replica itself.
    pub own: ReplicaId,
    /// The network and its validator set.
    pub domain: Domain,
    /// How many replicas there are.
    pub quorum: Quorum,
    /// Its own secret key, everyone's public ones.
    pub keys: K,
}

/// What carries the signature of its sender.
pub trait Signed {
    /// What is said.
    fn statement(&self) -> Statement;
    /// Who says so.
    fn sender(&self) -> ReplicaId;
    /// The sender's signature of it.
    fn signature(&self) -> &Signature;
}

impl<K: Keys> Credentials<K> {
    /// The replica's own signature.
    #[must_use]
    pub fn sign(&self, statement: &Statement) -> Signature {
        self.keys.sign(&statement.signing_hash(&self.domain, self.own))
    }

    /// Whether a replica of this network signed it.
    #[must_use]
    pub fn is_authentic(&self, signed: &impl Signed) -> bool {
        let sender = signed.sender();
        let hash = signed.statement().signing_hash(&self.domain, sender);
        self.quorum.contains(sender) && self.keys.verify(sender, &hash, signed.signature())
    }
}
