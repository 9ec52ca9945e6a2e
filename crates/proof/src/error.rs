use pentad_primitives::{BlockHash, Hash256, MerkleRoot, Txid};
use thiserror::Error;

use crate::membership::CertificateFault;

/// Why a proof shows nothing: the field of its file that does not fit, and how.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{field}`: {reason}")]
pub struct ProofError {
    /// The field, as in the file.
    pub field: &'static str,
    /// What is wrong with it.
    pub reason: Reason,
}

/// What is wrong with a field of a proof.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Reason {
    /// The text cannot be read.
    #[error("{0}")]
    Malformed(String),
    /// A file of another version.
    #[error("`{found}` is not a format that this version reads; it reads `{}`", crate::FORMAT)]
    Format {
        /// As in the file.
        found: String,
    },
    /// The proof is another network's.
    #[error("the proof is of network `{found}`, the chain spec of `{expected}`")]
    Network {
        /// Of the proof.
        found: String,
        /// Of the chain spec.
        expected: String,
    },
    /// The networks have the same name and different rules.
    #[error("the proof belongs to spec {found}, the chain spec is {expected}")]
    Spec {
        /// Of the proof.
        found: Hash256,
        /// Of the chain spec.
        expected: Hash256,
    },
    /// The bytes are another transaction's.
    #[error("the bytes are transaction {found}")]
    Txid {
        /// What they hash to.
        found: Txid,
    },
    /// Such a transaction is invalid: its bytes could be two inner nodes of the tree.
    #[error("a transaction of 64 bytes proves nothing")]
    SixtyFourBytes,
    /// The block does not hold the transaction.
    #[error(
        "the path leads from transaction {txid} to another merkle root than the header's, {root}"
    )]
    Path {
        /// The transaction.
        txid: Txid,
        /// The header's.
        root: MerkleRoot,
    },
    /// The fields are another header's.
    #[error("the header's fields hash to {found}")]
    BlockHash {
        /// What they hash to.
        found: BlockHash,
    },
    /// The first block is given by the spec, at height 0, and nobody signs it.
    #[error("the block is genesis, which stands at height 0 without a certificate")]
    Genesis,
    /// The header breaks a rule of its own.
    #[error("{0}")]
    Header(String),
    /// No certificate belongs to a block of proof of work.
    #[error("the network runs on proof of work, which knows no certificates")]
    Uncertifiable,
    /// Work makes a block, and only a certificate makes it final.
    #[error("the block has no commit certificate: it is not shown to be final")]
    NotFinal,
    /// They must lead from the block to that of the certificate.
    #[error("the headers do not follow one another from the block on")]
    Successors,
    /// The certificate does not make the block final.
    #[error(transparent)]
    Certificate(#[from] CertificateFault),
    /// The chain spec's validators are no set; a valid spec has none such.
    #[error("the validators of the chain spec: {0}")]
    Validators(String),
}

impl ProofError {
    pub(crate) const fn new(field: &'static str, reason: Reason) -> Self {
        Self { field, reason }
    }

    pub(crate) fn malformed(field: &'static str, problem: impl ToString) -> Self {
        Self::new(field, Reason::Malformed(problem.to_string()))
    }
}
