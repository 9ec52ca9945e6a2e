//! `SubmitService`: handing in transactions and blocks.

use pentad_api::chain::v1 as proto;
use pentad_api::chain::v1::submit_service_server::SubmitService;
use tonic::{Request, Response, Status};

use crate::error::ChainError;
use crate::submitter::Submitter;
use crate::writer::{BlockOutcome, Origin};

/// Answers `SubmitService`.
#[derive(Clone, Debug)]
pub(crate) struct Submit {
    pub(crate) submitter: Submitter,
}

#[tonic::async_trait]
impl SubmitService for Submit {
    async fn submit_transaction(
        &self,
        request: Request<proto::SubmitTransactionRequest>,
    ) -> Result<Response<proto::SubmitTransactionResponse>, Status> {
        let ticket = self.submitter.transaction(&request.into_inner().transaction).await?;
        let admission = ticket.answer().await?.map_err(ChainError::Transaction)?;
        Ok(Response::new(proto::SubmitTransactionResponse {
            txid: admission.txid.to_string(),
            already_known: !admission.is_new,
        }))
    }

    async fn submit_block(
        &self,
        request: Request<proto::SubmitBlockRequest>,
    ) -> Result<Response<proto::SubmitBlockResponse>, Status> {
        let block = request.into_inner().block;
        let ticket = self.submitter.block(block, Origin::Submitted).await?;
        let hash = ticket.id.map(|hash| hash.to_string()).unwrap_or_default();
        let outcome = ticket.answer().await?.map_err(ChainError::Block)?;
        let outcome = proto::BlockOutcome::from(outcome).into();
        Ok(Response::new(proto::SubmitBlockResponse { hash, outcome }))
    }
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
