//! The audit log, read.

use std::collections::VecDeque;

use pentad_api::wallet::v1::audit_service_server::AuditService;
use pentad_api::wallet::v1::{
    AuditEntry, ListEntriesRequest, ListEntriesResponse, VerifyLogRequest, VerifyLogResponse,
};
use pentad_keystore::WalletName;
use pentad_keystore::audit::{AuditError, AuditLog, Recorded};
use tonic::{Request, Response, Status};

use crate::error::WalletError;
use crate::wallets::Wallets;

/// Entries in an answer if the caller does not say.
const LIMIT_DEFAULT: u32 = 100;
/// Most entries in an answer: what a message holds even if each pays a thousand addresses.
const LIMIT_MAX: u32 = 1000;
/// Bytes of details after which an answer ends early.
const DETAILS_BYTES_MAX: usize = 1 << 20;

#[tonic::async_trait]
impl AuditService for Wallets {
    #[tracing::instrument(skip_all, err(level = "debug"))]
    async fn list_entries(
        &self,
        request: Request<ListEntriesRequest>,
    ) -> Result<Response<ListEntriesResponse>, Status> {
        let ListEntriesRequest { first, limit, wallet } = request.into_inner();
        let wallet = super::named(&wallet)?;
        let limit = match limit {
            0 => LIMIT_DEFAULT,
            asked => asked.min(LIMIT_MAX),
        };
        let listed = self.audited(move |log| match first {
            0 => last(log, limit, wallet.as_ref()),
            first => from(log, first, limit, wallet.as_ref()),
        });
        Ok(Response::new(listed.await?))
    }

    #[tracing::instrument(skip_all, err(level = "debug"))]
    async fn verify_log(
        &self,
        request: Request<VerifyLogRequest>,
    ) -> Result<Response<VerifyLogResponse>, Status> {
        let VerifyLogRequest { known_number, known_hash } = request.into_inner();
        let verified = self.audited(move |log| {
            log.verify((known_number > 0).then_some((known_number, known_hash.as_str())))
        });
        let head = verified.await?;
        Ok(Response::new(VerifyLogResponse { entries: head.number, hash: head.hash.to_string() }))
    }
}

impl Wallets {
    /// Reads the log, which may be long.
    async fn audited<T: Send + 'static>(
        &self,
        read: impl FnOnce(&AuditLog) -> Result<T, AuditError> + Send + 'static,
    ) -> Result<T, WalletError> {
        let inner = std::sync::Arc::clone(&self.inner);
        Ok(tokio::task::spawn_blocking(move || read(&inner.audit)).await??)
    }
}

fn is_about(recorded: &Recorded, wallet: Option<&WalletName>) -> bool {
    wallet.is_none_or(|wallet| recorded.entry.wallet == wallet.as_str())
}

/// Entries from a number on.
fn from(
    log: &AuditLog,
    first: u64,
    limit: u32,
    wallet: Option<&WalletName>,
) -> Result<ListEntriesResponse, AuditError> {
    let (mut entries, mut bytes, mut next) = (Vec::new(), 0, 0);
    log.read(first, |recorded| {
        if entries.len() >= limit as usize || bytes >= DETAILS_BYTES_MAX {
            next = recorded.entry.number;
            return false;
        }
        if is_about(&recorded, wallet) {
            let entry = message(&recorded);
            bytes += entry.details.len();
            entries.push(entry);
        }
        true
    })?;
    Ok(ListEntriesResponse { entries, next })
}

/// The last entries; of one wallet, as many as there are in the whole log.
fn last(
    log: &AuditLog,
    limit: u32,
    wallet: Option<&WalletName>,
) -> Result<ListEntriesResponse, AuditError> {
    let first = match wallet {
        None => log.head().number.saturating_sub(u64::from(limit)) + 1,
        Some(_) => 1,
    };
    let (mut entries, mut bytes) = (VecDeque::new(), 0);
    log.read(first, |recorded| {
        if is_about(&recorded, wallet) {
            let entry = message(&recorded);
            bytes += entry.details.len();
            entries.push_back(entry);
        }
        while entries.len() > limit as usize || (bytes > DETAILS_BYTES_MAX && entries.len() > 1) {
            bytes -= entries.pop_front().map_or(0, |entry| entry.details.len());
        }
        true
    })?;
    Ok(ListEntriesResponse { entries: entries.into(), next: 0 })
}

fn message(Recorded { entry, hash }: &Recorded) -> AuditEntry {
    AuditEntry {
        number: entry.number,
        time: entry.time,
        wallet: entry.wallet.clone(),
        event: entry.event.name(),
        details: entry.event.details(),
        hash: hash.to_string(),
    }
}
