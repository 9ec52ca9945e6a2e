//! The chain service, as the miner uses it.

use std::time::Duration;

use pentad_api::Connection;
use pentad_api::chain::v1::assembly_service_client::AssemblyServiceClient;
use pentad_api::chain::v1::chain_service_client::ChainServiceClient;
use pentad_api::chain::v1::submit_service_client::SubmitServiceClient;
use pentad_api::chain::v1::{
    BlockOutcome, FollowTemplatesRequest, FollowTemplatesResponse, GetInfoRequest, GetInfoResponse,
    GetTemplateRequest, SubmitBlockRequest,
};
use pentad_primitives::encode::Encode as _;
use pentad_primitives::{Block, Script};
use pentad_service_kit::sized;
use tonic::{Request, Status, Streaming};

use crate::error::MinerError;
use crate::job::Job;

/// A chain service that has not answered by then is treated as one that is not there.
const DEADLINE: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
pub(crate) struct ChainClient {
    reads: ChainServiceClient<Connection>,
    assembly: AssemblyServiceClient<Connection>,
    submit: SubmitServiceClient<Connection>,
}

impl ChainClient {
    pub(crate) fn new(connection: Connection) -> Self {
        Self {
            reads: ChainServiceClient::new(connection.clone()),
            assembly: sized!(AssemblyServiceClient::new(connection.clone())),
            submit: sized!(SubmitServiceClient::new(connection)),
        }
    }

    pub(crate) async fn info(&self) -> Result<GetInfoResponse, MinerError> {
        let answer = self.reads.clone().get_info(timed(GetInfoRequest {})).await;
        Ok(answer.map_err(chain)?.into_inner())
    }

    pub(crate) async fn template(&self, payout: &Script) -> Result<Job, MinerError> {
        let payout_script = payout.as_bytes().to_vec().into();
        let request = GetTemplateRequest { payout_script, extra_nonce: 0 };
        let answer = self.assembly.clone().get_template(timed(request)).await.map_err(chain)?;
        Job::from_message(&answer.into_inner())
    }

    /// Templates from now on, the first one at once.
    pub(crate) async fn follow_templates(
        &self,
        payout: &Script,
    ) -> Result<Streaming<FollowTemplatesResponse>, MinerError> {
        let payout_script = payout.as_bytes().to_vec().into();
        let request = FollowTemplatesRequest { payout_script };
        Ok(self.assembly.clone().follow_templates(request).await.map_err(chain)?.into_inner())
    }

    pub(crate) async fn submit(&self, block: &Block) -> Result<BlockOutcome, MinerError> {
        let request = SubmitBlockRequest { block: block.to_bytes().into(), ..Default::default() };
        let answer = self.submit.clone().submit_block(timed(request)).await.map_err(chain)?;
        Ok(answer.into_inner().outcome())
    }
}

fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    request
}

pub(crate) fn chain(status: Status) -> MinerError {
    MinerError::Chain(Box::new(status))
}
