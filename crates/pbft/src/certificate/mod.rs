//! Proofs made of signatures of a quorum.

mod commit;
mod prepared;
#[cfg(test)]
mod tests;

pub use commit::CommitCertificate;
use pentad_primitives::Hash256;
pub use prepared::PreparedCertificate;
use thiserror::Error;

use crate::domain::{Domain, Statement};
use crate::encoding::is_ascending;
use crate::identifiers::ReplicaId;
use crate::keys::Signature;
use crate::quorum::Quorum;

/// Why a certificate proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum CertificateError {
    /// It is for another sequence than it should be.
    #[error("the certificate is for a sequence that it cannot be for")]
    Sequence,
    /// Too few signatures.
    #[error("{found} signatures, a quorum needs {needed}")]
    NoQuorum {
        /// Signatures in it.
        found: usize,
        /// Signatures it needs.
        needed: usize,
    },
    /// Signers that are not in ascending order, so that one might count twice.
    #[error("the signers are not in strictly ascending order")]
    NotAscending,
    /// A signer who is no replica, or whose signature cannot stand there.
    #[error("replica {0} cannot have signed")]
    Signer(ReplicaId),
    /// A signature that does not match.
    #[error("the signature of replica {0} does not match")]
    Signature(ReplicaId),
}

/// That `needed` distinct replicas signed one statement; cheap checks come first.
fn check_signatures(
    signatures: &[(ReplicaId, Signature)],
    needed: usize,
    statement: &Statement,
    domain: &Domain,
    quorum: Quorum,
    verify: impl Fn(ReplicaId, &Hash256, &Signature) -> bool,
) -> Result<(), CertificateError> {
    if signatures.len() < needed {
        return Err(CertificateError::NoQuorum { found: signatures.len(), needed });
    }
    if !is_ascending(signatures.iter().map(|(signer, _)| *signer)) {
        return Err(CertificateError::NotAscending);
    }
    if let Some((signer, _)) = signatures.iter().find(|(signer, _)| !quorum.contains(*signer)) {
        return Err(CertificateError::Signer(*signer));
    }
    for (signer, signature) in signatures {
        let hash = statement.signing_hash(domain, *signer);
        if !verify(*signer, &hash, signature) {
            return Err(CertificateError::Signature(*signer));
        }
    }
    Ok(())
}
