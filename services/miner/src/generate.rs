//! Blocks on demand, on development networks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use pentad_api::chain::v1::BlockOutcome;
use pentad_primitives::{Block, BlockHash};
use tokio::sync::oneshot;

use crate::chain::ChainClient;
use crate::error::MinerError;
use crate::extra_nonce::ExtraNonce;
use crate::job::{Found, Job};
use crate::payout::Payout;
use crate::search::{Outcome, search};
use crate::status::Status;
use crate::submit::submit_patiently;

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
        let job = chain.template(&payout.script).await?;
        let Some(block) = mine(job, extra_nonce.next(), status).await? else {
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
async fn mine(
    job: Job,
    extra_nonce: u64,
    status: &Arc<Status>,
) -> Result<Option<Block>, MinerError> {
    let abandoned = Abandon::default();
    let (give_up, meter) = (Arc::clone(&abandoned.0), Arc::clone(&status.meter));
    let (done, found) = oneshot::channel();
    thread::Builder::new().name("generate".to_owned()).spawn(move || {
        let header = job.header(extra_nonce);
        let outcome = search(&header, &job.target, 0, |hashed| {
            meter.add(u64::from(hashed));
            !give_up.load(Ordering::Relaxed)
        });
        job.record_end();
        let block = match outcome {
            Outcome::Found(nonce) => job.solved(&Found { extra_nonce, time: header.time, nonce }),
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
