use pentad_primitives::hash::Txid;
use pentad_primitives::{Amount, OutPoint};
use thiserror::Error;

use crate::verify::contextual::TransactionError;
use crate::verify::{Fault, SignatureError};

/// Why a transaction was not admitted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AdmissionError<E> {
    /// A rule or this node's policy.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The UTXO set cannot be read; nothing is said about the transaction.
    #[error("cannot read the UTXO set: {0}")]
    View(E),
}

/// The rule or policy that a transaction broke.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Rejection {
    /// It is here.
    #[error("transaction is in the mempool already")]
    AlreadyKnown,
    /// It is in a block, with outputs unspent.
    #[error("transaction is in the chain already")]
    AlreadyConfirmed,
    /// A coinbase belongs into a block.
    #[error("coinbase outside a block")]
    Coinbase,
    /// It spends what is neither in the chain nor here. It may be an orphan whose parents follow.
    #[error("spends unknown or spent outputs: {}", list(outpoints))]
    MissingInputs {
        /// What is missing.
        outpoints: Vec<OutPoint>,
    },
    /// A rule of the ledger.
    #[error(transparent)]
    Rule(#[from] TransactionError),
    /// A signature.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// Policy: an output costs more to spend than it holds.
    #[error("output {output} of {amount} is dust, the least is {least}")]
    Dust {
        /// Position of the output.
        output: usize,
        /// What it holds.
        amount: Amount,
        /// What it should hold.
        least: Amount,
    },
    /// Policy: coins in a data output are lost.
    #[error("data output {output} carries coins, which would be lost")]
    DataOutputAmount {
        /// Position of the output.
        output: usize,
    },
    /// Policy: the fee.
    #[error("fee of {fee} is less than the {least} this node asks for")]
    FeeTooLow {
        /// What it pays.
        fee: Amount,
        /// What it should pay.
        least: Amount,
    },
    /// Another transaction spends the same, and did not say that it may be replaced (BIP125).
    #[error("{txid} spends the same output and cannot be replaced")]
    Conflict {
        /// The other transaction.
        txid: Txid,
    },
    /// BIP125, rule 2.
    #[error("replacement spends the unconfirmed output {outpoint} that the replaced did not")]
    ReplacementInput {
        /// What it spends.
        outpoint: OutPoint,
    },
    /// BIP125, rules 3 and 4.
    #[error("replacement pays {fee}, must pay {least}")]
    ReplacementFee {
        /// What it pays.
        fee: Amount,
        /// What it should pay.
        least: Amount,
    },
    /// A replacement must be worth more to miners than what it replaces.
    #[error("replacement has no higher fee rate than {txid}")]
    ReplacementFeeRate {
        /// A transaction it would replace.
        txid: Txid,
    },
    /// BIP125, rule 5.
    #[error("replacement removes more than 100 transactions")]
    ReplacesTooMany,
    /// It spends an output of a transaction that it would replace.
    #[error("replacement spends an output of {txid}, which it would replace")]
    ReplacesParent {
        /// The transaction.
        txid: Txid,
    },
    /// The chain of unconfirmed transactions before it is too long.
    #[error("more than {max} unconfirmed ancestors")]
    TooManyAncestors {
        /// The bound, the transaction itself included.
        max: u32,
    },
    /// A transaction it descends from has too many descendants.
    #[error("{txid} would have more than {max} unconfirmed descendants")]
    TooManyDescendants {
        /// The ancestor.
        txid: Txid,
        /// The bound, the ancestor itself included.
        max: u32,
    },
    /// Its fee rate is too low for a full mempool.
    #[error("mempool is full of higher fee rates")]
    Full,
    /// The chain moved on between the two steps of admission: try again.
    #[error("chain moved on during admission")]
    Stale,
}

impl Rejection {
    /// Only what can never be valid is blamed on the sender: a peer's tip or policy may differ.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Coinbase
            | Self::Signature(_)
            | Self::Rule(
                TransactionError::OutputsExceedInputs { .. } | TransactionError::InputOverflow,
            ) => Fault::Invalid,
            _ => Fault::Premature,
        }
    }
}

fn list(outpoints: &[OutPoint]) -> String {
    outpoints.iter().map(OutPoint::to_string).collect::<Vec<_>>().join(", ")
}
