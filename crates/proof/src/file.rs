//! The file of a proof: JSON that people can read, hashes displayed hex, bytes hex.
//!
//! The certificate's sequence and digest are the height and hash of the block, or of its last
//! successor, and not repeated.
//! Networks whose validators change will add the certified changes since genesis under another
//! format name.

use pentad_ledger::TransactionProof;
use pentad_pbft::{CommitCertificate, ReplicaId, Sequence, Signature, View};
use pentad_primitives::encode::{Decode as _, Encode as _};
use pentad_primitives::merkle;
use pentad_primitives::{
    BlockHash, BlockHeader, BlockHeight, CompactTarget, Hash256, Transaction, Txid,
};
use serde::{Deserialize, Serialize};

use crate::error::{ProofError, Reason};
use crate::portable::{PortableProof, certified_height};

/// What a file says of itself.
pub const FORMAT: &str = "pentad-proof-1";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: String,
    network: String,
    spec_hash: String,
    height: u32,
    block: Block,
    certificate: Option<Certificate>,
    /// Headers of 80 bytes each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    successors: Vec<String>,
    transaction: TransactionFile,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Block {
    hash: String,
    version: i32,
    prev_block_hash: String,
    merkle_root: String,
    time: u32,
    bits: String,
    nonce: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Certificate {
    view: u64,
    signatures: Vec<SignatureFile>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignatureFile {
    /// Place of the validator in the chain spec, from 0.
    validator: u16,
    signature: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TransactionFile {
    txid: String,
    raw: String,
    index: u32,
    path: Vec<String>,
}

impl PortableProof {
    /// Reads the file of a proof. Whether it is sound is for [`check`](Self::check) to say.
    ///
    /// # Errors
    /// The field that cannot be read, or that contradicts another one.
    pub fn from_json(text: &str) -> Result<Self, ProofError> {
        let value: serde_json::Value =
            serde_json::from_str(text).map_err(|error| ProofError::malformed("", error))?;
        let found = value.get("format").and_then(|format| format.as_str()).unwrap_or_default();
        if found != FORMAT {
            let found = found.to_owned();
            return Err(ProofError::new("format", Reason::Format { found }));
        }
        // From the text, whose errors name the line.
        let file: File =
            serde_json::from_str(text).map_err(|error| ProofError::malformed("", error))?;
        let header = file.block.header()?;
        let height = BlockHeight::new(file.height);
        let successors = file.successors.iter().map(|text| successor(text));
        let successors: Vec<BlockHeader> = successors.collect::<Result<_, _>>()?;
        let certified = successors.last().unwrap_or(&header);
        let certified_height = certified_height(height, &successors)?;
        let certificate = file.certificate.map(|it| it.certificate(certified_height, certified));
        let certificate = certificate.transpose()?;
        Ok(Self {
            network: file.network,
            spec_hash: parse("spec_hash", &file.spec_hash)?,
            height,
            transaction: file.transaction.proof(header)?,
            certificate,
            successors,
        })
    }

    /// The text of the proof's file.
    #[must_use]
    pub fn to_json(&self) -> String {
        let TransactionProof { transaction, header, path } = &self.transaction;
        let file = File {
            format: FORMAT.to_owned(),
            network: self.network.clone(),
            spec_hash: self.spec_hash.to_string(),
            height: self.height.get(),
            block: Block {
                hash: header.block_hash().to_string(),
                version: header.version,
                prev_block_hash: header.prev_block_hash.to_string(),
                merkle_root: header.merkle_root.to_string(),
                time: header.time,
                bits: header.bits.to_string(),
                nonce: header.nonce,
            },
            certificate: self.certificate.as_ref().map(|certificate| Certificate {
                view: certificate.view.get(),
                signatures: certificate.signatures.iter().map(SignatureFile::new).collect(),
            }),
            successors: self.successors.iter().map(|it| hex::encode(it.to_bytes())).collect(),
            transaction: TransactionFile {
                txid: transaction.txid().to_string(),
                raw: hex::encode(transaction.to_bytes()),
                index: path.index,
                path: path.siblings.iter().map(ToString::to_string).collect(),
            },
        };
        let mut text = serde_json::to_string_pretty(&file).unwrap_or_default();
        text.push('\n');
        text
    }
}

fn successor(text: &str) -> Result<BlockHeader, ProofError> {
    let field = "successors";
    let bytes = hex::decode(text).map_err(|error| ProofError::malformed(field, error))?;
    BlockHeader::from_bytes(&bytes).map_err(|error| ProofError::malformed(field, error))
}

impl Block {
    fn header(&self) -> Result<BlockHeader, ProofError> {
        let header = BlockHeader {
            version: self.version,
            prev_block_hash: parse("block.prev_block_hash", &self.prev_block_hash)?,
            merkle_root: parse("block.merkle_root", &self.merkle_root)?,
            time: self.time,
            bits: self.bits()?,
            nonce: self.nonce,
        };
        let found = header.block_hash();
        if parse::<BlockHash>("block.hash", &self.hash)? != found {
            return Err(ProofError::new("block.hash", Reason::BlockHash { found }));
        }
        Ok(header)
    }

    fn bits(&self) -> Result<CompactTarget, ProofError> {
        let mut bits = [0; 4];
        hex::decode_to_slice(&self.bits, &mut bits)
            .map_err(|_| ProofError::malformed("block.bits", "expected 8 hex digits"))?;
        Ok(CompactTarget(u32::from_be_bytes(bits)))
    }
}

impl Certificate {
    fn certificate(
        self,
        height: BlockHeight,
        header: &BlockHeader,
    ) -> Result<CommitCertificate, ProofError> {
        let signatures = self.signatures.iter().map(SignatureFile::signature);
        Ok(CommitCertificate {
            view: View::new(self.view),
            sequence: Sequence::from_height(height),
            digest: Hash256::from_bytes(header.block_hash().to_bytes()),
            signatures: signatures.collect::<Result<_, _>>()?,
        })
    }
}

impl SignatureFile {
    fn new((signer, signature): &(ReplicaId, Signature)) -> Self {
        Self { validator: signer.get(), signature: hex::encode(signature.as_bytes()) }
    }

    fn signature(&self) -> Result<(ReplicaId, Signature), ProofError> {
        let mut bytes = [0; Signature::LEN];
        hex::decode_to_slice(&self.signature, &mut bytes).map_err(|_| {
            ProofError::malformed("certificate.signatures.signature", "expected 128 hex digits")
        })?;
        Ok((ReplicaId::new(self.validator), Signature::from_bytes(bytes)))
    }
}

impl TransactionFile {
    fn proof(self, header: BlockHeader) -> Result<TransactionProof, ProofError> {
        let field = "transaction.raw";
        let raw = hex::decode(&self.raw).map_err(|error| ProofError::malformed(field, error))?;
        let transaction = Transaction::from_bytes(&raw);
        let transaction = transaction.map_err(|error| ProofError::malformed(field, error))?;
        let found = transaction.txid();
        if parse::<Txid>("transaction.txid", &self.txid)? != found {
            return Err(ProofError::new("transaction.txid", Reason::Txid { found }));
        }
        let siblings = self.path.iter().map(|sibling| parse("transaction.path", sibling));
        let siblings = siblings.collect::<Result<_, _>>()?;
        let path = merkle::Proof { index: self.index, siblings };
        Ok(TransactionProof { transaction, header, path })
    }
}

fn parse<T: std::str::FromStr>(field: &'static str, text: &str) -> Result<T, ProofError>
where
    T::Err: ToString,
{
    text.parse().map_err(|error: T::Err| ProofError::malformed(field, error.to_string()))
}
