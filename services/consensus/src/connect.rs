//! Hands certified blocks, or certificates of blocks that it has, to the chain service, in order,
//! until each is answered.

use std::sync::Arc;

use bytes::Bytes;
use pentad_api::chain::v1::{ConnectBlocksRequest, ConnectBlocksResponse, Refusal};
use pentad_pbft::CommitCertificate;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::backoff::backoff;
use crate::chain::{ChainClient, ChainError};
use crate::subject::Subject;
use crate::vitals::Vitals;
use pentad_service_kit::Backoff;
use pentad_service_kit::telemetry::BlockTrace;

/// Blocks that may wait for the chain service: more than the largest window.
pub(crate) const BLOCKS_MAX: usize = 16;

/// A block that a quorum committed.
#[derive(Debug)]
pub(crate) struct FinalBlock {
    pub(crate) certificate: CommitCertificate,
    pub(crate) body: Arc<[u8]>,
    /// What it is traced by.
    pub(crate) trace: BlockTrace,
}

impl FinalBlock {
    fn request(&self) -> ConnectBlocksRequest {
        ConnectBlocksRequest {
            block: Bytes::copy_from_slice(&self.body),
            certificate: self.certificate.to_bytes().into(),
            traceparent: self.trace.traceparent(),
            transaction_traceparents: self.trace.transaction_traceparents(),
        }
    }
}

/// Runs until the driver is gone. What the chain did, its tip tells.
pub(crate) async fn run(
    chain: ChainClient,
    mut blocks: mpsc::Receiver<FinalBlock>,
    vitals: Vitals,
) {
    let mut backoff = backoff();
    let mut unanswered = None;
    loop {
        let error = match connect(&chain, &mut blocks, &mut unanswered, &mut backoff, &vitals).await
        {
            Ok(()) => return,
            Err(error) => error,
        };
        tracing::warn!(%error, "the stream of final blocks broke");
        backoff.pause().await;
    }
}

/// One life of the stream; `Ok` once no more blocks come.
async fn connect(
    chain: &ChainClient,
    blocks: &mut mpsc::Receiver<FinalBlock>,
    unanswered: &mut Option<FinalBlock>,
    backoff: &mut Backoff,
    vitals: &Vitals,
) -> Result<(), ChainError> {
    let mut line = Line::open(chain).await?;
    loop {
        let block = match unanswered {
            Some(block) => block,
            None => match blocks.recv().await {
                Some(block) => unanswered.insert(block),
                None => return Ok(()),
            },
        };
        let sequence = block.certificate.sequence;
        if let Some(refusal) = line.hand_over(block).await? {
            // A quorum found it valid: our ledger is not theirs. Whoever looks must see that.
            let reason = format!(
                "the chain service refuses block {sequence}, which a quorum committed ({}: {}): \
                 compare the chain spec and version with the other validators', then restart \
                 with `store.reindex = true`",
                refusal.reason, refusal.message
            );
            vitals.set_ledger_fault(Some(reason.clone()));
            return Err(ChainError::Malformed(reason));
        }
        vitals.set_ledger_fault(None);
        backoff.reset();
        *unanswered = None;
    }
}

/// The way to the chain service.
enum Line<'a> {
    /// Blocks, one after the other.
    Blocks {
        requests: mpsc::Sender<ConnectBlocksRequest>,
        answers: Box<Streaming<ConnectBlocksResponse>>,
    },
    /// Certificates, a few in a minute.
    Certificates(&'a ChainClient),
}

impl<'a> Line<'a> {
    async fn open(chain: &'a ChainClient) -> Result<Self, ChainError> {
        if let Subject::FinalBlock { .. } = chain.subject() {
            return Ok(Self::Certificates(chain));
        }
        let (requests, receiver) = mpsc::channel(1);
        let answers = Box::new(chain.connect_blocks(ReceiverStream::new(receiver)).await?);
        Ok(Self::Blocks { requests, answers })
    }

    /// The refusal, if any.
    async fn hand_over(&mut self, block: &FinalBlock) -> Result<Option<Refusal>, ChainError> {
        match self {
            Self::Blocks { requests, answers } => {
                requests.send(block.request()).await.map_err(|_| ChainError::Ended)?;
                Ok(answers.message().await?.ok_or(ChainError::Ended)?.refusal)
            }
            Self::Certificates(chain) => chain.finalise(&block.certificate).await,
        }
    }
}
