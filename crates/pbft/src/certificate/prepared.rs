//! Prepared certificates: what survives a view change (section 4.4 of the paper).

use pentad_primitives::encode::Reader;

use super::{CertificateError, check_signatures};
use crate::credentials::Credentials;
use crate::domain::Statement;
use crate::encoding::{self, DecodeError};
use crate::identifiers::{ReplicaId, Sequence, View};
use crate::keys::{Keys, Signature};
use crate::message::SignedPrePrepare;

/// A PRE-PREPARE and matching PREPAREs of a quorum less the primary: proof that no other block can
/// be prepared at its sequence in its view.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PreparedCertificate {
    /// What was proposed; its view is the view in which the certificate formed.
    pub pre_prepare: SignedPrePrepare,
    /// PREPARE signatures of distinct backups, in the order of the replicas.
    pub prepares: Vec<(ReplicaId, Signature)>,
}

impl PreparedCertificate {
    /// The view in which it formed.
    #[must_use]
    pub const fn view(&self) -> View {
        self.pre_prepare.view
    }

    /// Its sequence.
    #[must_use]
    pub const fn sequence(&self) -> Sequence {
        self.pre_prepare.sequence
    }

    /// Checks it.
    ///
    /// # Errors
    /// When it is not a proposal of its view's primary that enough distinct backups prepared.
    pub fn verify<K: Keys>(&self, credentials: &Credentials<K>) -> Result<(), CertificateError> {
        let proposed = &self.pre_prepare;
        if proposed.sequence == Sequence::GENESIS {
            return Err(CertificateError::Sequence);
        }
        let quorum = credentials.quorum;
        if proposed.sender != quorum.primary(proposed.view) {
            return Err(CertificateError::Signer(proposed.sender));
        }
        if self.prepares.iter().any(|(signer, _)| *signer == proposed.sender) {
            return Err(CertificateError::Signer(proposed.sender));
        }
        if !credentials.is_authentic(proposed) {
            return Err(CertificateError::Signature(proposed.sender));
        }
        let statement = Statement::prepare(proposed.view, proposed.sequence, proposed.digest);
        let (domain, keys) = (&credentials.domain, &credentials.keys);
        let needed = quorum.prepares();
        check_signatures(&self.prepares, needed, &statement, domain, quorum, |s, hash, sig| {
            keys.verify(s, hash, sig)
        })
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        self.pre_prepare.encode(out);
        encoding::put_signatures(out, &self.prepares);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let pre_prepare = SignedPrePrepare::decode(reader)?;
        Ok(Self { pre_prepare, prepares: encoding::signatures(reader)? })
    }
}
