//! The chain service, as the miner uses it.

use std::time::Duration;

use pentad_api::chain::v1::assembly_service_client::AssemblyServiceClient;
use pentad_api::chain::v1::chain_service_client::ChainServiceClient;
use pentad_api::chain::v1::event_service_client::EventServiceClient;
use pentad_api::chain::v1::follow_tip_response::Event;
use pentad_api::chain::v1::submit_service_client::SubmitServiceClient;
use pentad_api::chain::v1::{
    BlockOutcome, FollowTipRequest, FollowTipResponse, GetInfoRequest, GetInfoResponse,
    GetTemplateRequest, GetTemplateResponse, SubmitBlockRequest,
};
use pentad_api::{Connection, block_from_bytes, hash_from_bytes};
use pentad_primitives::encode::Encode as _;
use pentad_primitives::pow::Target;
use pentad_primitives::{Block, Script};
use pentad_service_kit::sized;
use tonic::{Request, Status, Streaming};

use crate::error::MinerError;

/// A chain service that has not answered by then is treated as one that is not there.
const DEADLINE: Duration = Duration::from_secs(5);

/// A block to be mined.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    /// All but its work is right.
    pub(crate) block: Block,
    pub(crate) height: u32,
    pub(crate) target: Target,
}

#[derive(Clone, Debug)]
pub(crate) struct ChainClient {
    reads: ChainServiceClient<Connection>,
    assembly: AssemblyServiceClient<Connection>,
    submit: SubmitServiceClient<Connection>,
    events: EventServiceClient<Connection>,
}

impl ChainClient {
    pub(crate) fn new(connection: Connection) -> Self {
        Self {
            reads: ChainServiceClient::new(connection.clone()),
            assembly: sized!(AssemblyServiceClient::new(connection.clone())),
            submit: sized!(SubmitServiceClient::new(connection.clone())),
            events: EventServiceClient::new(connection),
        }
    }

    pub(crate) async fn info(&self) -> Result<GetInfoResponse, MinerError> {
        let answer = self.reads.clone().get_info(timed(GetInfoRequest {})).await;
        Ok(answer.map_err(chain)?.into_inner())
    }

    pub(crate) async fn template(
        &self,
        payout: &Script,
        extra_nonce: u64,
    ) -> Result<Template, MinerError> {
        let payout_script = payout.as_bytes().to_vec().into();
        let request = GetTemplateRequest { payout_script, extra_nonce };
        let answer = self.assembly.clone().get_template(timed(request)).await.map_err(chain)?;
        Template::from_message(&answer.into_inner())
    }

    pub(crate) async fn submit(&self, block: &Block) -> Result<BlockOutcome, MinerError> {
        let request = SubmitBlockRequest { block: block.to_bytes().into(), ..Default::default() };
        let answer = self.submit.clone().submit_block(timed(request)).await.map_err(chain)?;
        Ok(answer.into_inner().outcome())
    }

    /// The tip from now on; the first event names the present one.
    pub(crate) async fn follow_tip(&self) -> Result<Streaming<FollowTipResponse>, MinerError> {
        let request = FollowTipRequest { cursor: String::new(), with_blocks: false };
        Ok(self.events.clone().follow_tip(request).await.map_err(chain)?.into_inner())
    }
}

fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    request
}

fn chain(status: Status) -> MinerError {
    MinerError::Chain(Box::new(status))
}

impl Template {
    fn from_message(message: &GetTemplateResponse) -> Result<Self, MinerError> {
        let problem =
            |problem: &dyn ToString| MinerError::Template { problem: problem.to_string() };
        let mut block =
            block_from_bytes("block", &message.block).map_err(|error| problem(&error))?;
        let target = hash_from_bytes("target", &message.target).map_err(|error| problem(&error))?;
        // Blocks may come faster than the clock ticks: then their times run ahead of it.
        block.header.time = block.header.time.max(message.min_time);
        Ok(Self { block, height: message.height, target: Target::from_be_bytes(target) })
    }
}

/// Hash of the tip after an event, displayed hex; `None` when the event does not say.
pub(crate) fn tip_after(event: FollowTipResponse) -> Option<String> {
    match event.event? {
        Event::Apply(connected) => connected.header.map(|header| header.hash),
        Event::Undo(disconnected) => disconnected.header.map(|header| header.prev_block_hash),
        Event::Reset(reset) => reset.header.map(|header| header.hash),
        Event::Final(_) => None,
    }
}
