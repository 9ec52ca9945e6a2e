//! Blocks on demand, on development networks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use pentad_api::chain::v1::BlockOutcome;
use pentad_primitives::{Block, BlockHash};
use tokio::sync::oneshot;

use crate::chain::{ChainClient, Template};
use crate::driver::submit_patiently;
use crate::error::MinerError;
use crate::extra_nonce::ExtraNonce;
use crate::payout::Payout;
use crate::search::{Outcome, search};
use crate::status::Status;

/// Mines `count` blocks one after the other. A block that loses its race against another miner is
/// mined again on the new tip.
pub(crate) async fn generate(
    chain: &ChainClient,
    extra_nonce: &ExtraNonce,
    status: &Arc<Status>,
    payout: &Payout,
    count: u32,
) -> Result<Vec<BlockHash>, MinerError> {
    let mut hashes = Vec::new();
    while hashes.len() < count as usize {
        let template = chain.template(&payout.script, extra_nonce.next()).await?;
        let Some(block) = mine(template, status).await? else {
            continue;
        };
        match submit_patiently(chain, &block).await? {
            BlockOutcome::Connected => {
                status.count_found();
                hashes.push(block.block_hash());
            }
            BlockOutcome::AlreadyKnown => {}
            BlockOutcome::SideBranch | BlockOutcome::Orphan | BlockOutcome::Unspecified => {
                status.count_stale();
            }
        }
    }
    Ok(hashes)
}

/// Searches on a thread of its own, which ends when the caller goes away. `None`: no nonce does.
async fn mine(template: Template, status: &Arc<Status>) -> Result<Option<Block>, MinerError> {
    let abandoned = Abandon::default();
    let (give_up, meter) = (Arc::clone(&abandoned.0), Arc::clone(&status.meter));
    let (done, found) = oneshot::channel();
    thread::Builder::new().name("generate".to_owned()).spawn(move || {
        let Template { mut block, target, .. } = template;
        let outcome = search(&block.header, &target, 0, |hashed| {
            meter.add(u64::from(hashed));
            !give_up.load(Ordering::Relaxed)
        });
        let block = match outcome {
            Outcome::Found(nonce) => {
                block.header.nonce = nonce;
                Some(block)
            }
            Outcome::Exhausted | Outcome::Stopped => None,
        };
        // Nobody listens any more once the call was given up.
        done.send(block).ok();
    })?;
    found.await.map_err(|_| MinerError::ShuttingDown)
}

/// Ends the search when it is dropped.
#[derive(Default)]
struct Abandon(Arc<AtomicBool>);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
