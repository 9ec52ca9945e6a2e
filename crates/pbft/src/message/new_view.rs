//! NEW-VIEW (section 4.4 of the paper), and what follows from its VIEW-CHANGEs.

use std::cmp::Reverse;

use pentad_primitives::Hash256;
use pentad_primitives::encode::Reader;
use thiserror::Error;

use super::{SignedPrePrepare, ViewChange, ViewChangeError};
use crate::certificate::{CommitCertificate, PreparedCertificate};
use crate::credentials::{Credentials, Signed};
use crate::domain::Statement;
use crate::encoding::{self, DecodeError, is_ascending};
use crate::identifiers::{ReplicaId, Sequence, View};
use crate::keys::{Keys, Signature};

/// The primary of `view` starts it, and shows why it starts so.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NewView {
    /// The view.
    pub view: View,
    /// VIEW-CHANGEs into it of a quorum of distinct replicas, in the order of the replicas.
    pub view_changes: Vec<ViewChange>,
    /// O: what they oblige the primary to propose again, from the first sequence above the base.
    pub proposals: Vec<SignedPrePrepare>,
    /// The view's primary.
    pub sender: ReplicaId,
    /// The primary's signature.
    pub signature: Signature,
}

/// Why a NEW-VIEW starts nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum NewViewError {
    /// Not from the primary of the view.
    #[error("replica {0} is not the primary of the view")]
    Sender(ReplicaId),
    /// The signature does not match.
    #[error("the signature of replica {0} does not match")]
    Signature(ReplicaId),
    /// Too few VIEW-CHANGEs, one replica's twice, or one into another view.
    #[error("the view-changes are not those of a quorum of distinct replicas into the view")]
    NoQuorum,
    /// A VIEW-CHANGE that proves nothing.
    #[error("the view-change of replica {0}: {1}")]
    ViewChange(ReplicaId, ViewChangeError),
    /// O is not what follows from the VIEW-CHANGEs.
    #[error("the proposals are not those that follow from the view-changes")]
    Proposals,
}

/// A block that a new view proposes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Obligation {
    pub sequence: Sequence,
    pub digest: Hash256,
    pub parent: Hash256,
}

/// The last block that one of the VIEW-CHANGEs shows to be final; none if that is genesis.
pub(crate) fn base(view_changes: &[ViewChange]) -> Option<&CommitCertificate> {
    view_changes
        .iter()
        .filter_map(|view_change| view_change.last_final.as_ref())
        .max_by_key(|certificate| (certificate.sequence, Reverse(certificate.digest)))
}

/// O (section 4.4): for each sequence above the base, what the prepared certificate of the highest
/// view names, up to the first gap or broken parent link. Nothing above one can be committed
/// (`docs/adr/0008-pbft-view-change-base.md`).
pub(crate) fn obligations(view_changes: &[ViewChange], genesis: Hash256) -> Vec<Obligation> {
    let base = base(view_changes);
    let mut last = base.map_or(Sequence::GENESIS, |certificate| certificate.sequence);
    let mut parent = base.map_or(genesis, |certificate| certificate.digest);
    let mut obligations = Vec::new();
    while let Some(sequence) = last.next() {
        let highest = view_changes
            .iter()
            .flat_map(|view_change| &view_change.prepared)
            .filter(|certificate| certificate.sequence() == sequence)
            .max_by_key(|certificate| (certificate.view(), Reverse(certificate.pre_prepare.digest)))
            .map(|certificate: &PreparedCertificate| &certificate.pre_prepare);
        let Some(highest) = highest.filter(|highest| highest.parent == parent) else {
            break;
        };
        let digest = highest.digest;
        obligations.push(Obligation { sequence, digest, parent });
        (last, parent) = (sequence, digest);
    }
    obligations
}

impl NewView {
    /// Starts `view` from the VIEW-CHANGEs of a quorum, in the order of their senders.
    #[must_use]
    pub fn sign<K: Keys>(
        credentials: &Credentials<K>,
        view: View,
        view_changes: Vec<ViewChange>,
    ) -> Self {
        let proposals: Vec<_> = obligations(&view_changes, credentials.domain.chain)
            .into_iter()
            .map(|Obligation { sequence, digest, parent }| {
                SignedPrePrepare::sign(credentials, view, sequence, digest, parent)
            })
            .collect();
        let contents = contents(view, &view_changes, &proposals);
        let base = sequence_of_base(&view_changes);
        let signature = credentials.sign(&Statement::new_view(view, base, &contents));
        Self { view, view_changes, proposals, sender: credentials.own, signature }
    }

    /// The last block that it shows to be final.
    #[must_use]
    pub fn base(&self) -> Option<&CommitCertificate> {
        base(&self.view_changes)
    }

    /// Sequence of [`Self::base`].
    #[must_use]
    pub fn base_sequence(&self) -> Sequence {
        sequence_of_base(&self.view_changes)
    }

    /// Whether the view's primary signed it; whether it is right is another question.
    #[must_use]
    pub fn is_from_primary<K: Keys>(&self, credentials: &Credentials<K>) -> bool {
        self.sender == credentials.quorum.primary(self.view) && credentials.is_authentic(self)
    }

    /// Checks it whole: recomputes O and compares. `is_known` says which VIEW-CHANGEs have been
    /// checked before, byte for byte the same.
    ///
    /// # Errors
    /// When an honest primary cannot have sent it.
    pub fn verify<K: Keys>(
        &self,
        credentials: &Credentials<K>,
        window: u64,
        is_known: impl Fn(&ViewChange) -> bool,
    ) -> Result<(), NewViewError> {
        let quorum = credentials.quorum;
        if self.view == View::ZERO || self.sender != quorum.primary(self.view) {
            return Err(NewViewError::Sender(self.sender));
        }
        let view_changes = &self.view_changes;
        if view_changes.len() < quorum.quorum()
            || !is_ascending(view_changes.iter().map(|view_change| view_change.sender))
            || view_changes.iter().any(|view_change| view_change.view != self.view)
        {
            return Err(NewViewError::NoQuorum);
        }
        let obligations = obligations(view_changes, credentials.domain.chain);
        let is_obliged = |(proposal, obligation): (&SignedPrePrepare, &Obligation)| {
            proposal.view == self.view
                && proposal.sender == self.sender
                && proposal.sequence == obligation.sequence
                && proposal.digest == obligation.digest
                && proposal.parent == obligation.parent
        };
        if self.proposals.len() != obligations.len()
            || !self.proposals.iter().zip(&obligations).all(is_obliged)
        {
            return Err(NewViewError::Proposals);
        }
        if !credentials.is_authentic(self) {
            return Err(NewViewError::Signature(self.sender));
        }
        if self.proposals.iter().any(|proposal| !credentials.is_authentic(proposal)) {
            return Err(NewViewError::Proposals);
        }
        for view_change in view_changes.iter().filter(|view_change| !is_known(view_change)) {
            view_change
                .verify(credentials, window)
                .map_err(|error| NewViewError::ViewChange(view_change.sender, error))?;
        }
        Ok(())
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend(contents(self.view, &self.view_changes, &self.proposals));
        encoding::put_signed(out, self.sender, &self.signature);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            view: encoding::view(reader)?,
            view_changes: encoding::list(reader, ViewChange::decode)?,
            proposals: encoding::list(reader, SignedPrePrepare::decode)?,
            sender: encoding::replica(reader)?,
            signature: encoding::signature(reader)?,
        })
    }
}

impl Signed for NewView {
    fn statement(&self) -> Statement {
        let contents = contents(self.view, &self.view_changes, &self.proposals);
        Statement::new_view(self.view, self.base_sequence(), &contents)
    }

    fn sender(&self) -> ReplicaId {
        self.sender
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }
}

fn sequence_of_base(view_changes: &[ViewChange]) -> Sequence {
    base(view_changes).map_or(Sequence::GENESIS, |certificate| certificate.sequence)
}

/// The encoding without sender and signature: what the signature covers.
fn contents(view: View, view_changes: &[ViewChange], proposals: &[SignedPrePrepare]) -> Vec<u8> {
    let mut out = view.get().to_le_bytes().to_vec();
    encoding::put_count(&mut out, view_changes.len());
    for view_change in view_changes {
        view_change.encode(&mut out);
    }
    encoding::put_count(&mut out, proposals.len());
    for proposal in proposals {
        proposal.encode(&mut out);
    }
    out
}
