//! `SubmitService`: handing in transactions and blocks.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use pentad_api::chain::v1 as proto;
use pentad_api::chain::v1::RemovalReason;
use pentad_api::chain::v1::submit_service_server::SubmitService;
use pentad_primitives::Txid;
use tonic::{Request, Response, Status, Streaming};

use super::{at_most, traced};
use crate::dry_run::dry_run;
use crate::error::{ChainError, FinalityError};
use crate::reader::{BlockRef, Reader, View};
use crate::refusal::Refusal;
use crate::submitter::{Submitter, check_transaction};
use crate::writer::{Admission, BlockOutcome, Origin};

/// Transactions in one batch: what the writer deals with before it looks at anything else.
const BATCH_MAX: usize = 1_000;
/// Batches of one stream that wait for their answers at once; their bytes are bounded as well.
const BATCHES_IN_FLIGHT: usize = 16;
/// "Already in the mempool", which is no refusal to whoever hands it in again.
const ALREADY_KNOWN: &str = "ALREADY_KNOWN";
/// "Already on the main chain": no refusal either.
const ALREADY_CONFIRMED: &str = "ALREADY_CONFIRMED";

/// Answers `SubmitService`.
#[derive(Clone, Debug)]
pub(crate) struct Submit {
    pub(crate) reader: Reader,
    pub(crate) submitter: Submitter,
}

#[tonic::async_trait]
impl SubmitService for Submit {
    type SubmitTransactionsStream =
        Pin<Box<dyn Stream<Item = Result<proto::SubmitTransactionsResponse, Status>> + Send>>;

    async fn submit_transaction(
        &self,
        request: Request<proto::SubmitTransactionRequest>,
    ) -> Result<Response<proto::SubmitTransactionResponse>, Status> {
        let request = request.into_inner();
        let waits = request.wait() == proto::Wait::Final;
        if waits && self.reader.published().finality.membership().is_none() {
            return Err(ChainError::from(FinalityError::NoFinality).into());
        }
        self.reader.published().room_for_more().await;
        let ticket = self.submitter.transaction(&request.transaction).await?;
        let admission = ticket.answer().await?.map_err(ChainError::Transaction)?;
        let confirmed = match waits {
            true => until_final(&self.reader, admission.txid).await?,
            false => proto::SubmitTransactionResponse::default(),
        };
        Ok(Response::new(proto::SubmitTransactionResponse {
            txid: admission.txid.to_string(),
            already_known: !admission.is_new,
            ..confirmed
        }))
    }

    async fn submit_transactions(
        &self,
        request: Request<Streaming<proto::SubmitTransactionsRequest>>,
    ) -> Result<Response<Self::SubmitTransactionsStream>, Status> {
        let (submitter, published) = (self.submitter.clone(), Arc::clone(self.reader.published()));
        let answers = request
            .into_inner()
            .and_then(move |request| {
                let (submitter, published) = (submitter.clone(), Arc::clone(&published));
                // One batch is decoded while the writer is at the ones before it.
                async move {
                    at_most("transactions", request.transactions.len(), BATCH_MAX)?;
                    published.room_for_more().await;
                    let traced = traced(&request.traced, request.transactions.len());
                    Ok(submitter.transactions(request.transactions, traced).await?)
                }
            })
            .map_ok(|ticket| async move {
                let outcomes = ticket.answer().await?.into_iter().map(outcome).collect();
                Ok(proto::SubmitTransactionsResponse { outcomes })
            })
            .try_buffered(BATCHES_IN_FLIGHT);
        Ok(Response::new(answers.boxed()))
    }

    async fn test_transaction(
        &self,
        request: Request<proto::TestTransactionRequest>,
    ) -> Result<Response<proto::TestTransactionResponse>, Status> {
        let bytes = request.into_inner().transaction;
        let limits = self.reader.published().spec.limits();
        let size = bytes.len() as u64;
        let tested = proto::TestTransactionResponse { bytes: size, ..Default::default() };
        let (txid, outcome) = match check_transaction(&bytes, &limits) {
            Ok(transaction) => {
                let txid = transaction.txid();
                if is_confirmed(&self.reader, txid).await? {
                    let txid = txid.to_string();
                    let known = proto::TestTransactionResponse { already_known: true, ..tested };
                    return Ok(Response::new(proto::TestTransactionResponse { txid, ..known }));
                }
                (txid, dry_run(&self.reader, transaction).await?)
            }
            Err((Some(txid), refusal)) => (txid, Err(refusal)),
            Err((None, refusal)) => return Err(ChainError::Transaction(refusal).into()),
        };
        let tested = proto::TestTransactionResponse { txid: txid.to_string(), ..tested };
        Ok(Response::new(match outcome {
            Ok(admissible) => proto::TestTransactionResponse {
                accepted: true,
                fee: Some(admissible.fee),
                fee_rate: admissible.fee.saturating_mul(1_000).checked_div(size),
                replaces: admissible.replaces.iter().map(Txid::to_string).collect(),
                ..tested
            },
            Err(refusal) if is_known(&refusal) => {
                proto::TestTransactionResponse { already_known: true, ..tested }
            }
            Err(Refusal { reason, message, .. }) => {
                proto::TestTransactionResponse { reason: reason.to_owned(), message, ..tested }
            }
        }))
    }

    async fn submit_block(
        &self,
        request: Request<proto::SubmitBlockRequest>,
    ) -> Result<Response<proto::SubmitBlockResponse>, Status> {
        let proto::SubmitBlockRequest { block, certificate } = request.into_inner();
        let ticket = self.submitter.block(block, certificate, Origin::Submitted).await?;
        let hash = ticket.id.map(|hash| hash.to_string()).unwrap_or_default();
        let outcome = ticket.answer().await?.map_err(ChainError::Block)?;
        let outcome = proto::BlockOutcome::from(outcome).into();
        Ok(Response::new(proto::SubmitBlockResponse { hash, outcome }))
    }
}

fn outcome((txid, outcome): (Option<Txid>, Result<Admission, Refusal>)) -> proto::SubmitOutcome {
    let txid = txid.map(|txid| txid.to_string()).unwrap_or_default();
    match outcome {
        Ok(admission) => {
            proto::SubmitOutcome { txid, already_known: !admission.is_new, ..Default::default() }
        }
        Err(Refusal { reason, message, .. }) => {
            let reason = reason.to_owned();
            proto::SubmitOutcome { txid, reason, message, already_known: false }
        }
    }
}

fn is_known(refusal: &Refusal) -> bool {
    [ALREADY_KNOWN, ALREADY_CONFIRMED].contains(&refusal.reason)
}

/// Waits until a transaction that was admitted is in a final block.
async fn until_final(
    reader: &Reader,
    txid: Txid,
) -> Result<proto::SubmitTransactionResponse, ChainError> {
    let mut tip = reader.published().watch_tip();
    let mut reason = RemovalReason::Unspecified;
    loop {
        let departure = reader.published().departures.wait_for(txid);
        let departure = departure.ok_or(ChainError::TooManyWaiting)?;
        tip.mark_unchanged();
        let found = reader.read_with(
            move |mempool| mempool.contains(&txid),
            move |view, waits| Ok((confirmed(&view, &txid)?, waits)),
        );
        match found.await? {
            (Some(Confirmed { is_final: true, response }), _) => return Ok(response),
            // It is final later, or the block is undone.
            (Some(_), _) => tip.changed().await.map_err(|_| ChainError::Stopped)?,
            (None, true) => reason = departure.reason().await.ok_or(ChainError::Stopped)?,
            // It left after its admission.
            (None, false) => return Err(ChainError::Departed { txid, reason }),
        }
    }
}

/// A transaction of the main chain.
struct Confirmed {
    is_final: bool,
    response: proto::SubmitTransactionResponse,
}

fn confirmed(view: &View<'_>, txid: &Txid) -> Result<Option<Confirmed>, ChainError> {
    let Some(place) = view.transaction_entry(txid)? else {
        return Ok(None);
    };
    let (hash, entry) = view.block(BlockRef::Height(place.height))?;
    let response = proto::SubmitTransactionResponse {
        block_hash: hash.to_string(),
        height: place.height.get(),
        certificate: view.certificate(&entry)?.unwrap_or_default(),
        ..Default::default()
    };
    Ok(Some(Confirmed { is_final: place.height <= view.tip.final_height, response }))
}

async fn is_confirmed(reader: &Reader, txid: Txid) -> Result<bool, ChainError> {
    reader.read(move |view| Ok(view.transaction_entry(&txid)?.is_some())).await
}

impl From<BlockOutcome> for proto::BlockOutcome {
    fn from(outcome: BlockOutcome) -> Self {
        match outcome {
            BlockOutcome::Connected => Self::Connected,
            BlockOutcome::SideBranch => Self::SideBranch,
            BlockOutcome::AlreadyKnown => Self::AlreadyKnown,
            BlockOutcome::Orphan => Self::Orphan,
        }
    }
}
