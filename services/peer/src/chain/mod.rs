//! The chain service, as the peer service uses it: it judges everything that peers send.

mod follow;
mod pump;

use std::time::Duration;

use bytes::Bytes;
use pentad_api::chain::v1 as proto;
use pentad_api::chain::v1::FinalityOutcome;
use pentad_api::chain::v1::assembly_service_client::AssemblyServiceClient;
use pentad_api::chain::v1::chain_service_client::ChainServiceClient;
use pentad_api::chain::v1::event_service_client::EventServiceClient;
use pentad_api::{Connection, FieldError, block_hash_from_hex, hash_from_bytes, txid_from_hex};
use pentad_primitives::hash::sha256d;
use pentad_primitives::{BlockHash, BlockHeight, Txid, Work};
use pentad_service_kit::sized;
use pentad_service_kit::telemetry::TraceContext;
use pentad_wire::finality::Outcome as Finality;
use pentad_wire::handshake::Claim;
use pentad_wire::sync::{HeaderBatch, HeaderReport};
use thiserror::Error;
use tonic::{Request, Status, Streaming};

use crate::link::serve::Outgoing;

pub(crate) use follow::{follow_mempool, follow_tip};
pub(crate) use pump::{BlockItem, Pump, TransactionItem, pump_blocks, pump_transactions};

/// A chain service that has not answered by then is treated as one that is not there.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long a stream of blocks may take in all.
const STREAM_DEADLINE: Duration = Duration::from_secs(120);
/// Most ids of mempool transactions that a new peer is told.
const INVENTORY_MAX: u32 = 100_000;

/// The engine under which validators make blocks of work final.
const HYBRID: &str = "hybrid";

/// Why it refuses what is not on the branch of the last final block.
const BELOW_FINALITY: &str = "BELOW_FINALITY";

/// Clients of the chain service; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    reads: ChainServiceClient<Connection>,
    assembly: AssemblyServiceClient<Connection>,
    events: EventServiceClient<Connection>,
}

/// Why the chain service could not be asked.
#[derive(Debug, Error)]
pub(crate) enum ChainError {
    #[error("chain service: {}: {}", .0.code(), .0.message())]
    Status(Box<Status>),
    #[error("the chain service sent {0}")]
    Field(#[from] FieldError),
    #[error("the chain service sent no {0}")]
    Missing(&'static str),
    #[error("the chain service ended the stream")]
    Ended,
}

impl From<Status> for ChainError {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

/// The network, as the chain service tells it.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) name: String,
    pub(crate) genesis: BlockHash,
    pub(crate) claim: Claim,
}

impl Chain {
    pub(crate) fn new(connection: &Connection) -> Self {
        Self {
            reads: sized!(ChainServiceClient::new(connection.clone())),
            assembly: sized!(AssemblyServiceClient::new(connection.clone())),
            events: sized!(EventServiceClient::new(connection.clone())),
        }
    }

    pub(crate) async fn network(&self) -> Result<Network, ChainError> {
        let request = timed(proto::GetInfoRequest {});
        let info = self.reads.clone().get_info(request).await?.into_inner();
        Ok(Network {
            genesis: block_hash_from_hex("genesis_hash", &info.genesis_hash)?,
            claim: Claim {
                work: work_from_hex(&info.chain_work)?,
                height: BlockHeight::new(info.height),
                tip: block_hash_from_hex("tip", &info.tip)?,
                // Where work alone makes blocks final none is, and under PBFT all are.
                final_height: (info.engine == HYBRID)
                    .then_some(BlockHeight::new(info.final_height())),
            },
            name: info.network,
        })
    }

    /// Hashes of the main chain from the tip back, ever sparser.
    pub(crate) async fn locator(&self) -> Result<Vec<BlockHash>, ChainError> {
        let request = timed(proto::GetLocatorRequest {});
        let answer = self.assembly.clone().get_locator(request).await?.into_inner();
        block_hashes("hashes", &answer.hashes)
    }

    /// Headers of the main chain after the first hash of `locator` that is on it.
    pub(crate) async fn locate_headers(
        &self,
        locator: &[BlockHash],
        stop: Option<BlockHash>,
        limit: u32,
    ) -> Result<HeaderBatch, ChainError> {
        let request = timed(proto::LocateHeadersRequest {
            locator: locator.iter().map(|hash| share(hash.as_bytes())).collect(),
            stop: stop.map(|hash| share(hash.as_bytes())).unwrap_or_default(),
            limit,
        });
        let answer = self.assembly.clone().locate_headers(request).await?.into_inner();
        Ok(HeaderBatch { headers: answer.headers, certificate: answer.certificate })
    }

    /// Lets headers be checked; without any it only tells which bodies are wanted.
    pub(crate) async fn check_headers(
        &self,
        batch: HeaderBatch,
    ) -> Result<HeaderReport, ChainError> {
        let HeaderBatch { headers, certificate } = batch;
        let request = timed(proto::CheckHeadersRequest { headers, certificate });
        let answer = self.assembly.clone().check_headers(request).await?.into_inner();
        if let Some(refusal) = &answer.refusal {
            tracing::debug!(reason = refusal.reason, "headers refused: {}", refusal.message);
        }
        Ok(HeaderReport {
            accepted: usize::try_from(answer.accepted).unwrap_or(usize::MAX),
            misbehavior: answer.refusal.as_ref().map(|refusal| refusal.misbehavior),
            is_below_finality: answer.refusal.is_some_and(|it| it.reason == BELOW_FINALITY),
            wanted: block_hashes("wanted", &answer.wanted)?,
            best_work: Work::from_be_bytes(hash_from_bytes("best_work", &answer.best_work)?),
            best_height: BlockHeight::new(answer.best_height),
        })
    }

    /// The height of the last final block, and what makes it so.
    pub(crate) async fn finality(&self) -> Result<(BlockHeight, Bytes), ChainError> {
        let request = timed(proto::GetFinalityRequest {});
        let answer = self.assembly.clone().get_finality(request).await?.into_inner();
        Ok((BlockHeight::new(answer.height), answer.certificate))
    }

    /// Makes a block final.
    pub(crate) async fn finalise(&self, certificate: Bytes) -> Result<Finality, ChainError> {
        let request = timed(proto::FinaliseBlockRequest { certificate });
        let answer = self.assembly.clone().finalise_block(request).await?.into_inner();
        if let Some(refusal) = &answer.refusal {
            tracing::info!(reason = refusal.reason, "certificate refused: {}", refusal.message);
            return Ok(Finality::Refused(refusal.misbehavior));
        }
        match answer.outcome() {
            FinalityOutcome::Final => Ok(Finality::Final),
            FinalityOutcome::AlreadyFinal => Ok(Finality::AlreadyFinal),
            FinalityOutcome::Awaited => Ok(Finality::Awaited),
            FinalityOutcome::Unspecified => Err(ChainError::Missing("outcome")),
        }
    }

    /// Blocks in the order asked for; an empty one is not there.
    pub(crate) async fn fetch_blocks(
        &self,
        hashes: &[BlockHash],
    ) -> Result<Streaming<proto::FetchBlocksResponse>, ChainError> {
        let hashes = hashes.iter().map(|hash| share(hash.as_bytes())).collect();
        let mut request = Request::new(proto::FetchBlocksRequest { hashes });
        request.set_timeout(STREAM_DEADLINE);
        Ok(self.assembly.clone().fetch_blocks(request).await?.into_inner())
    }

    /// Transactions of the mempool, those that are there; one call, so few of them.
    pub(crate) async fn fetch_transactions(
        &self,
        txids: &[Txid],
    ) -> Result<Vec<Outgoing>, ChainError> {
        let txids = txids.iter().map(|txid| share(txid.as_bytes())).collect();
        let request = timed(proto::FetchTransactionsRequest { txids });
        let answer = self.assembly.clone().fetch_transactions(request).await?.into_inner();
        let outgoing = |transaction: Bytes| {
            let txid = Txid::from(sha256d(&transaction));
            Outgoing { txid, transaction, trace: None }
        };
        let mut found: Vec<Outgoing> = answer.transactions.into_iter().map(outgoing).collect();
        for proto::TracedTransaction { place, traceparent } in &answer.traced {
            let place = usize::try_from(*place).unwrap_or(usize::MAX);
            if let Some(outgoing) = found.get_mut(place) {
                outgoing.trace = TraceContext::from_traceparent(traceparent);
            }
        }
        Ok(found)
    }

    /// Ids of the mempool's transactions, parents before children.
    pub(crate) async fn mempool(&self) -> Result<Vec<Txid>, ChainError> {
        let request = timed(proto::GetMempoolRequest { limit: INVENTORY_MAX });
        let answer = self.reads.clone().get_mempool(request).await?.into_inner();
        answer.txids.iter().map(|txid| Ok(txid_from_hex("txids", txid)?)).collect()
    }
}

fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    request
}

fn share(bytes: &[u8; 32]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

fn block_hashes(field: &'static str, hashes: &[Bytes]) -> Result<Vec<BlockHash>, ChainError> {
    let parse = |bytes: &Bytes| Ok(BlockHash::from_bytes(hash_from_bytes(field, bytes)?));
    hashes.iter().map(parse).collect()
}

/// Work as it is displayed: hex, most significant digit first, leading zeros optional.
fn work_from_hex(text: &str) -> Result<Work, ChainError> {
    let mut bytes = [0; 32];
    let padded = format!("{text:0>64}");
    let parsed = hex::decode_to_slice(padded, &mut bytes);
    parsed.map_err(|_| ChainError::Missing("valid chain_work"))?;
    Ok(Work::from_be_bytes(bytes))
}
