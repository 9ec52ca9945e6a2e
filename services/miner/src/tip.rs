//! Follows the chain's tip for as long as the service lives.

use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::chain::{ChainClient, tip_after};
use crate::error::MinerError;

/// Pause before the stream is opened again, after it broke.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Keeps `tip` at the hash of the tip (displayed hex; empty until the chain service answers).
pub(crate) async fn follow(
    chain: ChainClient,
    tip: watch::Sender<String>,
    shutdown: CancellationToken,
) -> Result<(), Infallible> {
    let following = async {
        loop {
            if let Err(error) = follow_once(&chain, &tip).await {
                tracing::debug!(%error, "the stream of tips broke");
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    };
    shutdown.run_until_cancelled(following).await;
    Ok(())
}

async fn follow_once(chain: &ChainClient, tip: &watch::Sender<String>) -> Result<(), MinerError> {
    let mut events = chain.follow_tip().await?;
    let broken = |status| MinerError::Chain(Box::new(status));
    while let Some(event) = events.message().await.map_err(broken)? {
        let Some(hash) = tip_after(event) else {
            continue;
        };
        tip.send_if_modified(|known| {
            let modified = *known != hash;
            *known = hash;
            modified
        });
    }
    Ok(())
}
