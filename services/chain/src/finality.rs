//! What makes blocks of this network final, and how it is told from what does not.

use bytes::Bytes;
use pentad_ledger::ChainSpec;
use pentad_ledger::verify::Fault;
use pentad_pbft::{CommitCertificate, Sequence, ValidatorSetError};
use pentad_primitives::{BlockHash, BlockHeader, BlockHeight};
use pentad_proof::{CertificateFault, Membership};

use crate::refusal::Refusal;

/// The network's validators, if it has any. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Finality {
    membership: Option<Membership>,
    /// Blocks that must stand on one before validators make it final.
    depth: u32,
}

/// A certificate that makes a block final. It exists only once it has been checked.
#[derive(Clone, Debug)]
pub struct Certified {
    certificate: CommitCertificate,
    bytes: Bytes,
}

impl Finality {
    /// How blocks of a network become final.
    ///
    /// # Errors
    /// None for a valid spec.
    pub(crate) fn of(spec: &ChainSpec) -> Result<Self, ValidatorSetError> {
        let depth = spec.finality_depth().unwrap_or_default();
        Ok(Self { membership: Membership::of(spec)?, depth })
    }

    /// The validators; none under proof of work.
    #[must_use]
    pub fn membership(&self) -> Option<&Membership> {
        self.membership.as_ref()
    }

    /// Is a block of the main chain final at once?
    pub(crate) fn is_instant(&self) -> bool {
        self.membership.is_some() && self.depth == 0
    }

    /// Blocks that must stand on one of work before validators make it final; none where work
    /// makes no blocks, or nobody makes them final.
    pub(crate) fn depth_of_work(&self) -> Option<u32> {
        self.membership.as_ref().map(|_| self.depth).filter(|depth| *depth > 0)
    }

    /// Reads a certificate that came by itself.
    pub(crate) fn read(&self, certificate: &Bytes) -> Result<Certified, Refusal> {
        let block = CommitCertificate::from_bytes(certificate)
            .map(|certificate| BlockHash::from_bytes(certificate.digest.to_bytes()))
            .map_err(|error| refusal(&CertificateFault::Malformed(error)))?;
        self.check(certificate, &block)?.ok_or_else(|| refusal(&CertificateFault::Missing))
    }

    /// Checks what a block came with: under PBFT the certificate that makes it final, under work
    /// nothing, under work that validators make final either. Never says anything against the
    /// block itself.
    pub(crate) fn check(
        &self,
        certificate: &Bytes,
        block: &BlockHash,
    ) -> Result<Option<Certified>, Refusal> {
        match &self.membership {
            Some(_) if self.depth > 0 && certificate.is_empty() => Ok(None),
            Some(membership) => {
                let bytes = certificate.clone();
                let certificate =
                    membership.check(certificate, block).map_err(|it| refusal(&it))?;
                Ok(Some(Certified { certificate, bytes }))
            }
            None if certificate.is_empty() => Ok(None),
            None => {
                let message = "this network runs on proof of work, which knows no certificates";
                Err(Refusal::new("UNEXPECTED_CERTIFICATE", Fault::Mutation, message))
            }
        }
    }

    /// Checks headers that follow one another: under PBFT the certificate of the last one proves
    /// all of them, for each names its parent.
    pub(crate) fn check_headers(
        &self,
        headers: &[BlockHeader],
        certificate: &Bytes,
    ) -> Result<Option<Certified>, Refusal> {
        let hashes: Vec<BlockHash> = headers.iter().map(BlockHeader::block_hash).collect();
        let Some(last) = hashes.last() else {
            return Ok(None);
        };
        let certified = self.check(certificate, last)?;
        let mut follow = headers.iter().skip(1).zip(&hashes);
        if certified.is_some() && follow.any(|(header, parent)| header.prev_block_hash != *parent) {
            let message = "the headers do not follow one another: nobody has certified all of them";
            return Err(Refusal::new("NOT_CONSECUTIVE", Fault::Mutation, message));
        }
        Ok(certified)
    }
}

impl Certified {
    /// The block that it makes final.
    pub(crate) fn block(&self) -> BlockHash {
        BlockHash::from_bytes(self.certificate.digest.to_bytes())
    }

    /// The height that the validators signed.
    pub(crate) fn sequence(&self) -> Sequence {
        self.certificate.sequence
    }

    /// As it is stored and sent.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Checks that the block stands at the height that the validators signed.
    pub(crate) fn check_height(&self, height: BlockHeight) -> Result<(), Refusal> {
        CertificateFault::check_height(&self.certificate, height).map_err(|it| refusal(&it))
    }
}

/// Whoever sends a certificate that does not hold is to blame; the block may yet come with one.
fn refusal(fault: &CertificateFault) -> Refusal {
    let reason = match fault {
        CertificateFault::Missing => "NO_CERTIFICATE",
        CertificateFault::Malformed(_)
        | CertificateFault::OtherBlock { .. }
        | CertificateFault::OtherHeight { .. }
        | CertificateFault::Unsigned(_) => "BAD_CERTIFICATE",
    };
    Refusal::new(reason, Fault::Mutation, fault)
}
