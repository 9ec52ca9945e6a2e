//! Commit certificates: what makes a block final (section 4.2 of the paper).

use pentad_primitives::Hash256;
use pentad_primitives::encode::Reader;

use super::{CertificateError, check_signatures};
use crate::domain::{Domain, Statement};
use crate::encoding::{self, DecodeError};
use crate::identifiers::{ReplicaId, Sequence, View};
use crate::keys::{Keys, Signature};
use crate::quorum::Quorum;
use crate::secp;
use crate::validators::ValidatorSet;

/// COMMITs of a quorum for one block: proof, for anyone who knows the validators, that no other
/// block is final at its sequence. Stored with the block, outside of what its hash covers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitCertificate {
    /// The view that it was agreed on in.
    pub view: View,
    /// Its sequence: the height of the block.
    pub sequence: Sequence,
    /// The block's hash.
    pub digest: Hash256,
    /// COMMIT signatures of distinct replicas, in the order of the replicas.
    pub signatures: Vec<(ReplicaId, Signature)>,
}

impl CommitCertificate {
    /// Checks it under the validators of its height.
    ///
    /// # Errors
    /// When it is not signed by a quorum of distinct validators.
    pub fn verify(
        &self,
        domain: &Domain,
        validators: &ValidatorSet,
    ) -> Result<(), CertificateError> {
        self.check(domain, validators.quorum(), |signer, hash, signature| {
            secp::verify(validators, signer, hash, signature)
        })
    }

    /// As [`Self::verify`], under any kind of keys.
    ///
    /// # Errors
    /// When it is not signed by a quorum of distinct replicas.
    pub fn verify_with(
        &self,
        domain: &Domain,
        quorum: Quorum,
        keys: &impl Keys,
    ) -> Result<(), CertificateError> {
        self.check(domain, quorum, |signer, hash, signature| keys.verify(signer, hash, signature))
    }

    fn check(
        &self,
        domain: &Domain,
        quorum: Quorum,
        verify: impl Fn(ReplicaId, &Hash256, &Signature) -> bool,
    ) -> Result<(), CertificateError> {
        if self.sequence == Sequence::GENESIS {
            return Err(CertificateError::Sequence);
        }
        let statement = Statement::commit(self.view, self.sequence, self.digest);
        let needed = quorum.quorum();
        check_signatures(&self.signatures, needed, &statement, domain, quorum, verify)
    }

    /// The canonical encoding: view u64, sequence u64, digest 32, count u8, and for each signature
    /// replica u16 and signature 64; integers little-endian. `docs/protocol/pbft.md` has it with
    /// golden bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }

    /// From exactly its canonical encoding.
    ///
    /// # Errors
    /// When the bytes are any other.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        encoding::exactly(bytes, Self::decode)
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.view.get().to_le_bytes());
        out.extend(self.sequence.get().to_le_bytes());
        out.extend(self.digest.as_bytes());
        encoding::put_signatures(out, &self.signatures);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            view: encoding::view(reader)?,
            sequence: encoding::sequence(reader)?,
            digest: encoding::hash(reader)?,
            signatures: encoding::signatures(reader)?,
        })
    }
}
