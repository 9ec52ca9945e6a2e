//! `AssemblyService`: for the services of the node among themselves.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use pentad_api::chain::v1 as proto;
use pentad_api::chain::v1::assembly_service_server::AssemblyService;
use pentad_api::{FieldError, hash_from_bytes};
use pentad_ledger::proposal::Proposal;
use pentad_primitives::encode::{Decode as _, Encode as _};
use pentad_primitives::{BlockHash, BlockHeader, BlockHeight, Script, Txid};
use pentad_service_kit::telemetry::BlockTrace;
use pentad_store::{IndexRead as _, read_block_bytes};
use tonic::{Request, Response, Status, Streaming};

use super::templates::{self, template_message};
use super::{at_most, capped, finality, mempool_changes, traced};
use crate::error::ChainError;
use crate::reader::{Reader, View};
use crate::refusal::Refusal;
use crate::set_hash::{self, SetHash};
use crate::submitter::Submitter;
use crate::writer::{Admission, Origin};

/// Hashes of a locator that are looked at.
const LOCATOR_MAX: usize = 101;
/// Headers in one message.
const HEADERS_MAX: u32 = 2_000;
/// Blocks that one call fetches.
const FETCH_BLOCKS_MAX: usize = 128;
/// Transactions that one call fetches.
const FETCH_TRANSACTIONS_MAX: usize = 1_000;
/// The first hashes of a locator follow one another; then the distance doubles.
const LOCATOR_DENSE: usize = 10;
/// Blocks of one stream that wait for their answers at once; their bytes are bounded as well.
const BLOCKS_IN_FLIGHT: usize = 32;
/// Transactions in one request.
const ADMIT_MAX: usize = 1_000;
/// Batches of transactions of one stream that wait for their answers at once; their bytes are
/// bounded as well.
const BATCHES_IN_FLIGHT: usize = 16;

/// Answers `AssemblyService`.
#[derive(Clone, Debug)]
pub(crate) struct Assembly {
    pub(crate) reader: Reader,
    pub(crate) submitter: Submitter,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl AssemblyService for Assembly {
    type FollowTemplatesStream = Answers<proto::FollowTemplatesResponse>;
    type ConnectBlocksStream = Answers<proto::ConnectBlocksResponse>;
    type AdmitTransactionsStream = Answers<proto::AdmitTransactionsResponse>;
    type FetchBlocksStream = Answers<proto::FetchBlocksResponse>;
    type FollowMempoolChangesStream = Answers<proto::FollowMempoolChangesResponse>;

    async fn get_template(
        &self,
        request: Request<proto::GetTemplateRequest>,
    ) -> Reply<proto::GetTemplateResponse> {
        let request = request.into_inner();
        let payout = Script::from(request.payout_script.to_vec());
        let template = self.submitter.template(payout, request.extra_nonce).await?;
        let traces = &self.reader.published().traces;
        Ok(Response::new(template_message(&template, traces)?))
    }

    async fn follow_templates(
        &self,
        request: Request<proto::FollowTemplatesRequest>,
    ) -> Reply<Self::FollowTemplatesStream> {
        let payout = Script::from(request.into_inner().payout_script.to_vec());
        Ok(Response::new(Box::pin(templates::follow(self, payout))))
    }

    async fn check_proposal(
        &self,
        request: Request<proto::CheckProposalRequest>,
    ) -> Reply<proto::CheckProposalResponse> {
        let proto::CheckProposalRequest { block, proposer, is_first } = request.into_inner();
        let proposer = proposer.map(u16::try_from).transpose().map_err(|error| {
            ChainError::Field(FieldError { field: "proposer", problem: error.to_string() })
        })?;
        let (hash, verdict) =
            self.submitter.proposal(block, Proposal { proposer, is_first }).await?;
        Ok(Response::new(proto::CheckProposalResponse {
            hash: hash.as_ref().map(hash_bytes).unwrap_or_default(),
            refusal: verdict.err().map(Into::into),
        }))
    }

    async fn get_state_root(
        &self,
        request: Request<proto::GetStateRootRequest>,
    ) -> Reply<proto::GetStateRootResponse> {
        let height = BlockHeight::new(request.into_inner().height);
        let SetHash { block, hash, .. } = set_hash::kept_at(&self.reader, height).await?;
        let root = Bytes::copy_from_slice(hash.as_bytes());
        Ok(Response::new(proto::GetStateRootResponse { hash: hash_bytes(&block), root }))
    }

    async fn get_finality(
        &self,
        _: Request<proto::GetFinalityRequest>,
    ) -> Reply<proto::GetFinalityResponse> {
        Ok(Response::new(self.reader.read(|view| finality::last_final(&view)).await?))
    }

    async fn get_candidate(
        &self,
        request: Request<proto::GetCandidateRequest>,
    ) -> Reply<proto::GetCandidateResponse> {
        let height = BlockHeight::new(request.into_inner().height);
        let found = self.reader.read(move |view| finality::candidate(&view, height)).await?;
        Ok(Response::new(found))
    }

    async fn check_candidate(
        &self,
        request: Request<proto::CheckCandidateRequest>,
    ) -> Reply<proto::CheckCandidateResponse> {
        let proto::CheckCandidateRequest { header, is_first } = request.into_inner();
        let check = move |view: View<'_>| finality::check_candidate(&view, &header, is_first);
        let refusal = self.reader.read(check).await?.err().map(Into::into);
        Ok(Response::new(proto::CheckCandidateResponse { refusal }))
    }

    async fn finalise_block(
        &self,
        request: Request<proto::FinaliseBlockRequest>,
    ) -> Reply<proto::FinaliseBlockResponse> {
        let certificate = request.into_inner().certificate;
        let outcome = self.submitter.finalise(certificate).await?;
        Ok(Response::new(finality::finality_outcome(outcome)))
    }

    async fn get_locator(
        &self,
        _: Request<proto::GetLocatorRequest>,
    ) -> Reply<proto::GetLocatorResponse> {
        let hashes = self.reader.read(|view| locator(&view)).await?;
        Ok(Response::new(proto::GetLocatorResponse { hashes }))
    }

    async fn locate_headers(
        &self,
        request: Request<proto::LocateHeadersRequest>,
    ) -> Reply<proto::LocateHeadersResponse> {
        let request = request.into_inner();
        at_most("locator", request.locator.len(), LOCATOR_MAX)?;
        let limit = capped("limit", request.limit, HEADERS_MAX, HEADERS_MAX)?;
        let locator = hashes("locator", &request.locator)?;
        let stop = match request.stop.len() {
            0 => None,
            _ => Some(hash("stop", &request.stop)?),
        };
        let located = self
            .reader
            .read(move |view| locate_headers(&view, &locator, stop.as_ref(), limit))
            .await?;
        Ok(Response::new(located))
    }

    async fn check_headers(
        &self,
        request: Request<proto::CheckHeadersRequest>,
    ) -> Reply<proto::CheckHeadersResponse> {
        let proto::CheckHeadersRequest { headers, certificate } = request.into_inner();
        at_most("headers", headers.len(), HEADERS_MAX as usize)?;
        let headers = headers.iter().map(|bytes| {
            BlockHeader::from_bytes(bytes).map_err(|error| {
                ChainError::Field(FieldError { field: "headers", problem: error.to_string() })
            })
        });
        let headers = headers.collect::<Result<_, _>>()?;
        let checked = self.submitter.headers(headers, certificate).await?;
        Ok(Response::new(proto::CheckHeadersResponse {
            accepted: u32::try_from(checked.accepted).unwrap_or(u32::MAX),
            refusal: checked.refusal.map(Into::into),
            wanted: checked.wanted.iter().map(hash_bytes).collect(),
            best_work: checked.best_work.to_be_bytes().to_vec().into(),
            best_height: checked.best_height.get(),
        }))
    }

    async fn connect_blocks(
        &self,
        request: Request<Streaming<proto::ConnectBlocksRequest>>,
    ) -> Reply<Self::ConnectBlocksStream> {
        let submitter = self.submitter.clone();
        let answers = request
            .into_inner()
            .and_then(move |request| {
                let submitter = submitter.clone();
                // One after the other, so that blocks keep their order.
                async move {
                    let proto::ConnectBlocksRequest { block, certificate, .. } = request;
                    let (own, transactions) =
                        (&request.traceparent, &request.transaction_traceparents);
                    let trace = BlockTrace::from_traceparents(own, transactions);
                    let origin = Origin::Peer;
                    Ok(submitter.traced_block(block, certificate, origin, trace).await?)
                }
            })
            .map_ok(|ticket| async move {
                let hash = ticket.id.as_ref().map(hash_bytes).unwrap_or_default();
                Ok(match ticket.answer().await? {
                    Ok(outcome) => proto::ConnectBlocksResponse {
                        hash,
                        outcome: proto::BlockOutcome::from(outcome).into(),
                        refusal: None,
                    },
                    Err(refusal) => proto::ConnectBlocksResponse {
                        hash,
                        refusal: Some(refusal.into()),
                        ..Default::default()
                    },
                })
            })
            .try_buffered(BLOCKS_IN_FLIGHT);
        Ok(Response::new(Box::pin(answers)))
    }

    async fn admit_transactions(
        &self,
        request: Request<Streaming<proto::AdmitTransactionsRequest>>,
    ) -> Reply<Self::AdmitTransactionsStream> {
        let submitter = self.submitter.clone();
        let answers = request
            .into_inner()
            .and_then(move |request| {
                let submitter = submitter.clone();
                // One batch is decoded while the writer is at the ones before it.
                async move {
                    at_most("transactions", request.transactions.len(), ADMIT_MAX)?;
                    let traced = traced(&request.traced, request.transactions.len());
                    Ok(submitter.transactions(request.transactions, traced).await?)
                }
            })
            .map_ok(|ticket| async move {
                let outcomes = ticket.answer().await?.into_iter().map(admission_outcome).collect();
                Ok(proto::AdmitTransactionsResponse { outcomes })
            })
            .try_buffered(BATCHES_IN_FLIGHT);
        Ok(Response::new(Box::pin(answers)))
    }

    async fn fetch_blocks(
        &self,
        request: Request<proto::FetchBlocksRequest>,
    ) -> Reply<Self::FetchBlocksStream> {
        let wanted = request.into_inner().hashes;
        at_most("hashes", wanted.len(), FETCH_BLOCKS_MAX)?;
        let wanted = hashes("hashes", &wanted)?;
        let reader = self.reader.clone();
        // One at a time: the next is read once the caller has taken this one.
        let blocks = futures_util::stream::iter(wanted).then(move |hash| {
            let reader = reader.clone();
            async move { Ok(reader.read(move |view| fetched(&view, &hash)).await?) }
        });
        Ok(Response::new(Box::pin(blocks)))
    }

    async fn fetch_transactions(
        &self,
        request: Request<proto::FetchTransactionsRequest>,
    ) -> Reply<proto::FetchTransactionsResponse> {
        let wanted = request.into_inner().txids;
        at_most("txids", wanted.len(), FETCH_TRANSACTIONS_MAX)?;
        let txids = wanted.iter().map(|bytes| {
            Ok(Txid::from_bytes(hash_from_bytes("txids", bytes).map_err(ChainError::Field)?))
        });
        let txids = txids.collect::<Result<Vec<_>, ChainError>>()?;
        let mempool = self.reader.published().mempool();
        let found: Vec<_> = txids
            .iter()
            .filter_map(|txid| mempool.get(txid))
            .map(|entry| (entry.txid(), entry.transaction().clone()))
            .collect();
        drop(mempool);
        let traces = &self.reader.published().traces;
        let traced = (0..).zip(&found).filter_map(|(place, (txid, _))| {
            let traceparent = traces.get(txid)?.to_string();
            Some(proto::TracedTransaction { place, traceparent })
        });
        let traced = traced.collect();
        let transactions = found.iter().map(|(_, transaction)| transaction.to_bytes().into());
        let transactions = transactions.collect();
        Ok(Response::new(proto::FetchTransactionsResponse { transactions, traced }))
    }

    async fn follow_mempool_changes(
        &self,
        request: Request<proto::FollowMempoolChangesRequest>,
    ) -> Reply<Self::FollowMempoolChangesStream> {
        let with_transactions = request.into_inner().with_transactions;
        let published = Arc::clone(self.reader.published());
        let changes = mempool_changes::follow(published, with_transactions);
        Ok(Response::new(Box::pin(changes)))
    }
}

fn admission_outcome(
    (txid, outcome): (Option<Txid>, Result<Admission, Refusal>),
) -> proto::AdmissionOutcome {
    let txid = txid.map(|txid| Bytes::copy_from_slice(txid.as_bytes())).unwrap_or_default();
    let (admitted, refusal) = match outcome {
        Ok(admission) => (admission.is_new, None),
        Err(refusal) => (false, Some(refusal.into())),
    };
    proto::AdmissionOutcome { txid, admitted, refusal }
}

fn hash_bytes(hash: &BlockHash) -> Bytes {
    Bytes::copy_from_slice(hash.as_bytes())
}

fn hash(field: &'static str, bytes: &[u8]) -> Result<BlockHash, ChainError> {
    Ok(BlockHash::from_bytes(hash_from_bytes(field, bytes)?))
}

fn hashes(field: &'static str, list: &[Bytes]) -> Result<Vec<BlockHash>, ChainError> {
    list.iter().map(|bytes| hash(field, bytes)).collect()
}

fn locator(view: &View<'_>) -> Result<Vec<Bytes>, ChainError> {
    let mut hashes = Vec::new();
    let (mut height, mut step) = (view.tip.height.get(), 1);
    loop {
        let hash = view.tip.snapshot.hash_at(BlockHeight::new(height))?;
        hashes.extend(hash.as_ref().map(hash_bytes));
        if height == 0 {
            return Ok(hashes);
        }
        height = height.saturating_sub(step);
        if hashes.len() >= LOCATOR_DENSE {
            step = step.saturating_mul(2);
        }
    }
}

/// Headers of the main chain behind the first hash of the locator that is on it, genesis if none
/// is.
fn locate_headers(
    view: &View<'_>,
    locator: &[BlockHash],
    stop: Option<&BlockHash>,
    limit: usize,
) -> Result<proto::LocateHeadersResponse, ChainError> {
    let mut shared = BlockHeight::GENESIS;
    for hash in locator {
        if let Some(entry) = view.tip.snapshot.block(hash)?
            && view.is_on_main_chain(hash, entry.height)?
        {
            shared = entry.height;
            break;
        }
    }
    let mut headers = Vec::new();
    let mut last = None;
    let mut next = shared.next();
    while let Some(height) = next.filter(|height| *height <= view.tip.height)
        && headers.len() < limit
    {
        let (hash, entry) = view.block(crate::reader::BlockRef::Height(height))?;
        headers.push(entry.header.to_bytes().into());
        last = Some(entry);
        if stop == Some(&hash) {
            break;
        }
        next = height.next();
    }
    let certificate = last.map(|last| view.certificate(&last)).transpose()?.flatten();
    Ok(proto::LocateHeadersResponse { headers, certificate: certificate.unwrap_or_default() })
}

fn fetched(view: &View<'_>, hash: &BlockHash) -> Result<proto::FetchBlocksResponse, ChainError> {
    let unknown = proto::FetchBlocksResponse { hash: hash_bytes(hash), ..Default::default() };
    let Some(entry) = view.tip.snapshot.block(hash)? else {
        return Ok(unknown);
    };
    let block = read_block_bytes(&view.published.log, entry.body)?.into();
    let certificate = view.certificate(&entry)?.unwrap_or_default();
    Ok(proto::FetchBlocksResponse { block, certificate, ..unknown })
}
