use pentad_ledger::proof::{self as ledger, TransactionProof};
use pentad_ledger::spec::Engine;
use pentad_ledger::{ChainSpec, verify::semantic};
use pentad_pbft::CommitCertificate;
use pentad_primitives::{BlockHash, BlockHeader, BlockHeight, Hash256, Txid};

use crate::error::{ProofError, Reason};
use crate::membership::{CertificateFault, Membership};

/// Proof that a network's ledger holds a transaction, to be checked against its chain spec alone.
/// [`PortableProof::to_json`] is its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortableProof {
    /// Name of the network.
    pub network: String,
    /// Hash of its chain spec.
    pub spec_hash: Hash256,
    /// Height of the block.
    pub height: BlockHeight,
    /// The transaction, the header of its block, the way between them.
    pub transaction: TransactionProof,
    /// What makes the block final; none under proof of work, of genesis, and of a mined block that
    /// validators have not made final.
    pub certificate: Option<CommitCertificate>,
    /// Headers from the block's child to the block of the certificate, where that is another one:
    /// who makes a block final makes all below it final.
    pub successors: Vec<BlockHeader>,
}

/// What a sound proof shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// The transaction.
    pub txid: Txid,
    /// Height of the block that holds it; `None` under proof of work, where the proof only claims
    /// one.
    pub height: Option<BlockHeight>,
    /// The block that holds it.
    pub block_hash: BlockHash,
    /// Time of the block, Unix seconds.
    pub time: u32,
    /// What it rests on.
    pub basis: Basis,
}

/// What a proof rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Basis {
    /// The block is the first, which the chain spec gives.
    Genesis,
    /// A quorum of validators signed the block, or one on it: it is final.
    Certificate {
        /// Their names.
        signers: Vec<String>,
    },
    /// Somebody worked for the block.
    Work,
}

/// The height of the last successor of a block.
pub(crate) fn certified_height(
    height: BlockHeight,
    successors: &[BlockHeader],
) -> Result<BlockHeight, ProofError> {
    u32::try_from(successors.len())
        .ok()
        .and_then(|count| height.get().checked_add(count))
        .map(BlockHeight::new)
        .ok_or_else(|| ProofError::new("successors", Reason::Successors))
}

impl Basis {
    /// What the proof leaves open.
    #[must_use]
    pub const fn does_not_prove(&self) -> Option<&'static str> {
        match self {
            Self::Genesis | Self::Certificate { .. } => None,
            Self::Work => Some(
                "that the block is on the main chain, at which height, and how deep: compare it \
                 with the headers of a node that you trust",
            ),
        }
    }
}

impl Proven {
    /// Names of the validators that signed; none but by a certificate.
    #[must_use]
    pub fn signers(&self) -> &[String] {
        match &self.basis {
            Basis::Certificate { signers } => signers,
            Basis::Genesis | Basis::Work => &[],
        }
    }
}

impl PortableProof {
    /// From what a node answers; `certificate` is empty if the block has none. Without successors.
    ///
    /// # Errors
    /// The certificate cannot be read.
    pub fn new(
        network: String,
        spec_hash: Hash256,
        height: BlockHeight,
        transaction: TransactionProof,
        certificate: &[u8],
    ) -> Result<Self, ProofError> {
        let certificate = match certificate {
            [] => None,
            bytes => Some(CommitCertificate::from_bytes(bytes).map_err(|error| {
                let fault = CertificateFault::Malformed(error);
                ProofError::new("certificate", fault.into())
            })?),
        };
        let successors = Vec::new();
        Ok(Self { network, spec_hash, height, transaction, certificate, successors })
    }

    /// Checks the proof against the spec of the network that the reader means.
    ///
    /// # Errors
    /// The first field that does not fit.
    pub fn check(&self, spec: &ChainSpec) -> Result<Proven, ProofError> {
        self.check_network(spec)?;
        let txid = self.check_path()?;
        let header = &self.transaction.header;
        let block_hash = header.block_hash();
        let (height, basis) = if block_hash == spec.genesis_hash() {
            self.check_genesis()?;
            (Some(self.height), Basis::Genesis)
        } else {
            match spec.engine() {
                Engine::Pow(_) => {
                    self.check_work(spec, &block_hash)?;
                    (None, Basis::Work)
                }
                Engine::Pbft(_) | Engine::Hybrid(_) => {
                    let signers = self.check_certificate(spec, &block_hash)?;
                    (Some(self.height), Basis::Certificate { signers })
                }
            }
        };
        Ok(Proven { txid, height, block_hash, time: header.time, basis })
    }

    fn check_network(&self, spec: &ChainSpec) -> Result<(), ProofError> {
        if self.network != spec.name() {
            let (found, expected) = (self.network.clone(), spec.name().to_owned());
            return Err(ProofError::new("network", Reason::Network { found, expected }));
        }
        if self.spec_hash != spec.spec_hash() {
            let (found, expected) = (self.spec_hash, spec.spec_hash());
            return Err(ProofError::new("spec_hash", Reason::Spec { found, expected }));
        }
        Ok(())
    }

    fn check_path(&self) -> Result<Txid, ProofError> {
        self.transaction.check_path().map_err(|error| match error {
            ledger::ProofError::SixtyFourBytes => {
                ProofError::new("transaction.raw", Reason::SixtyFourBytes)
            }
            ledger::ProofError::Path { txid } => {
                let root = self.transaction.header.merkle_root;
                ProofError::new("transaction.path", Reason::Path { txid, root })
            }
            ledger::ProofError::Header(error) => {
                ProofError::new("block", Reason::Header(error.to_string()))
            }
        })
    }

    fn check_genesis(&self) -> Result<(), ProofError> {
        if self.height != BlockHeight::GENESIS {
            return Err(ProofError::new("height", Reason::Genesis));
        }
        if self.certificate.is_some() {
            return Err(ProofError::new("certificate", Reason::Genesis));
        }
        if !self.successors.is_empty() {
            return Err(ProofError::new("successors", Reason::Genesis));
        }
        Ok(())
    }

    fn check_work(&self, spec: &ChainSpec, hash: &BlockHash) -> Result<(), ProofError> {
        if self.certificate.is_some() {
            return Err(ProofError::new("certificate", Reason::Uncertifiable));
        }
        if !self.successors.is_empty() {
            return Err(ProofError::new("successors", Reason::Uncertifiable));
        }
        let header = &self.transaction.header;
        // Whoever holds the proof checks it later: its time needs no check against a clock.
        semantic::check_header(header, hash, spec, header.time)
            .map_err(|error| ProofError::new("block", Reason::Header(error.to_string())))
    }

    fn check_certificate(
        &self,
        spec: &ChainSpec,
        hash: &BlockHash,
    ) -> Result<Vec<String>, ProofError> {
        let at = |fault: CertificateFault| ProofError::new("certificate", fault.into());
        let no_set = |problem: String| ProofError::new("certificate", Reason::Validators(problem));
        let membership = Membership::of(spec).map_err(|error| no_set(error.to_string()))?;
        let membership = membership.ok_or_else(|| no_set("there are none".to_owned()))?;
        let certificate = self.certificate.as_ref().ok_or_else(|| match spec.pbft() {
            Some(_) => at(CertificateFault::Missing),
            None => ProofError::new("certificate", Reason::NotFinal),
        })?;
        let (certified, height) = self.certified(hash)?;
        // A certificate's sequence is not in the file: it follows from the height that the file
        // claims.
        CertificateFault::check_height(certificate, height)
            .map_err(|fault| ProofError::new("height", fault.into()))?;
        membership.check_for_block(certificate, &certified).map_err(at)?;
        Ok(membership.signers(certificate))
    }

    /// The block that the certificate is for, and its height: the block itself, or the last of its
    /// successors, each of which names its parent.
    fn certified(&self, hash: &BlockHash) -> Result<(BlockHash, BlockHeight), ProofError> {
        let mut certified = *hash;
        for header in &self.successors {
            if header.prev_block_hash != certified {
                return Err(ProofError::new("successors", Reason::Successors));
            }
            certified = header.block_hash();
        }
        Ok((certified, certified_height(self.height, &self.successors)?))
    }
}
