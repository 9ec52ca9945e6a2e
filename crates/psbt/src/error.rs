use pentad_crypto::{KeyError, ScriptSigError};
use pentad_primitives::encode::DecodeError;
use thiserror::Error;

/// Why bytes are not a partially signed transaction.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PsbtError {
    /// Other first bytes.
    #[error("not a partially signed transaction: it does not begin with \"psbt\"")]
    Magic,
    /// Longer than anything that is looked at.
    #[error("a partially signed transaction of more than {} bytes", crate::PSBT_BYTES_MAX)]
    TooLong,
    /// Cut off, left over, or counted wrong.
    #[error("not a partially signed transaction: {0}")]
    Encoding(#[from] DecodeError),
    /// A key twice in one map.
    #[error("field {0:#04x} is there twice")]
    Twice(u64),
    /// A field whose key or value has another form.
    #[error("field {0:#04x} is malformed")]
    Field(u64),
    /// A field with a key that is none.
    #[error("field {field:#04x}: {problem}")]
    Key {
        /// Its type.
        field: u64,
        /// What is wrong.
        problem: KeyError,
    },
    /// A signature that is none, or of another hash type.
    #[error("a partial signature: {0}")]
    Signature(ScriptSigError),
    /// There is no transaction to sign.
    #[error("the unsigned transaction is missing")]
    NoTransaction,
    /// The transaction to sign is signed.
    #[error("the unsigned transaction has a scriptSig")]
    Signed,
    /// A field of scripts or rules that Pentad does not have.
    #[error("{0} is not known here")]
    Unsupported(&'static str),
}

/// Why a partially signed transaction does not get further.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RoleError {
    /// There is no such input.
    #[error("there is no input {0}")]
    NoInput(usize),
    /// What the input spends is not told.
    #[error("input {0}: the transaction that it spends is missing")]
    NoPrevious(usize),
    /// What is told is not what the input spends.
    #[error("input {0}: the transaction that is given is not the one that it spends")]
    OtherPrevious(usize),
    /// The redeem script of a P2SH output is not told.
    #[error("input {0}: the redeem script is missing")]
    NoRedeemScript(usize),
    /// What is told is not the output's.
    #[error("input {0}: the redeem script is not the one that its output names")]
    OtherRedeemScript(usize),
    /// A script that Pentad does not have.
    #[error("input {0} spends a script that is not known here")]
    Script(usize),
    /// The key is none of those that the script names.
    #[error("input {0} does not ask for a signature of this key")]
    OtherKey(usize),
    /// A signature that does not verify.
    #[error("input {0} has a signature that is not valid")]
    Signature(usize),
    /// Fewer have signed than must.
    #[error("input {index} has {have} of {need} signatures")]
    Missing {
        /// Of the input.
        index: usize,
        /// Who has signed.
        have: usize,
        /// How many have to.
        need: usize,
    },
    /// Two of different transactions.
    #[error("these are not of one and the same transaction")]
    OtherTransaction,
    /// It spends less than it pays.
    #[error("the outputs are worth more than the inputs")]
    Negative,
}
