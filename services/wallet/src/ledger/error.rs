use std::time::Duration;

use pentad_api::Failure;
use thiserror::Error;
use tonic::Code;

/// Why the ledger of the wallets does not answer.
#[derive(Debug, Error)]
pub enum LedgerError {
    /// The store failed.
    #[error("the ledger of the wallets cannot be used: {0}")]
    Store(#[from] sled::Error),
    /// A row is not what was written.
    #[error("a row of the ledger of the wallets is damaged")]
    Damaged,
    /// What the wallets know is not up to where the chain is.
    #[error("the wallet is behind the chain: at block {height} of {tip}")]
    Behind {
        /// The last block that it knows.
        height: u32,
        /// The last block there is.
        tip: u32,
    },
    /// A page of history longer than any.
    #[error("page_size: {asked} is more than {most}")]
    PageSize {
        /// What was asked for.
        asked: u32,
        /// The most there may be.
        most: u32,
    },
    /// Not what an earlier answer held.
    #[error("page_token: not a token of this service; hand in next_page_token as it came")]
    PageToken,
}

/// What the caller is told.
pub(crate) fn ledger_failure(error: &LedgerError) -> Failure {
    let failure = |code, reason| Failure::new(code, reason, error.to_string());
    match error {
        LedgerError::Store(_) | LedgerError::Damaged => failure(Code::Internal, "WALLET_LEDGER"),
        LedgerError::Behind { .. } => failure(Code::Unavailable, "WALLET_BEHIND")
            .with_hint("blocks are being read: try again in a moment")
            .with_retry_after(Duration::from_secs(1)),
        LedgerError::PageSize { .. } => {
            failure(Code::InvalidArgument, "PAGE_SIZE").with_field("page_size")
        }
        LedgerError::PageToken => {
            failure(Code::InvalidArgument, "PAGE_TOKEN").with_field("page_token")
        }
    }
}
