use std::time::Duration;

use pentad_api::Failure;
use pentad_crypto::AddressError;
use pentad_crypto::hd::DerivationError;
use pentad_primitives::Amount;
use thiserror::Error;
use tonic::{Code, Status};

use crate::backup::{BackupError, backup_failure};
use crate::bump::{BumpError, bump_failure};
use crate::import::{ImportError, import_failure};
use crate::labels::{LabelError, label_failure};
use crate::ledger::{LedgerError, ledger_failure};
use crate::payment::{JournalError, PAYMENTS_MAX, Shortage};
use crate::policy::{PolicyError, policy_failure};
use crate::psbt::{SigningError, signing_failure};
use pentad_keystore::audit::AuditError;
use pentad_keystore::{InvalidName, KeystoreError, PassphraseError, WalletName};

/// Why the wallet service did not do what it was asked.
#[derive(Debug, Error)]
pub enum WalletError {
    /// The keystore refused.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// A wallet cannot have that name.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The passphrase cannot be used.
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
    /// No passphrase was given, and the service has none of its own.
    #[error(
        "a passphrase is needed: this service has no file with it, or a policy holds, for which \
         the file does not do"
    )]
    NoPassphrase,
    /// A change of passphrase to nothing.
    #[error("new_passphrase: it is empty")]
    NoNewPassphrase,
    /// Neither an address nor a wallet was named.
    #[error("from: name the address or the wallet that pays")]
    NoSource,
    /// The address belongs to no wallet of this node.
    #[error("address {0} belongs to no wallet of this node")]
    NotOurs(String),
    /// The text is no address of this network.
    #[error("{field}: {problem}")]
    Address {
        /// Field of the request.
        field: String,
        /// What is wrong with it.
        problem: AddressError,
    },
    /// There are no payments, or too many.
    #[error("payments: 1 to {PAYMENTS_MAX} are possible, not {0}")]
    Payments(usize),
    /// More than a data output may carry.
    #[error("data: {found} bytes are more than 80")]
    Data {
        /// How many there were.
        found: usize,
    },
    /// A payment of nothing.
    #[error("{field}: the amount is zero")]
    Zero {
        /// Field of the request.
        field: String,
    },
    /// A payment that costs more to spend than it is worth.
    #[error("{field}: {amount} is dust: the least payment is {least}")]
    Dust {
        /// Field of the request.
        field: String,
        /// What was to be paid.
        amount: Amount,
        /// What can be paid.
        least: Amount,
    },
    /// More than there can ever be.
    #[error("{field}: more than there can ever be ({})", Amount::MAX_MONEY)]
    TooMuch {
        /// Field of the request.
        field: String,
    },
    /// The fee rate is out of range.
    #[error("fee_rate: {asked} units per 1000 bytes is not between {least} and {most}")]
    FeeRate {
        /// What was asked for.
        asked: u64,
        /// The mempool takes no less.
        least: u64,
        /// More can only be a mistake.
        most: u64,
    },
    /// The idempotency key is too long or holds control characters.
    #[error("idempotency_key: expected 1 to 128 characters, no control characters")]
    IdempotencyKey,
    /// The key stands for another payment.
    #[error("idempotency key {0:?} was used for another payment of this wallet")]
    KeyReused(String),
    /// The payment that the key stands for is not taken at the moment; it is tried again.
    #[error("the payment {txid} of this idempotency key is not taken yet: {problem}")]
    NotYet {
        /// Its transaction id.
        txid: String,
        /// What the chain service said.
        problem: String,
    },
    /// The payment that the key stands for can never be made.
    #[error("the payment {txid} of this idempotency key can never be made: others spent its coins")]
    Failed {
        /// Its transaction id.
        txid: String,
    },
    /// The coins that can be spent now are not enough.
    #[error("not enough coins: {0}")]
    NotEnough(Shortage),
    /// The coins are too small for one transaction.
    #[error("the payment needs more than {coins_max} coins: too many for one transaction")]
    TooManyCoins {
        /// How many fit.
        coins_max: usize,
    },
    /// Another payment claimed the same coins a moment before.
    #[error("another payment claimed the same coins at the same time")]
    CoinsClaimed,
    /// The words make no wallet.
    #[error("words: {0}")]
    Words(DerivationError),
    /// Keys or addresses from elsewhere cannot be taken.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The backup cannot be restored.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// A text that is too long to sign.
    #[error("message: {found} bytes are more than {most}")]
    MessageLength {
        /// Its length.
        found: usize,
        /// The most there may be.
        most: usize,
    },
    /// Messages are signed by the owners of keys.
    #[error("address: a script's address has no key to sign with")]
    NoKey,
    /// A key of the wallet cannot be derived.
    #[error(transparent)]
    Derivation(#[from] DerivationError),
    /// The journal of payments failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A payment of several does not get further.
    #[error(transparent)]
    Signing(#[from] SigningError),
    /// No other transaction takes the place of a payment.
    #[error(transparent)]
    Bump(#[from] BumpError),
    /// Something is not labelled.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// The policy of the wallet stands against the payment.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The audit log cannot be written or read.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The ledger of the wallets failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The chain service answered with something that makes no sense.
    #[error("the chain service answered with {0}")]
    ChainAnswer(String),
    /// The chain service refused, or cannot be reached.
    #[error("chain service: {}", .0.message())]
    Chain(Box<Status>),
    /// A task of this service ended before its work was done.
    #[error("the wallet service is shutting down, or failed inside: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Only the chain service answers the wallet with a status.
impl From<Status> for WalletError {
    fn from(status: Status) -> Self {
        Self::Chain(Box::new(status))
    }
}

impl From<WalletError> for Status {
    fn from(error: WalletError) -> Self {
        let message = error.to_string();
        let failure = |code, reason| Failure::new(code, reason, message.clone());
        let invalid = |reason, field: &str| {
            failure(Code::InvalidArgument, reason).with_field(field.to_owned())
        };
        match error {
            WalletError::Keystore(error) => keystore_failure(&error),
            WalletError::Name(InvalidName) => invalid("INVALID_WALLET_NAME", "wallet"),
            WalletError::Passphrase(error) => passphrase_failure(&error),
            WalletError::NoPassphrase => invalid("NO_PASSPHRASE", "passphrase")
                .with_hint("give a passphrase, or set wallet.passphrase_file"),
            WalletError::NoNewPassphrase => invalid("NO_PASSPHRASE", "new_passphrase"),
            WalletError::NoSource => invalid("NO_SOURCE", "from"),
            WalletError::NotOurs(_) => failure(Code::NotFound, "NOT_OUR_ADDRESS")
                .with_field("address")
                .with_hint("pentad printwallet lists the addresses of this node's wallets"),
            WalletError::Address { field, problem: AddressError::WrongNetwork { .. } } => {
                invalid("WRONG_NETWORK", &field).with_hint("ask for an address of this network")
            }
            WalletError::Address { field, .. } => invalid("INVALID_ADDRESS", &field)
                .with_hint("a character is missing or wrong: copy the whole address again"),
            WalletError::Payments(_) => invalid("PAYMENTS", "payments"),
            WalletError::Data { .. } => invalid("DATA_TOO_LONG", "data"),
            WalletError::Zero { field } => invalid("AMOUNT_ZERO", &field),
            WalletError::Dust { field, .. } => invalid("DUST", &field),
            WalletError::TooMuch { field } => invalid("AMOUNT_TOO_LARGE", &field),
            WalletError::FeeRate { .. } => invalid("FEE_RATE", "fee_rate"),
            WalletError::IdempotencyKey => invalid("IDEMPOTENCY_KEY", "idempotency_key"),
            WalletError::KeyReused(_) => failure(Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED")
                .with_field("idempotency_key")
                .with_hint("use a new key for a new payment"),
            WalletError::NotYet { .. } => failure(Code::Unavailable, "PAYMENT_WAITS")
                .with_hint("call again with the same key: the payment is tried until it is made")
                .with_retry_after(Duration::from_secs(1)),
            WalletError::Failed { .. } => {
                failure(Code::FailedPrecondition, "PAYMENT_FAILED").with_hint("pay under a new key")
            }
            WalletError::NotEnough(shortage) => {
                failure(Code::FailedPrecondition, "NOT_ENOUGH_COINS").with_hint(shortage.hint())
            }
            WalletError::TooManyCoins { .. } => failure(Code::FailedPrecondition, "TOO_MANY_COINS")
                .with_hint("pay in parts, or first send coins to yourself to merge them"),
            WalletError::CoinsClaimed => failure(Code::Aborted, "COINS_CLAIMED")
                .with_hint("try again")
                .with_retry_after(Duration::from_millis(100)),
            WalletError::Words(_) => invalid("INVALID_WORDS", "words")
                .with_hint("12 to 24 English words in their order, with spaces in between"),
            WalletError::Import(error) => import_failure(&error),
            WalletError::Backup(error) => backup_failure(&error),
            WalletError::MessageLength { .. } => invalid("MESSAGE_TOO_LONG", "message"),
            WalletError::NoKey => invalid("NOT_A_KEY_ADDRESS", "address"),
            WalletError::Derivation(_) => failure(Code::Internal, "DERIVATION"),
            WalletError::Journal(_) => failure(Code::Internal, "PAYMENT_JOURNAL"),
            WalletError::Signing(error) => signing_failure(&error),
            WalletError::Bump(error) => bump_failure(&error),
            WalletError::Label(error) => label_failure(&error),
            WalletError::Policy(error) => policy_failure(&error),
            WalletError::Audit(error) => audit_failure(&error),
            WalletError::Ledger(error) => ledger_failure(&error),
            WalletError::ChainAnswer(_) => failure(Code::Internal, "BAD_ANSWER"),
            // The chain service's own code, reason and hint are the best there are.
            WalletError::Chain(status) => return *status,
            WalletError::Task(_) => failure(Code::Unavailable, "SHUTTING_DOWN"),
        }
        .into()
    }
}

fn passphrase_failure(error: &PassphraseError) -> Failure {
    let failure = |code, reason| Failure::new(code, reason, error.to_string());
    match error {
        PassphraseError::Empty | PassphraseError::TooLong => {
            failure(Code::InvalidArgument, "INVALID_PASSPHRASE").with_field("passphrase")
        }
        PassphraseError::Unreadable { .. }
        | PassphraseError::Exposed { .. }
        | PassphraseError::Content { .. } => failure(Code::FailedPrecondition, "PASSPHRASE_FILE"),
    }
}

fn audit_failure(error: &AuditError) -> Failure {
    let failure = |code, reason| Failure::new(code, reason, error.to_string());
    match error {
        AuditError::Io { .. } => failure(Code::Internal, "AUDIT_LOG_IO")
            .with_hint("see that the data directory is there, writable and not full"),
        AuditError::Damaged { .. } => failure(Code::DataLoss, "AUDIT_LOG_DAMAGED")
            .with_hint("keep the file for whoever looks into it; bring the undamaged one back"),
        AuditError::OtherLog { .. } => failure(Code::DataLoss, "AUDIT_LOG_REPLACED")
            .with_hint("the hash was noted from another log, or this one was cut or written anew"),
        AuditError::Poisoned(_) => failure(Code::Internal, "AUDIT_LOG_CLOSED")
            .with_hint("no key is used without it: see to the disk, then restart the service"),
    }
}

fn keystore_failure(error: &KeystoreError) -> Failure {
    let failure = |code, reason| Failure::new(code, reason, error.to_string());
    match error {
        KeystoreError::UnknownWallet(_) => failure(Code::NotFound, "UNKNOWN_WALLET")
            .with_field("wallet")
            .with_hint("pentad printwallet lists the wallets; pentad createwallet makes one"),
        KeystoreError::WalletExists(_) => failure(Code::AlreadyExists, "WALLET_EXISTS")
            .with_field("wallet")
            .with_hint("choose another name"),
        KeystoreError::CannotOpen(_) => failure(Code::PermissionDenied, "CANNOT_OPEN_WALLET")
            .with_hint("give the wallet's own passphrase; a backup mends a file that was altered"),
        KeystoreError::Locked(name) => {
            failure(Code::FailedPrecondition, "WALLET_LOCKED").with_hint(unlock_hint(name))
        }
        KeystoreError::WatchOnly(_) => failure(Code::FailedPrecondition, "WATCH_ONLY")
            .with_hint("pentad psbt create-psbt makes a payment for whoever has the keys to sign"),
        KeystoreError::NoWords(_) => failure(Code::FailedPrecondition, "NO_WORDS")
            .with_hint("pentad keystore export-key shows its keys one by one"),
        KeystoreError::Fixed(_) => failure(Code::FailedPrecondition, "FIXED_ADDRESSES")
            .with_hint("use one of its addresses, or another wallet"),
        KeystoreError::KeyCount(_) => {
            failure(Code::InvalidArgument, "KEY_COUNT").with_field("keys")
        }
        KeystoreError::Exhausted(_) => {
            failure(Code::ResourceExhausted, "ADDRESSES_EXHAUSTED").with_hint("use another wallet")
        }
        KeystoreError::Cost(_) => failure(Code::FailedPrecondition, "KDF_COST"),
        KeystoreError::Randomness(_) => failure(Code::Internal, "NO_RANDOMNESS"),
        KeystoreError::Io { .. } => failure(Code::Internal, "KEYSTORE_IO")
            .with_hint("see that the data directory is there, writable and not full"),
    }
}

fn unlock_hint(name: &WalletName) -> String {
    format!("unlock wallet {name} first (KeystoreService.UnlockWallet)")
}
