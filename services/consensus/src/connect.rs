//! Hands certified blocks to the chain service, in order, until each is answered.

use std::sync::Arc;

use bytes::Bytes;
use pentad_api::chain::v1::ConnectBlocksRequest;
use pentad_pbft::CommitCertificate;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::backoff::backoff;
use crate::chain::{ChainClient, ChainError};
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
    let (requests, receiver) = mpsc::channel(1);
    let mut answers = chain.connect_blocks(ReceiverStream::new(receiver)).await?;
    loop {
        let block = match unanswered {
            Some(block) => block,
            None => match blocks.recv().await {
                Some(block) => unanswered.insert(block),
                None => return Ok(()),
            },
        };
        requests.send(block.request()).await.map_err(|_| ChainError::Ended)?;
        let answer = answers.message().await?.ok_or(ChainError::Ended)?;
        let sequence = block.certificate.sequence;
        if let Some(refusal) = answer.refusal {
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
