//! Follows the chain's tip: whatever is on it is final.

use pentad_api::chain::v1::follow_tip_response::Event as TipEvent;
use pentad_api::types::v1::BlockHeader;
use pentad_pbft::Sequence;
use tokio::sync::mpsc;

use crate::backoff::backoff;
use crate::chain::{ChainClient, ChainError, hash};
use crate::event::Event;
use crate::vitals::Vitals;
use pentad_service_kit::Backoff;

/// Runs until nobody listens.
pub(crate) async fn follow(chain: ChainClient, events: mpsc::Sender<Event>, vitals: Vitals) {
    let mut backoff = backoff();
    while !events.is_closed() {
        if let Err(error) = follow_once(&chain, &events, &vitals, &mut backoff).await {
            tracing::debug!(%error, "the stream of tips broke");
        }
        vitals.set_chain_up(false);
        backoff.pause().await;
    }
}

async fn follow_once(
    chain: &ChainClient,
    events: &mpsc::Sender<Event>,
    vitals: &Vitals,
    backoff: &mut Backoff,
) -> Result<(), ChainError> {
    let mut stream = chain.follow_tip().await?;
    backoff.reset();
    vitals.set_chain_up(true);
    while let Some(message) = stream.message().await? {
        let header = match message.event {
            Some(TipEvent::Apply(connected)) => connected.header,
            Some(TipEvent::Reset(reset)) => reset.header,
            // What is final is never undone; that it is final, we knew.
            Some(TipEvent::Undo(_) | TipEvent::Final(_)) | None => continue,
            // Not asked for.
            Some(TipEvent::Added(_) | TipEvent::Removed(_) | TipEvent::MempoolReset(_)) => continue,
        };
        if events.send(tip(header)?).await.is_err() {
            return Ok(());
        }
    }
    Err(ChainError::Ended)
}

fn tip(header: Option<BlockHeader>) -> Result<Event, ChainError> {
    let header = header.ok_or_else(|| ChainError::Malformed("no header".to_owned()))?;
    let sequence = Sequence::new(header.height.into());
    Ok(Event::Tip { sequence, digest: hash(&header.hash)? })
}
