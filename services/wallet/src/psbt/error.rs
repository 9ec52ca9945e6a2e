use pentad_api::Failure;
use pentad_keystore::MultisigError;
use pentad_psbt::{PsbtError, RoleError};
use thiserror::Error;
use tonic::Code;

/// Why a payment of several does not get further.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SigningError {
    /// Not even base64.
    #[error("psbt: it is not base64")]
    NotBase64,
    /// Not a PSBT, or one with fields that are not known here.
    #[error("psbt: {0}")]
    Format(#[from] PsbtError),
    /// It is not far enough, or contradicts itself.
    #[error("psbt: {0}")]
    Role(#[from] RoleError),
    /// No input is the wallet's.
    #[error("no input of the psbt is wallet \"{0}\"'s to sign")]
    Foreign(String),
    /// The policy of the signing wallet asks for an approval, which a PSBT cannot have.
    #[error("the policy of wallet \"{wallet}\" asks for approval: {reason}")]
    Unapproved {
        /// The wallet that signs.
        wallet: String,
        /// Why it has to be asked.
        reason: String,
    },
    /// There is no such account of several.
    #[error(transparent)]
    Multisig(#[from] MultisigError),
    /// The signer's key is not among the cosigners'.
    #[error("wallet \"{0}\" is none of the cosigners")]
    NotCosigner(String),
    /// Fewer than two to combine.
    #[error("psbts: two or more are combined, not {0}")]
    Few(usize),
}

/// What the caller is told.
pub(crate) fn signing_failure(error: &SigningError) -> Failure {
    let failure = |code, reason| Failure::new(code, reason, error.to_string());
    let invalid = |reason, field: &str| failure(Code::InvalidArgument, reason).with_field(field);
    match error {
        SigningError::NotBase64 | SigningError::Format(_) => invalid("INVALID_PSBT", "psbt"),
        SigningError::Role(RoleError::Missing { .. }) => {
            failure(Code::FailedPrecondition, "SIGNATURES_MISSING")
                .with_hint("the other cosigners sign, and combine-psbts joins their copies")
        }
        SigningError::Role(RoleError::OtherTransaction) => invalid("OTHER_TRANSACTION", "psbts"),
        SigningError::Role(_) => invalid("PSBT_CONTRADICTION", "psbt"),
        SigningError::Foreign(_) => failure(Code::FailedPrecondition, "NOTHING_TO_SIGN")
            .with_hint("name the wallet whose coins are spent; of several, theirs"),
        SigningError::Unapproved { .. } => failure(Code::FailedPrecondition, "APPROVAL_NEEDED")
            .with_hint("pay with pentad wallet send, which can wait for the approver"),
        SigningError::Multisig(MultisigError::Count { .. }) => invalid("COSIGNERS", "required"),
        SigningError::Multisig(_) => invalid("COSIGNERS", "cosigners")
            .with_hint("pentad psbt show-cosigner prints what each cosigner gives"),
        SigningError::NotCosigner(_) => invalid("NOT_A_COSIGNER", "signer")
            .with_hint("pentad psbt show-cosigner prints the signer's own key"),
        SigningError::Few(_) => invalid("PSBTS", "psbts"),
    }
}
