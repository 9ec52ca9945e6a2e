//! VIEW-CHANGE (section 4.4 of the paper).

use pentad_primitives::encode::Reader;
use thiserror::Error;

use crate::certificate::{CertificateError, CommitCertificate, PreparedCertificate};
use crate::credentials::{Credentials, Signed};
use crate::domain::Statement;
use crate::encoding::{self, DecodeError, is_ascending};
use crate::identifiers::{ReplicaId, Sequence, View};
use crate::keys::{Keys, Signature};

/// A replica left all views below `view`, and what it holds: what is final with it, and what is
/// prepared above that.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ViewChange {
    /// The view it wants to enter.
    pub view: View,
    /// Certificate of the last block it executed; none at genesis.
    pub last_final: Option<CommitCertificate>,
    /// Prepared certificates above that, of the highest view each, in the order of sequences.
    pub prepared: Vec<PreparedCertificate>,
    /// Who left.
    pub sender: ReplicaId,
    /// The sender's signature.
    pub signature: Signature,
}

/// Why a VIEW-CHANGE is dropped whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum ViewChangeError {
    /// Nobody can change into the first view.
    #[error("view 0 cannot be changed into")]
    View,
    /// The signature does not match.
    #[error("the signature of replica {0} does not match")]
    Signature(ReplicaId),
    /// The certificate of the last final block proves nothing.
    #[error("the last final block: {0}")]
    LastFinal(CertificateError),
    /// A prepared certificate proves nothing.
    #[error("sequence {0} is not prepared: {1}")]
    Prepared(Sequence, CertificateError),
    /// Prepared certificates out of order, outside of the window, or from views not left.
    #[error("the prepared certificates cannot stand in this view-change")]
    PreparedSet,
}

impl ViewChange {
    /// Leaves the views below `view`.
    #[must_use]
    pub fn sign<K: Keys>(
        credentials: &Credentials<K>,
        view: View,
        last_final: Option<CommitCertificate>,
        prepared: Vec<PreparedCertificate>,
    ) -> Self {
        let contents = contents(view, last_final.as_ref(), &prepared);
        let statement = Statement::view_change(view, sequence_of(last_final.as_ref()), &contents);
        let signature = credentials.sign(&statement);
        Self { view, last_final, prepared, sender: credentials.own, signature }
    }

    /// Sequence of the last final block; genesis if there is no certificate.
    #[must_use]
    pub fn last_final_sequence(&self) -> Sequence {
        sequence_of(self.last_final.as_ref())
    }

    /// Checks it whole. What it says depends on nothing that the checking replica holds, so that
    /// all agree on it. `window` is the most sequences in flight.
    ///
    /// # Errors
    /// When it is not what an honest replica can have sent.
    pub fn verify<K: Keys>(
        &self,
        credentials: &Credentials<K>,
        window: u64,
    ) -> Result<(), ViewChangeError> {
        if self.view == View::ZERO {
            return Err(ViewChangeError::View);
        }
        let low = self.last_final_sequence();
        let high = low.plus(window);
        let within = self.prepared.iter().all(|certificate| {
            let sequence = certificate.sequence();
            sequence > low && sequence <= high && certificate.view() < self.view
        });
        if !within || !is_ascending(self.prepared.iter().map(PreparedCertificate::sequence)) {
            return Err(ViewChangeError::PreparedSet);
        }
        if !credentials.is_authentic(self) {
            return Err(ViewChangeError::Signature(self.sender));
        }
        if let Some(certificate) = &self.last_final {
            certificate
                .verify_with(&credentials.domain, credentials.quorum, &credentials.keys)
                .map_err(ViewChangeError::LastFinal)?;
        }
        for certificate in &self.prepared {
            certificate
                .verify(credentials)
                .map_err(|error| ViewChangeError::Prepared(certificate.sequence(), error))?;
        }
        Ok(())
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend(contents(self.view, self.last_final.as_ref(), &self.prepared));
        encoding::put_signed(out, self.sender, &self.signature);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let view = encoding::view(reader)?;
        let last_final =
            if encoding::flag(reader)? { Some(CommitCertificate::decode(reader)?) } else { None };
        Ok(Self {
            view,
            last_final,
            prepared: encoding::list(reader, PreparedCertificate::decode)?,
            sender: encoding::replica(reader)?,
            signature: encoding::signature(reader)?,
        })
    }
}

impl Signed for ViewChange {
    fn statement(&self) -> Statement {
        let contents = contents(self.view, self.last_final.as_ref(), &self.prepared);
        Statement::view_change(self.view, self.last_final_sequence(), &contents)
    }

    fn sender(&self) -> ReplicaId {
        self.sender
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }
}

fn sequence_of(last_final: Option<&CommitCertificate>) -> Sequence {
    last_final.map_or(Sequence::GENESIS, |certificate| certificate.sequence)
}

/// The encoding without sender and signature: what the signature covers.
fn contents(
    view: View,
    last_final: Option<&CommitCertificate>,
    prepared: &[PreparedCertificate],
) -> Vec<u8> {
    let mut out = view.get().to_le_bytes().to_vec();
    encoding::put_flag(&mut out, last_final.is_some());
    if let Some(certificate) = last_final {
        certificate.encode(&mut out);
    }
    encoding::put_count(&mut out, prepared.len());
    for certificate in prepared {
        certificate.encode(&mut out);
    }
    out
}
