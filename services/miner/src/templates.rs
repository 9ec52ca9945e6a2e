//! Follows the chain's templates for as long as somebody mines.

use std::sync::Arc;
use std::time::Duration;

use pentad_primitives::Script;
use pentad_service_kit::Backoff;
use tokio::sync::mpsc;

use crate::chain::{ChainClient, chain};
use crate::error::MinerError;
use crate::job::Job;

/// Pauses before the stream is opened again, after it broke.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(1);

/// Sends every template until nobody takes them.
pub(crate) async fn follow(client: ChainClient, payout: Script, jobs: mpsc::Sender<Arc<Job>>) {
    let mut backoff = Backoff::new(RETRY_MIN, RETRY_MAX);
    while !jobs.is_closed() {
        if let Err(error) = follow_once(&client, &payout, &jobs, &mut backoff).await {
            match backoff.failures() {
                0 => tracing::warn!(%error, "no work: mining waits for the chain service"),
                _ => tracing::debug!(%error, "still no work"),
            }
        }
        backoff.pause().await;
    }
}

async fn follow_once(
    client: &ChainClient,
    payout: &Script,
    jobs: &mpsc::Sender<Arc<Job>>,
    backoff: &mut Backoff,
) -> Result<(), MinerError> {
    let mut templates = client.follow_templates(payout).await?;
    while let Some(message) = templates.message().await.map_err(chain)? {
        let template = message.template.unwrap_or_default();
        // Putting the merkle branch together takes a few milliseconds for a full block.
        let read = tokio::task::spawn_blocking(move || Job::from_message(&template));
        let job = read.await.map_err(|_| MinerError::ShuttingDown)??;
        backoff.reset();
        if jobs.send(Arc::new(job)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}
