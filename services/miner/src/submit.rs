//! Handing a block in.

use std::time::Duration;

use pentad_api::chain::v1::BlockOutcome;
use pentad_primitives::Block;
use tonic::Code;
use tracing::Instrument as _;

use crate::chain::ChainClient;
use crate::error::MinerError;

/// A found block is worth some patience with a chain service that does not answer.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(200);

/// Submits, and again while the chain service cannot be reached. A block's own trace begins here.
pub(crate) async fn submit_patiently(
    chain: &ChainClient,
    block: &Block,
) -> Result<BlockOutcome, MinerError> {
    let span = tracing::info_span!("miner.block", hash = %block.block_hash());
    submit(chain, block).instrument(span).await
}

async fn submit(chain: &ChainClient, block: &Block) -> Result<BlockOutcome, MinerError> {
    let mut attempts_left = ATTEMPTS;
    loop {
        attempts_left -= 1;
        match chain.submit(block).await {
            Err(MinerError::Chain(status))
                if status.code() == Code::Unavailable && attempts_left > 0 =>
            {
                tokio::time::sleep(PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}
