//! Messages to domain types and back. What arrives is checked field by field: the error says
//! which one is wrong.

use bytes::Bytes;
use pentad_crypto::{Address, AddressVersions, ScriptTemplate, classify};
use pentad_primitives::encode::{Decode as _, Encode as _};
use pentad_primitives::{
    Block, BlockHash, BlockHeader, BlockHeight, Hash256, OutPoint, Script, Transaction, TxOut,
    Txid, Utxo, Work, merkle,
};
use thiserror::Error;

use crate::status::Failure;
use crate::types::v1 as proto;

/// A field of a message that is missing or cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field}: {problem}")]
pub struct FieldError {
    /// Name of the field in the proto.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

impl FieldError {
    fn new(field: &'static str, problem: impl ToString) -> Self {
        Self { field, problem: problem.to_string() }
    }
}

impl From<FieldError> for Failure {
    fn from(error: FieldError) -> Self {
        Self::invalid_field(error.field, error.problem)
    }
}

/// A transaction id from displayed hex.
///
/// # Errors
/// When `text` is not 64 hex digits.
pub fn txid_from_hex(field: &'static str, text: &str) -> Result<Txid, FieldError> {
    text.parse().map_err(|error| FieldError::new(field, error))
}

/// A block hash from displayed hex.
///
/// # Errors
/// When `text` is not 64 hex digits.
pub fn block_hash_from_hex(field: &'static str, text: &str) -> Result<BlockHash, FieldError> {
    text.parse().map_err(|error| FieldError::new(field, error))
}

/// The 32 bytes of a hash in internal order.
///
/// # Errors
/// When there are not 32 of them.
pub fn hash_from_bytes(field: &'static str, bytes: &[u8]) -> Result<[u8; 32], FieldError> {
    bytes
        .try_into()
        .map_err(|_| FieldError::new(field, format!("expected 32 bytes, found {}", bytes.len())))
}

/// A transaction from Bitcoin's legacy serialization.
///
/// # Errors
/// When the bytes are not exactly one transaction.
pub fn transaction_from_bytes(
    field: &'static str,
    bytes: &[u8],
) -> Result<Transaction, FieldError> {
    Transaction::from_bytes(bytes).map_err(|error| FieldError::new(field, error))
}

/// A block from Bitcoin's serialization.
///
/// # Errors
/// When the bytes are not exactly one block.
pub fn block_from_bytes(field: &'static str, bytes: &[u8]) -> Result<Block, FieldError> {
    Block::from_bytes(bytes).map_err(|error| FieldError::new(field, error))
}

/// A header with its place in the chain, for people.
#[must_use]
pub fn header_message(
    header: &BlockHeader,
    height: BlockHeight,
    chain_work: &Work,
    confirmations: u32,
) -> proto::BlockHeader {
    proto::BlockHeader {
        hash: header.block_hash().to_string(),
        height: height.get(),
        version: header.version,
        prev_block_hash: header.prev_block_hash.to_string(),
        merkle_root: header.merkle_root.to_string(),
        time: header.time,
        bits: header.bits.to_string(),
        nonce: header.nonce,
        chain_work: chain_work.to_string(),
        confirmations,
    }
}

/// A block, for people; `header` as [`header_message`] gives it.
#[must_use]
pub fn block_message(block: &Block, header: proto::BlockHeader) -> proto::Block {
    proto::Block {
        header: Some(header),
        txids: block.transactions.iter().map(|tx| tx.txid().to_string()).collect(),
        raw: Bytes::from(block.to_bytes()),
    }
}

/// A transaction, for people.
#[must_use]
pub fn transaction_message(
    transaction: &Transaction,
    versions: &AddressVersions,
) -> proto::Transaction {
    let inputs = transaction.inputs.iter().map(|input| proto::TxInput {
        previous_output: (!input.previous_output.is_null())
            .then(|| outpoint_message(&input.previous_output)),
        script_sig: hex::encode(input.script_sig.as_bytes()),
        sequence: input.sequence,
    });
    proto::Transaction {
        txid: transaction.txid().to_string(),
        version: transaction.version,
        inputs: inputs.collect(),
        outputs: transaction.outputs.iter().map(|out| output_message(out, versions)).collect(),
        lock_time: transaction.lock_time,
        raw: Bytes::from(transaction.to_bytes()),
    }
}

/// An unspent output as the ledger holds it at `tip`; `tip` is `None` while the output is
/// unconfirmed. `mature` and `spent_in_mempool` are the caller's to know.
#[must_use]
pub fn utxo_message(
    outpoint: &OutPoint,
    utxo: &Utxo,
    tip: Option<BlockHeight>,
    versions: &AddressVersions,
) -> proto::Utxo {
    let confirmations =
        tip.map_or(0, |tip| tip.get().saturating_sub(utxo.height.get()).saturating_add(1));
    proto::Utxo {
        outpoint: Some(outpoint_message(outpoint)),
        output: Some(output_message(&utxo.output, versions)),
        height: tip.map_or(0, |_| utxo.height.get()),
        from_coinbase: utxo.from_coinbase,
        confirmations,
        mature: true,
        spent_in_mempool: false,
    }
}

/// A proof that a block holds a transaction.
#[must_use]
pub fn proof_message(
    transaction: &Transaction,
    header: &BlockHeader,
    path: &merkle::Proof,
) -> proto::TransactionProof {
    proto::TransactionProof {
        transaction: transaction.to_bytes().into(),
        header: header.to_bytes().into(),
        index: path.index,
        siblings: path.siblings.iter().map(ToString::to_string).collect(),
    }
}

/// The inverse of [`proof_message`]; whether the proof is sound is for the ledger to say.
///
/// # Errors
/// When a field is malformed.
pub fn proof_from_message(
    message: &proto::TransactionProof,
) -> Result<(Transaction, BlockHeader, merkle::Proof), FieldError> {
    let transaction = transaction_from_bytes("proof.transaction", &message.transaction)?;
    let header = BlockHeader::from_bytes(&message.header)
        .map_err(|error| FieldError::new("proof.header", error))?;
    let siblings = message.siblings.iter().map(|sibling| sibling.parse::<Hash256>());
    let siblings = siblings
        .collect::<Result<_, _>>()
        .map_err(|error| FieldError::new("proof.siblings", error))?;
    Ok((transaction, header, merkle::Proof { index: message.index, siblings }))
}

/// A reference to an output.
#[must_use]
pub fn outpoint_message(outpoint: &OutPoint) -> proto::OutPoint {
    proto::OutPoint { txid: outpoint.txid.to_string(), vout: outpoint.vout }
}

fn output_message(output: &TxOut, versions: &AddressVersions) -> proto::TxOutput {
    proto::TxOutput {
        amount: output.amount.units(),
        script_pubkey: hex::encode(output.script_pubkey.as_bytes()),
        address: address_of(&output.script_pubkey)
            .map(|address| address.encode(versions))
            .unwrap_or_default(),
    }
}

fn address_of(script: &Script) -> Option<Address> {
    match classify(script)? {
        ScriptTemplate::P2pkh(key_hash) => Some(Address::P2pkh(key_hash)),
        ScriptTemplate::P2sh(script_hash) => Some(Address::P2sh(script_hash)),
        ScriptTemplate::Data(_) => None,
    }
}

impl TryFrom<&proto::OutPoint> for OutPoint {
    type Error = FieldError;

    fn try_from(message: &proto::OutPoint) -> Result<Self, FieldError> {
        Ok(Self { txid: txid_from_hex("outpoint.txid", &message.txid)?, vout: message.vout })
    }
}
