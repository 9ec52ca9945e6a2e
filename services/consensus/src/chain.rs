//! The chain service, as consensus uses it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pentad_api::chain::v1::assembly_service_client::AssemblyServiceClient;
use pentad_api::chain::v1::chain_service_client::ChainServiceClient;
use pentad_api::chain::v1::event_service_client::EventServiceClient;
use pentad_api::chain::v1::{
    CheckCandidateRequest, CheckProposalRequest, ConnectBlocksRequest, ConnectBlocksResponse,
    FetchBlocksRequest, FetchBlocksResponse, FinaliseBlockRequest, FollowMempoolChangesRequest,
    FollowMempoolChangesResponse, FollowTipRequest, FollowTipResponse, GetCandidateRequest,
    GetFinalityRequest, GetInfoRequest, GetStateRootRequest, GetTemplateRequest, Refusal,
};
use pentad_api::status::explain;
use pentad_api::{Connection, FieldError, block_hash_from_hex, hash_from_bytes};
use pentad_pbft::{CommitCertificate, DecodeError, ReplicaId, Sequence, Tip};
use pentad_primitives::{Hash256, Script};
use pentad_service_kit::sized;
use pentad_service_kit::telemetry::{BlockTrace, TraceContext};
use thiserror::Error;
use tokio_stream::Stream;
use tonic::{Request, Status, Streaming};

use crate::body::{self, Link};
use crate::subject::Subject;

/// A chain service that has not answered by then is treated as one that is not there.
const DEADLINE: Duration = Duration::from_secs(5);
/// The root of a state takes as long as what changed since the last one, blocks above it included.
const ROOT_DEADLINE: Duration = Duration::from_secs(60);
/// Blocks that leave the main chain for another branch are disconnected first.
const FINALISE_DEADLINE: Duration = Duration::from_secs(60);
/// Reasons why a proposal cannot be checked before the chain has moved.
const LATER: [&str; 2] = ["NOT_ON_TIP", "NOT_DEEP"];

/// Why the chain service did not do what it was asked.
#[derive(Debug, Error)]
pub(crate) enum ChainError {
    #[error("chain service: {}", .0.message())]
    Status(Box<Status>),
    #[error("the chain service sent something that cannot be used: {0}")]
    Malformed(String),
    #[error("the chain service sent a certificate that cannot be read: {0}")]
    Certificate(#[from] DecodeError),
    #[error("the chain service ended the stream")]
    Ended,
}

impl From<FieldError> for ChainError {
    fn from(error: FieldError) -> Self {
        Self::Malformed(error.to_string())
    }
}

impl From<Status> for ChainError {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

/// A block that could be proposed.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    pub(crate) digest: Hash256,
    pub(crate) parent: Hash256,
    pub(crate) body: Arc<[u8]>,
    /// It holds no transaction that waits for it.
    pub(crate) is_empty: bool,
    /// Spans of transactions in it that are traced.
    pub(crate) traces: Vec<TraceContext>,
}

/// A block of the chain and the root of the state after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Root {
    pub(crate) sequence: Sequence,
    pub(crate) digest: Hash256,
    pub(crate) root: Hash256,
}

/// What the chain says to a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Valid,
    Invalid(String),
    /// Not yet, or not any more: the chain must move first.
    Later,
}

#[derive(Clone, Debug)]
pub(crate) struct ChainClient {
    subject: Subject,
    reads: ChainServiceClient<Connection>,
    assembly: AssemblyServiceClient<Connection>,
    events: EventServiceClient<Connection>,
}

impl ChainClient {
    pub(crate) fn new(connection: Connection, subject: Subject) -> Self {
        Self {
            subject,
            reads: ChainServiceClient::new(connection.clone()),
            assembly: sized!(AssemblyServiceClient::new(connection.clone())),
            events: EventServiceClient::new(connection),
        }
    }

    pub(crate) const fn subject(&self) -> Subject {
        self.subject
    }

    /// The last final block.
    pub(crate) async fn tip(&self) -> Result<Tip, ChainError> {
        match self.subject {
            Subject::NextBlock => self.main_chain_tip().await,
            Subject::FinalBlock { .. } => self.last_final().await,
        }
    }

    async fn main_chain_tip(&self) -> Result<Tip, ChainError> {
        let info = self.reads.clone().get_info(timed(GetInfoRequest {})).await?.into_inner();
        let digest = hash(&info.tip)?;
        let sequence = Sequence::new(info.height.into());
        if sequence == Sequence::GENESIS {
            return Ok(Tip { sequence, digest, certificate: None, body: None });
        }
        let found = self.fetch(digest).await?;
        let certificate = Some(CommitCertificate::from_bytes(&found.certificate)?);
        Ok(Tip { sequence, digest, certificate, body: Some(Arc::from(&found.block[..])) })
    }

    async fn last_final(&self) -> Result<Tip, ChainError> {
        let request = timed(GetFinalityRequest {});
        let answer = self.assembly.clone().get_finality(request).await?.into_inner();
        let certificate = match answer.certificate.len() {
            0 => None,
            _ => Some(CommitCertificate::from_bytes(&answer.certificate)?),
        };
        let sequence = Sequence::new(answer.height.into());
        let digest = header_link(&answer.header)?.digest;
        Ok(Tip { sequence, digest, certificate, body: Some(Arc::from(&answer.header[..])) })
    }

    /// The state after the block of a sequence. Where work makes the blocks, the block's hash
    /// stands for it: whoever connected the block has the state that follows from it, and blocks
    /// above, however many, need not be taken back to say so.
    pub(crate) async fn root(&self, sequence: Sequence) -> Result<Root, ChainError> {
        let height = height(sequence);
        if let Subject::FinalBlock { .. } = self.subject {
            let request = timed(GetCandidateRequest { height });
            let answer = self.assembly.clone().get_candidate(request).await?.into_inner();
            let digest = header_link(&answer.header)?.digest;
            return Ok(Root { sequence, digest, root: digest });
        }
        let mut request = Request::new(GetStateRootRequest { height });
        request.set_timeout(ROOT_DEADLINE);
        let answer = self.assembly.clone().get_state_root(request).await?.into_inner();
        let hash = |field, bytes: &Bytes| {
            let hash = hash_from_bytes(field, bytes);
            hash.map(Hash256::from_bytes).map_err(|it| ChainError::Malformed(it.to_string()))
        };
        let (digest, root) = (hash("hash", &answer.hash)?, hash("root", &answer.root)?);
        Ok(Root { sequence, digest, root })
    }

    /// What makes a block final, or a later one.
    pub(crate) async fn certificate(
        &self,
        digest: Hash256,
    ) -> Result<CommitCertificate, ChainError> {
        if let Subject::FinalBlock { .. } = self.subject {
            return self.last_final().await?.certificate.ok_or(ChainError::Ended);
        }
        Ok(CommitCertificate::from_bytes(&self.fetch(digest).await?.certificate)?)
    }

    async fn fetch(&self, digest: Hash256) -> Result<FetchBlocksResponse, ChainError> {
        let hashes = vec![Bytes::copy_from_slice(digest.as_bytes())];
        let request = timed(FetchBlocksRequest { hashes });
        let mut answers = self.assembly.clone().fetch_blocks(request).await?.into_inner();
        answers.message().await?.ok_or(ChainError::Ended)
    }

    /// What to propose: a block on the tip that pays to `payout`, or the block of work of that
    /// sequence.
    pub(crate) async fn template(
        &self,
        sequence: Sequence,
        payout: &Script,
    ) -> Result<Template, ChainError> {
        match self.subject {
            Subject::NextBlock => self.next_block(payout).await,
            Subject::FinalBlock { .. } => self.candidate(sequence).await,
        }
    }

    async fn candidate(&self, sequence: Sequence) -> Result<Template, ChainError> {
        let request = timed(GetCandidateRequest { height: height(sequence) });
        let answer = self.assembly.clone().get_candidate(request).await?.into_inner();
        let Link { digest, parent } = header_link(&answer.header)?;
        let body = Arc::from(&answer.header[..]);
        let traces = BlockTrace::from_traceparents("", &answer.transaction_traceparents);
        let traces = traces.transactions().to_vec();
        Ok(Template { digest, parent, body, is_empty: false, traces })
    }

    async fn next_block(&self, payout: &Script) -> Result<Template, ChainError> {
        let payout_script = payout.as_bytes().to_vec().into();
        let request = timed(GetTemplateRequest { payout_script, extra_nonce: 0 });
        let answer = self.assembly.clone().get_template(request).await?.into_inner();
        let Link { digest, parent } = header_link(&answer.block)?;
        let body = Arc::from(&answer.block[..]);
        let traces = BlockTrace::from_traceparents("", &answer.transaction_traceparents);
        let traces = traces.transactions().to_vec();
        Ok(Template { digest, parent, body, is_empty: answer.transactions == 0, traces })
    }

    /// Whether a proposal may be agreed on.
    pub(crate) async fn check(
        &self,
        body: &[u8],
        proposer: Option<ReplicaId>,
        is_first: bool,
    ) -> Result<Verdict, ChainError> {
        let body = Bytes::copy_from_slice(body);
        let mut assembly = self.assembly.clone();
        let refusal = match self.subject {
            Subject::NextBlock => {
                let proposer = proposer.map(|replica| replica.get().into());
                let request = timed(CheckProposalRequest { block: body, proposer, is_first });
                assembly.check_proposal(request).await.map(|it| it.into_inner().refusal)
            }
            Subject::FinalBlock { .. } => {
                let request = timed(CheckCandidateRequest { header: body, is_first });
                assembly.check_candidate(request).await.map(|it| it.into_inner().refusal)
            }
        };
        match refusal {
            Ok(None) => Ok(Verdict::Valid),
            Ok(Some(Refusal { reason, message, .. })) => {
                Ok(Verdict::Invalid(format!("{reason}: {message}")))
            }
            Err(status) if LATER.contains(&explain(&status).reason.as_str()) => Ok(Verdict::Later),
            Err(status) => Err(status.into()),
        }
    }

    /// Has a block of work made final. The refusal, if any; the tip's stream tells when it is.
    pub(crate) async fn finalise(
        &self,
        certificate: &CommitCertificate,
    ) -> Result<Option<Refusal>, ChainError> {
        let certificate = certificate.to_bytes().into();
        let mut request = Request::new(FinaliseBlockRequest { certificate });
        // A long way to another branch takes its time.
        request.set_timeout(FINALISE_DEADLINE);
        Ok(self.assembly.clone().finalise_block(request).await?.into_inner().refusal)
    }

    /// The tip from now on; the first event names the present one.
    pub(crate) async fn follow_tip(&self) -> Result<Streaming<FollowTipResponse>, ChainError> {
        let request =
            FollowTipRequest { cursor: String::new(), with_blocks: false, ..Default::default() };
        Ok(self.events.clone().follow_tip(request).await?.into_inner())
    }

    /// What waits for a block, the present transactions first.
    pub(crate) async fn follow_mempool(
        &self,
    ) -> Result<Streaming<FollowMempoolChangesResponse>, ChainError> {
        let request = FollowMempoolChangesRequest { with_transactions: false };
        Ok(self.assembly.clone().follow_mempool_changes(request).await?.into_inner())
    }

    /// Connects certified blocks, in order.
    pub(crate) async fn connect_blocks(
        &self,
        blocks: impl Stream<Item = ConnectBlocksRequest> + Send + 'static,
    ) -> Result<Streaming<ConnectBlocksResponse>, ChainError> {
        Ok(self.assembly.clone().connect_blocks(blocks).await?.into_inner())
    }
}

fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    request
}

fn height(sequence: Sequence) -> u32 {
    u32::try_from(sequence.get()).unwrap_or(u32::MAX)
}

fn header_link(bytes: &[u8]) -> Result<Link, ChainError> {
    body::link(bytes).ok_or_else(|| ChainError::Malformed("no header of a block".to_owned()))
}

/// A displayed hash as the core has it.
pub(crate) fn hash(text: &str) -> Result<Hash256, ChainError> {
    let hash = block_hash_from_hex("hash", text)?;
    Ok(Hash256::from_bytes(hash.to_bytes()))
}
