//! What a signature covers, so that it counts as nothing else (attack 8).

use pentad_primitives::{Hash256, sha256d};

use crate::identifiers::{ReplicaId, Sequence, View};

/// In front of everything that is signed.
const TAG: &[u8] = b"pentad.pbft.v1";

/// The network and the validator set that signatures belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Domain {
    /// Hash of the genesis block.
    pub chain: Hash256,
    /// Hash of the validator set.
    pub validators: Hash256,
}

/// Kinds of message, as they are numbered in signatures and on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub(crate) enum Kind {
    PrePrepare = 1,
    Prepare = 2,
    Commit = 3,
    Checkpoint = 4,
    ViewChange = 5,
    NewView = 6,
    FetchBody = 7,
}

impl Kind {
    pub(crate) const fn byte(self) -> u8 {
        self as u8
    }
}

/// What is said by a signed message, without who says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statement {
    kind: Kind,
    view: View,
    sequence: Sequence,
    digest: Hash256,
}

impl Statement {
    /// "This block stands at this sequence, proposed in this view, on this parent."
    #[must_use]
    pub fn pre_prepare(view: View, sequence: Sequence, block: Hash256, parent: Hash256) -> Self {
        Self { kind: Kind::PrePrepare, view, sequence, digest: hash_of_two(block, parent) }
    }

    /// "I accepted the PRE-PREPARE of this block."
    #[must_use]
    pub const fn prepare(view: View, sequence: Sequence, block: Hash256) -> Self {
        Self { kind: Kind::Prepare, view, sequence, digest: block }
    }

    /// "This block is prepared with me."
    #[must_use]
    pub const fn commit(view: View, sequence: Sequence, block: Hash256) -> Self {
        Self { kind: Kind::Commit, view, sequence, digest: block }
    }

    /// "After this block my UTXO set has this root."
    #[must_use]
    pub fn checkpoint(sequence: Sequence, block: Hash256, root: Hash256) -> Self {
        let digest = hash_of_two(block, root);
        Self { kind: Kind::Checkpoint, view: View::ZERO, sequence, digest }
    }

    /// "I left all views below this one; this is what I hold."
    #[must_use]
    pub fn view_change(view: View, last_final: Sequence, contents: &[u8]) -> Self {
        let digest = sha256d(contents);
        Self { kind: Kind::ViewChange, view, sequence: last_final, digest }
    }

    /// "This is how this view starts."
    #[must_use]
    pub fn new_view(view: View, base: Sequence, contents: &[u8]) -> Self {
        Self { kind: Kind::NewView, view, sequence: base, digest: sha256d(contents) }
    }

    /// "Send me the body of this block."
    #[must_use]
    pub const fn fetch_body(block: Hash256) -> Self {
        Self { kind: Kind::FetchBody, view: View::ZERO, sequence: Sequence::GENESIS, digest: block }
    }

    /// What `sender` signs to say it: sha256d over tag, chain, validator set, kind, view,
    /// sequence, digest and sender.
    #[must_use]
    pub fn signing_hash(&self, domain: &Domain, sender: ReplicaId) -> Hash256 {
        let mut bytes = Vec::with_capacity(130);
        bytes.extend(TAG);
        bytes.extend(domain.chain.as_bytes());
        bytes.extend(domain.validators.as_bytes());
        bytes.push(self.kind.byte());
        bytes.extend(self.view.get().to_le_bytes());
        bytes.extend(self.sequence.get().to_le_bytes());
        bytes.extend(self.digest.as_bytes());
        bytes.extend(sender.get().to_le_bytes());
        sha256d(&bytes)
    }
}

fn hash_of_two(first: Hash256, second: Hash256) -> Hash256 {
    let mut bytes = [0; 64];
    let (left, right) = bytes.split_at_mut(32);
    left.copy_from_slice(first.as_bytes());
    right.copy_from_slice(second.as_bytes());
    sha256d(&bytes)
}
