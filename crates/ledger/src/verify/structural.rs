//! First stage: the form of a transaction or block, from its bytes alone.

use pentad_crypto::script::{self, ScriptTemplate};
use pentad_primitives::encode::Encode;
use pentad_primitives::hash::Txid;
use pentad_primitives::{Amount, Block, OutPoint, Transaction, merkle};
use thiserror::Error;

use super::Fault;
use crate::coinbase;
use crate::spec::Limits;

/// The largest scriptSig of a template, 15-of-15 multisig, has 1,624 bytes; Bitcoin's policy
/// rounds up to this.
pub const SCRIPT_SIG_LEN_MAX: usize = 1_650;
/// A transaction of this size can pass for an inner node of the merkle tree.
pub const FORBIDDEN_TRANSACTION_LEN: usize = 64;

/// Why a transaction has no legal form.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TransactionError {
    /// It spends nothing.
    #[error("transaction has no inputs")]
    NoInputs,
    /// It pays nobody.
    #[error("transaction has no outputs")]
    NoOutputs,
    /// It exceeds the spec's limit.
    #[error("transaction of {bytes} bytes, more than {max}")]
    TooLarge {
        /// Encoded size.
        bytes: usize,
        /// The limit.
        max: u32,
    },
    /// 64 bytes look like an inner node of the merkle tree.
    #[error("transaction of exactly 64 bytes")]
    SixtyFourBytes,
    /// One output spent twice (CVE-2018-17144).
    #[error("output {outpoint} is spent twice in one transaction")]
    DuplicateInput {
        /// The output.
        outpoint: OutPoint,
    },
    /// Only a coinbase spends the null outpoint.
    #[error("input {input} spends the null outpoint")]
    NullInput {
        /// Position of the input.
        input: usize,
    },
    /// The outputs together are no amount (CVE-2010-5139).
    #[error("outputs exceed 21 million coins")]
    OutputOverflow,
    /// Not P2PKH, P2SH or data.
    #[error("script of output {output} is none of the templates")]
    UnknownTemplate {
        /// Position of the output.
        output: usize,
    },
    /// At most one output carries data.
    #[error("more than one data output")]
    SecondDataOutput,
    /// No template has such a scriptSig.
    #[error("scriptSig of input {input} is longer than any template's")]
    ScriptSigTooLong {
        /// Position of the input.
        input: usize,
    },
    /// A coinbase scriptSig has 2 to 100 bytes.
    #[error("coinbase scriptSig of {bytes} bytes, must be 2 to 100")]
    CoinbaseScriptSig {
        /// Its size.
        bytes: usize,
    },
}

/// Why a block has no legal form.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BlockError {
    /// Its transactions are not those the header commits to.
    #[error("merkle root of the transactions is not the header's")]
    MerkleRoot,
    /// A tail of the transactions is repeated and leaves the merkle root as it is (CVE-2012-2459).
    #[error("transactions are repeated under one merkle root")]
    MerkleMutated,
    /// Inner nodes of the merkle tree pass for transactions.
    #[error("no coinbase, and transaction {index} has exactly 64 bytes")]
    SixtyFourByteTransaction {
        /// Position in the block.
        index: usize,
    },
    /// It exceeds the spec's limit.
    #[error("block of {bytes} bytes, more than {max}")]
    TooLarge {
        /// Encoded size.
        bytes: usize,
        /// The limit.
        max: u32,
    },
    /// The first transaction is the coinbase.
    #[error("first transaction is not a coinbase")]
    NoCoinbase,
    /// No other transaction is.
    #[error("transaction {index} is a second coinbase")]
    SecondCoinbase {
        /// Position in the block.
        index: usize,
    },
    /// A transaction has no legal form.
    #[error("transaction {index}: {source}")]
    Transaction {
        /// Position in the block.
        index: usize,
        /// Its fault.
        source: TransactionError,
    },
}

impl BlockError {
    /// The first three say that the bytes are not the header's block.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::MerkleRoot | Self::MerkleMutated | Self::SixtyFourByteTransaction { .. } => {
                Fault::Mutation
            }
            Self::TooLarge { .. }
            | Self::NoCoinbase
            | Self::SecondCoinbase { .. }
            | Self::Transaction { .. } => Fault::Invalid,
        }
    }
}

/// Checks the form of a transaction, coinbase or not.
///
/// # Errors
/// The first rule broken.
pub fn check_transaction(
    transaction: &Transaction,
    limits: &Limits,
) -> Result<(), TransactionError> {
    if transaction.inputs.is_empty() {
        return Err(TransactionError::NoInputs);
    }
    if transaction.outputs.is_empty() {
        return Err(TransactionError::NoOutputs);
    }
    check_transaction_size(transaction, limits)?;
    check_inputs(transaction)?;
    check_outputs(transaction)
}

fn check_transaction_size(
    transaction: &Transaction,
    limits: &Limits,
) -> Result<(), TransactionError> {
    let bytes = transaction.encoded_len();
    if bytes == FORBIDDEN_TRANSACTION_LEN {
        return Err(TransactionError::SixtyFourBytes);
    }
    let max = limits.transaction_bytes;
    if exceeds(bytes, max) {
        return Err(TransactionError::TooLarge { bytes, max });
    }
    Ok(())
}

fn check_inputs(transaction: &Transaction) -> Result<(), TransactionError> {
    if transaction.is_coinbase() {
        let bytes = transaction.inputs.first().map_or(0, |input| input.script_sig.len());
        let legal = coinbase::SCRIPT_SIG_LEN_MIN..=coinbase::SCRIPT_SIG_LEN_MAX;
        if !legal.contains(&bytes) {
            return Err(TransactionError::CoinbaseScriptSig { bytes });
        }
        return Ok(());
    }
    for (index, input) in transaction.inputs.iter().enumerate() {
        if input.previous_output.is_null() {
            return Err(TransactionError::NullInput { input: index });
        }
        if input.script_sig.len() > SCRIPT_SIG_LEN_MAX {
            return Err(TransactionError::ScriptSigTooLong { input: index });
        }
    }
    let mut outpoints: Vec<_> = transaction.inputs.iter().map(|i| i.previous_output).collect();
    outpoints.sort_unstable();
    let duplicate = outpoints.array_windows().find(|[a, b]| a == b);
    match duplicate {
        Some(&[outpoint, _]) => Err(TransactionError::DuplicateInput { outpoint }),
        None => Ok(()),
    }
}

fn check_outputs(transaction: &Transaction) -> Result<(), TransactionError> {
    Amount::sum(transaction.outputs.iter().map(|output| output.amount))
        .map_err(|_| TransactionError::OutputOverflow)?;
    let mut has_data = false;
    for (index, output) in transaction.outputs.iter().enumerate() {
        match script::classify(&output.script_pubkey) {
            Some(ScriptTemplate::P2pkh(_) | ScriptTemplate::P2sh(_)) => {}
            Some(ScriptTemplate::Data(_)) if has_data => {
                return Err(TransactionError::SecondDataOutput);
            }
            Some(ScriptTemplate::Data(_)) => has_data = true,
            None => return Err(TransactionError::UnknownTemplate { output: index }),
        }
    }
    Ok(())
}

/// Checks the form of a block. Whether its bytes belong to its header comes first, so that no
/// mutated copy is ever blamed on the header.
///
/// # Errors
/// The first rule broken; see [`BlockError::fault`].
pub fn check_block(block: &Block, txids: &[Txid], limits: &Limits) -> Result<(), BlockError> {
    let root = merkle::root_checked(txids).map_err(|_| BlockError::MerkleMutated)?;
    if txids.is_empty() || root != block.header.merkle_root {
        return Err(BlockError::MerkleRoot);
    }
    // Inner nodes in place of transactions: the first cannot look like a coinbase, for that would
    // take a hash with 28 given bytes. After a coinbase, the 64 bytes are the header's own fault.
    let transactions = || block.transactions.iter().enumerate();
    let has_coinbase = block.transactions.first().is_some_and(Transaction::is_coinbase);
    let sixty_four = |t: &Transaction| t.encoded_len() == FORBIDDEN_TRANSACTION_LEN;
    if let Some((index, _)) = transactions().find(|(_, t)| !has_coinbase && sixty_four(t)) {
        return Err(BlockError::SixtyFourByteTransaction { index });
    }
    let (bytes, max) = (block.encoded_len(), limits.block_bytes);
    if exceeds(bytes, max) {
        return Err(BlockError::TooLarge { bytes, max });
    }
    for (index, transaction) in transactions() {
        match (index, transaction.is_coinbase()) {
            (0, false) => return Err(BlockError::NoCoinbase),
            (1.., true) => return Err(BlockError::SecondCoinbase { index }),
            _ => {}
        }
        check_transaction(transaction, limits)
            .map_err(|source| BlockError::Transaction { index, source })?;
    }
    Ok(())
}

fn exceeds(bytes: usize, max: u32) -> bool {
    u32::try_from(bytes).map_or(true, |bytes| bytes > max)
}
