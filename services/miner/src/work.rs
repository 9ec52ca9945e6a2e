//! `WorkService`: the gRPC face towards workers.

use std::pin::Pin;
use std::time::Instant;

use pentad_api::miner::v1::work_service_server::WorkService;
use pentad_api::miner::v1::{
    ListWorkersRequest, ListWorkersResponse, TakeWorkRequest, TakeWorkResponse,
};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::miner::Miner;
use crate::session;

/// Messages that wait for a worker's connection; one that reads nothing is not listened to.
const MESSAGES_IN_FLIGHT: usize = 16;

/// Answers `WorkService`.
#[derive(Clone, Debug)]
pub(crate) struct WorkDesk {
    miner: Miner,
}

impl WorkDesk {
    pub(crate) const fn new(miner: Miner) -> Self {
        Self { miner }
    }
}

#[tonic::async_trait]
impl WorkService for WorkDesk {
    type TakeWorkStream = Pin<Box<dyn Stream<Item = Result<TakeWorkResponse, Status>> + Send>>;

    async fn take_work(
        &self,
        request: Request<Streaming<TakeWorkRequest>>,
    ) -> Result<Response<Self::TakeWorkStream>, Status> {
        let (sender, answers) = mpsc::channel(MESSAGES_IN_FLIGHT);
        let (miner, requests) = (self.miner.clone(), request.into_inner());
        tokio::spawn(async move {
            let shutdown = miner.shutdown().clone();
            let serving = session::serve(&miner, requests, &sender);
            if let Some(Err(status)) = shutdown.run_until_cancelled(serving).await {
                // A worker that has left needs no reason.
                sender.send(Err(status)).await.ok();
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    async fn list_workers(
        &self,
        _: Request<ListWorkersRequest>,
    ) -> Result<Response<ListWorkersResponse>, Status> {
        let workers = self.miner.status().workers.list(Instant::now());
        Ok(Response::new(ListWorkersResponse { workers }))
    }
}
