use pentad_api::Failure;
use pentad_primitives::Amount;
use thiserror::Error;
use tonic::Code;

/// Why a policy stands against a payment, or cannot be set.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PolicyError {
    /// An address that is not on the list, and nobody who could approve it.
    #[error("the policy of the wallet does not allow payments to {0}")]
    NotAllowed(String),
    /// More than may leave the wallet within 24 hours.
    #[error(
        "the policy lets {limit} coins leave the wallet in 24 hours: {spent} have left, {asked} \
         are asked for"
    )]
    Limit {
        /// What the policy says.
        limit: Amount,
        /// What has left.
        spent: Amount,
        /// What is asked for, the fee included.
        asked: Amount,
    },
    /// It waits for the approver.
    #[error("the payment waits for approval {approval}: {reason}")]
    Waits {
        /// Names it.
        approval: String,
        /// Why it needs one.
        reason: String,
    },
    /// No such payment waits.
    #[error("no payment waits for approval {0:?}")]
    UnknownApproval(String),
    /// The signature is not the approver's, or not of this payment.
    #[error("signature: {0}")]
    Signature(String),
    /// Too many payments wait.
    #[error("{0} payments of this wallet wait for approval already")]
    TooMany(usize),
    /// A policy that makes no sense.
    #[error("{field}: {problem}")]
    Invalid {
        /// Field of the request.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The wallet's file does not say what the audit log says.
    #[error("the policy in the wallet's file is not the one that was set last")]
    Replaced,
}

/// What the caller is told.
pub(crate) fn policy_failure(error: &PolicyError) -> Failure {
    let failure = |code, reason| Failure::new(code, reason, error.to_string());
    match error {
        PolicyError::NotAllowed(_) => failure(Code::FailedPrecondition, "ADDRESS_NOT_ALLOWED")
            .with_hint("pentad policy get-policy lists the addresses that may be paid"),
        PolicyError::Limit { .. } => failure(Code::FailedPrecondition, "LIMIT_PER_DAY")
            .with_hint("pay less, or wait: what left the wallet counts for 24 hours"),
        PolicyError::Waits { .. } => failure(Code::FailedPrecondition, "APPROVAL_NEEDED")
            .with_hint("pentad policy list-approvals shows what the approver signs"),
        PolicyError::UnknownApproval(_) => failure(Code::NotFound, "UNKNOWN_APPROVAL")
            .with_field("approval")
            .with_hint("pentad policy list-approvals shows those that wait"),
        PolicyError::Signature(_) => failure(Code::PermissionDenied, "NOT_THE_APPROVER")
            .with_field("signature")
            .with_hint("the approver signs the text of list-approvals, to the letter"),
        PolicyError::TooMany(_) => failure(Code::ResourceExhausted, "TOO_MANY_APPROVALS")
            .with_hint("pentad policy approve or reject some of them first"),
        PolicyError::Invalid { field, .. } => {
            failure(Code::InvalidArgument, "INVALID_POLICY").with_field(*field)
        }
        PolicyError::Replaced => failure(Code::FailedPrecondition, "POLICY_REPLACED")
            .with_hint("an older file was put in its place? Set the policy again"),
    }
}
