//! Why blocks, headers and transactions are refused, in the words that leave the service.
//!
//! Every rule has a name that never changes: callers decide by it, never by the text. The matches
//! are exhaustive, so that a new rule cannot go without one.

use pentad_api::chain::v1::Refusal as RefusalMessage;
use pentad_ledger::header_tree::InsertError;
use pentad_ledger::mempool::Rejection;
use pentad_ledger::proposal::ProposalError;
use pentad_ledger::verify::{
    self, Fault, SignatureError, SignatureErrorKind, contextual, semantic, structural,
};

/// A broken rule: its stable name, a text for people, and what it says about the sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The rule, SCREAMING_SNAKE_CASE.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// Whether it can ever become valid.
    pub fault: Fault,
}

impl Refusal {
    /// A refusal for a rule of this service's own.
    pub fn new(reason: &'static str, fault: Fault, message: impl ToString) -> Self {
        Self { reason, message: message.to_string(), fault }
    }
}

impl From<Refusal> for RefusalMessage {
    fn from(refusal: Refusal) -> Self {
        Self {
            reason: refusal.reason.to_owned(),
            message: refusal.message,
            misbehavior: refusal.fault.misbehavior(),
        }
    }
}

impl From<&InsertError> for Refusal {
    fn from(error: &InsertError) -> Self {
        let reason = match error {
            InsertError::UnknownParent { .. } => "UNKNOWN_PARENT",
            InsertError::Invalid { .. } => "INVALID_BRANCH",
            InsertError::BelowFinality { .. } => "BELOW_FINALITY",
            InsertError::LowWork => "LOW_WORK",
            InsertError::TooLong => "CHAIN_TOO_LONG",
            InsertError::Semantic(error) => semantic_header(error),
            InsertError::Contextual(error) => contextual_header(error),
        };
        Self::new(reason, error.fault(), error)
    }
}

impl From<&ProposalError> for Refusal {
    fn from(error: &ProposalError) -> Self {
        let reason = match error {
            ProposalError::NotPbft => "NO_FINALITY",
            ProposalError::UnknownProposer { .. } => "UNKNOWN_PROPOSER",
            ProposalError::Payee { .. } => "COINBASE_PROPOSER",
            ProposalError::Semantic(error) => semantic_header(error),
            ProposalError::Contextual(error) => contextual_header(error),
        };
        Self::new(reason, error.fault(), error)
    }
}

impl From<&verify::BlockError> for Refusal {
    fn from(error: &verify::BlockError) -> Self {
        let reason = match error {
            verify::BlockError::Structural(error) => structural_block(error),
            verify::BlockError::Semantic(error) => match error {
                semantic::BlockError::CoinbaseForm => "COINBASE_FORM",
                semantic::BlockError::CoinbaseNetwork => "COINBASE_NETWORK",
            },
        };
        Self::new(reason, error.fault(), error)
    }
}

impl From<&contextual::BlockError> for Refusal {
    fn from(error: &contextual::BlockError) -> Self {
        let reason = match error {
            contextual::BlockError::CoinbaseHeight { .. } => "COINBASE_HEIGHT",
            contextual::BlockError::DuplicateCoinbase { .. } => "DUPLICATE_COINBASE",
            contextual::BlockError::CoinbaseExcess { .. } => "COINBASE_EXCESS",
            contextual::BlockError::CoinbaseOutputs { .. } => "COINBASE_OUTPUTS",
            contextual::BlockError::CoinbasePayee => "COINBASE_PAYEE",
            contextual::BlockError::CoinbaseAmount { .. } => "COINBASE_AMOUNT",
            contextual::BlockError::Empty => "EMPTY_BLOCK",
            contextual::BlockError::FeeOverflow => "FEE_OVERFLOW",
            contextual::BlockError::Transaction { source, .. } => contextual_transaction(source),
        };
        Self::new(reason, Fault::Invalid, error)
    }
}

impl From<&SignatureError> for Refusal {
    fn from(error: &SignatureError) -> Self {
        Self::new(signature(error.kind), Fault::Invalid, error)
    }
}

impl From<&structural::TransactionError> for Refusal {
    fn from(error: &structural::TransactionError) -> Self {
        Self::new(structural_transaction(error), Fault::Invalid, error)
    }
}

impl From<&Rejection> for Refusal {
    fn from(rejection: &Rejection) -> Self {
        let reason = match rejection {
            Rejection::AlreadyKnown => "ALREADY_KNOWN",
            Rejection::AlreadyConfirmed => "ALREADY_CONFIRMED",
            Rejection::Coinbase => "COINBASE_OUTSIDE_BLOCK",
            Rejection::MissingInputs { .. } => "MISSING_INPUT",
            Rejection::Rule(error) => contextual_transaction(error),
            Rejection::Signature(error) => signature(error.kind),
            Rejection::Dust { .. } => "DUST",
            Rejection::DataOutputAmount { .. } => "DATA_OUTPUT_AMOUNT",
            Rejection::FeeTooLow { .. } => "FEE_TOO_LOW",
            Rejection::Conflict { .. } => "CONFLICT",
            Rejection::ReplacementInput { .. } => "REPLACEMENT_INPUT",
            Rejection::ReplacementFee { .. } => "REPLACEMENT_FEE",
            Rejection::ReplacementFeeRate { .. } => "REPLACEMENT_FEE_RATE",
            Rejection::ReplacesTooMany => "REPLACES_TOO_MANY",
            Rejection::ReplacesParent { .. } => "REPLACES_PARENT",
            Rejection::TooManyAncestors { .. } => "TOO_MANY_ANCESTORS",
            Rejection::TooManyDescendants { .. } => "TOO_MANY_DESCENDANTS",
            Rejection::Full => "MEMPOOL_FULL",
            Rejection::Stale => "STALE",
        };
        Self::new(reason, rejection.fault(), rejection)
    }
}

const fn semantic_header(error: &semantic::HeaderError) -> &'static str {
    match error {
        semantic::HeaderError::Bits { .. } => "MALFORMED_BITS",
        semantic::HeaderError::TargetAboveLimit { .. } => "TARGET_ABOVE_LIMIT",
        semantic::HeaderError::Work { .. } => "BAD_WORK",
        semantic::HeaderError::Nonce { .. } => "BAD_NONCE",
        semantic::HeaderError::TooFarAhead { .. } => "TIME_TOO_FAR_AHEAD",
    }
}

const fn contextual_header(error: &contextual::HeaderError) -> &'static str {
    match error {
        contextual::HeaderError::Bits { .. } => "BAD_DIFFICULTY",
        contextual::HeaderError::TimeTooOld { .. } => "TIME_TOO_OLD",
    }
}

const fn structural_block(error: &structural::BlockError) -> &'static str {
    use structural::BlockError as Rule;
    match error {
        Rule::MerkleRoot => "MERKLE_ROOT",
        Rule::MerkleMutated => "MERKLE_MUTATED",
        Rule::SixtyFourByteTransaction { .. } => "SIXTY_FOUR_BYTE_TRANSACTION",
        Rule::TooLarge { .. } => "BLOCK_TOO_LARGE",
        Rule::NoCoinbase => "NO_COINBASE",
        Rule::SecondCoinbase { .. } => "SECOND_COINBASE",
        Rule::Transaction { source, .. } => structural_transaction(source),
    }
}

const fn structural_transaction(error: &structural::TransactionError) -> &'static str {
    use structural::TransactionError as Rule;
    match error {
        Rule::NoInputs => "NO_INPUTS",
        Rule::NoOutputs => "NO_OUTPUTS",
        Rule::TooLarge { .. } => "TRANSACTION_TOO_LARGE",
        Rule::SixtyFourBytes => "SIXTY_FOUR_BYTE_TRANSACTION",
        Rule::DuplicateInput { .. } => "DUPLICATE_INPUT",
        Rule::NullInput { .. } => "NULL_INPUT",
        Rule::OutputOverflow => "OUTPUT_OVERFLOW",
        Rule::UnknownTemplate { .. } => "UNKNOWN_TEMPLATE",
        Rule::SecondDataOutput => "SECOND_DATA_OUTPUT",
        Rule::ScriptSigTooLong { .. } => "SCRIPT_SIG_TOO_LONG",
        Rule::CoinbaseScriptSig { .. } => "COINBASE_SCRIPT_SIG",
    }
}

const fn contextual_transaction(error: &contextual::TransactionError) -> &'static str {
    use contextual::TransactionError as Rule;
    match error {
        Rule::MissingInput { .. } => "MISSING_INPUT",
        Rule::SpentInBlock { .. } => "SPENT_IN_BLOCK",
        Rule::ImmatureCoinbase { .. } => "IMMATURE_COINBASE",
        Rule::InputOverflow => "INPUT_OVERFLOW",
        Rule::OutputsExceedInputs { .. } => "OUTPUTS_EXCEED_INPUTS",
        Rule::NotFinal { .. } => "NOT_FINAL",
    }
}

const fn signature(kind: SignatureErrorKind) -> &'static str {
    match kind {
        SignatureErrorKind::Unspendable => "UNSPENDABLE",
        SignatureErrorKind::ScriptSig => "MALFORMED_SCRIPT_SIG",
        SignatureErrorKind::KeyHash => "WRONG_KEY",
        SignatureErrorKind::ScriptHash => "WRONG_REDEEM_SCRIPT",
        SignatureErrorKind::RedeemScript => "MALFORMED_REDEEM_SCRIPT",
        SignatureErrorKind::Signature => "BAD_SIGNATURE",
    }
}
