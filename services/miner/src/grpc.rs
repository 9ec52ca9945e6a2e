//! The gRPC face of the miner.

use pentad_api::miner::v1::miner_service_server::MinerService;
use pentad_api::miner::v1::{
    GenerateRequest, GenerateResponse, GetStatusRequest, GetStatusResponse, PauseMiningRequest,
    PauseMiningResponse, ResumeMiningRequest, ResumeMiningResponse, StartMiningRequest,
    StartMiningResponse, StopMiningRequest, StopMiningResponse,
};
use tonic::{Request, Response, Status};

use crate::miner::Miner;

#[tonic::async_trait]
impl MinerService for Miner {
    #[tracing::instrument(skip_all, err(level = "debug"))]
    async fn start_mining(
        &self,
        request: Request<StartMiningRequest>,
    ) -> Result<Response<StartMiningResponse>, Status> {
        let task = Miner::start_mining(self, &request.into_inner()).await?;
        let (threads, payout_address) = (task.threads, task.payout_address);
        Ok(Response::new(StartMiningResponse { threads, payout_address }))
    }

    #[tracing::instrument(skip_all, err(level = "debug"))]
    async fn stop_mining(
        &self,
        _: Request<StopMiningRequest>,
    ) -> Result<Response<StopMiningResponse>, Status> {
        Miner::stop_mining(self).await?;
        Ok(Response::new(StopMiningResponse {}))
    }

    #[tracing::instrument(skip_all, err(level = "debug"))]
    async fn pause_mining(
        &self,
        _: Request<PauseMiningRequest>,
    ) -> Result<Response<PauseMiningResponse>, Status> {
        self.set_paused(true).await?;
        Ok(Response::new(PauseMiningResponse {}))
    }

    #[tracing::instrument(skip_all, err(level = "debug"))]
    async fn resume_mining(
        &self,
        _: Request<ResumeMiningRequest>,
    ) -> Result<Response<ResumeMiningResponse>, Status> {
        self.set_paused(false).await?;
        Ok(Response::new(ResumeMiningResponse {}))
    }

    async fn get_status(
        &self,
        _: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        Ok(Response::new(self.status().message()))
    }

    #[tracing::instrument(
        skip_all,
        fields(blocks = request.get_ref().blocks),
        err(level = "debug")
    )]
    async fn generate(
        &self,
        request: Request<GenerateRequest>,
    ) -> Result<Response<GenerateResponse>, Status> {
        let GenerateRequest { blocks, payout_address } = request.into_inner();
        let hashes = Miner::generate(self, blocks, &payout_address).await?;
        let hashes = hashes.iter().map(ToString::to_string).collect();
        Ok(Response::new(GenerateResponse { hashes }))
    }
}
