use std::sync::Arc;

use pentad_ledger::ChainSpec;
use pentad_pbft::{
    CertificateError, CommitCertificate, DecodeError, Domain, Sequence, Validator, ValidatorSet,
    ValidatorSetError,
};
use pentad_primitives::{BlockHash, BlockHeight, Hash256};
use thiserror::Error;

/// Who makes the blocks of a network final, and what their signatures are bound to. One set for
/// all heights: a spec knows no membership changes yet. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    domain: Domain,
    validators: Arc<ValidatorSet>,
}

/// Why a certificate does not make a block final.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CertificateFault {
    /// Under PBFT, a block without one is nobody's.
    #[error("the block has no commit certificate")]
    Missing,
    /// The bytes are no certificate.
    #[error("the commit certificate cannot be read: {0}")]
    Malformed(#[from] DecodeError),
    /// Another block is final by it.
    #[error("the commit certificate is for block {found}")]
    OtherBlock {
        /// The block that it is for.
        found: BlockHash,
    },
    /// Another height is what the validators signed.
    #[error("the commit certificate is for height {found}, not {expected}")]
    OtherHeight {
        /// The sequence that it is for.
        found: Sequence,
        /// The block's.
        expected: BlockHeight,
    },
    /// No quorum stands behind it.
    #[error("the commit certificate does not hold: {0}")]
    Unsigned(#[from] CertificateError),
}

impl Membership {
    /// The validators of a network; `None` under proof of work.
    ///
    /// # Errors
    /// None for a valid spec: it keeps a superset of the rules of a validator set.
    pub fn of(spec: &ChainSpec) -> Result<Option<Self>, ValidatorSetError> {
        let Some(pbft) = spec.agreement() else {
            return Ok(None);
        };
        let validators = pbft.validators.iter().map(|validator| Validator {
            name: validator.name.clone(),
            key: validator.key,
            payout: validator.payout.script_pubkey(),
        });
        let validators = ValidatorSet::new(validators.collect())?;
        let chain = Hash256::from_bytes(spec.genesis_hash().to_bytes());
        let domain = Domain { chain, validators: validators.hash() };
        Ok(Some(Self { domain, validators: Arc::new(validators) }))
    }

    /// What signatures are bound to beside what they say.
    #[must_use]
    pub const fn domain(&self) -> &Domain {
        &self.domain
    }

    /// The validators.
    #[must_use]
    pub const fn validators(&self) -> &Arc<ValidatorSet> {
        &self.validators
    }

    /// Reads a certificate and checks that it makes this block final, at the height that it names.
    ///
    /// # Errors
    /// Why it does not.
    pub fn check(
        &self,
        certificate: &[u8],
        block: &BlockHash,
    ) -> Result<CommitCertificate, CertificateFault> {
        if certificate.is_empty() {
            return Err(CertificateFault::Missing);
        }
        let certificate = CommitCertificate::from_bytes(certificate)?;
        self.check_for_block(&certificate, block)?;
        Ok(certificate)
    }

    /// As [`check`](Self::check), of a certificate that has been read.
    ///
    /// # Errors
    /// Why it does not make the block final.
    pub fn check_for_block(
        &self,
        certificate: &CommitCertificate,
        block: &BlockHash,
    ) -> Result<(), CertificateFault> {
        let found = BlockHash::from_bytes(certificate.digest.to_bytes());
        if found != *block {
            return Err(CertificateFault::OtherBlock { found });
        }
        Ok(certificate.verify(&self.domain, &self.validators)?)
    }

    /// Names of the validators that signed a certificate.
    #[must_use]
    pub fn signers(&self, certificate: &CommitCertificate) -> Vec<String> {
        let signers = certificate.signatures.iter().map(|(signer, _)| *signer);
        let validators = signers.filter_map(|signer| self.validators.get(signer));
        validators.map(|validator| validator.name.clone()).collect()
    }
}

impl CertificateFault {
    /// Checks that a certificate is for this height.
    ///
    /// # Errors
    /// [`CertificateFault::OtherHeight`].
    pub fn check_height(
        certificate: &CommitCertificate,
        expected: BlockHeight,
    ) -> Result<(), Self> {
        let found = certificate.sequence;
        if found != Sequence::from_height(expected) {
            return Err(Self::OtherHeight { found, expected });
        }
        Ok(())
    }
}
