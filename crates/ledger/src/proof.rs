//! Proof that a block holds a transaction, checked with nothing but the chain spec.

use pentad_primitives::encode::Encode as _;
use pentad_primitives::hash::{BlockHash, Txid};
use pentad_primitives::merkle;
use pentad_primitives::{BlockHeader, Transaction};
use thiserror::Error;

use crate::spec::ChainSpec;
use crate::verify::semantic::{HeaderError, check_header};
use crate::verify::structural::FORBIDDEN_TRANSACTION_LEN;

/// A transaction, the header of its block, and the path between them.
///
/// The transaction itself is part of it: an id alone could as well be an inner node of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionProof {
    /// The transaction.
    pub transaction: Transaction,
    /// The header of its block.
    pub header: BlockHeader,
    /// From the transaction's id to the header's merkle root.
    pub path: merkle::Proof,
}

/// What a sound proof shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proved {
    /// The transaction.
    pub txid: Txid,
    /// The block that holds it. Whether this block is on the main chain, and how deep, is for
    /// somebody to say who knows the headers above it.
    pub block_hash: BlockHash,
}

/// Why a proof shows nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProofError {
    /// Such a transaction is invalid: its bytes could be two inner nodes of the tree.
    #[error("a transaction of 64 bytes proves nothing")]
    SixtyFourBytes,
    /// The path does not lead from the transaction to the header.
    #[error("the path does not lead from transaction {txid} to the header's merkle root")]
    Path {
        /// The transaction.
        txid: Txid,
    },
    /// Nobody has worked for the header.
    #[error(transparent)]
    Header(#[from] HeaderError),
}

impl TransactionProof {
    /// Checks the path and the work in the header, which is as much as its own `bits` claim and
    /// no less than the network's least. Under PBFT nobody works: only a certificate of the
    /// header, which is not part of this, shows that it is worth anything.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn check(&self, spec: &ChainSpec) -> Result<Proved, ProofError> {
        let txid = self.check_path()?;
        let block_hash = self.header.block_hash();
        if block_hash != spec.genesis_hash() {
            // Whoever holds the proof checks it later: its time needs no check against a clock.
            check_header(&self.header, &block_hash, spec, self.header.time)?;
        }
        Ok(Proved { txid, block_hash })
    }

    /// Checks that the header's block holds the transaction, and says which transaction it is.
    ///
    /// # Errors
    /// The path leads elsewhere, or from no transaction.
    pub fn check_path(&self) -> Result<Txid, ProofError> {
        let txid = self.transaction.txid();
        if self.transaction.encoded_len() == FORBIDDEN_TRANSACTION_LEN {
            return Err(ProofError::SixtyFourBytes);
        }
        if self.path.root(&txid) != Some(self.header.merkle_root) {
            return Err(ProofError::Path { txid });
        }
        Ok(txid)
    }
}
