//! Follows what is final, and where work makes the blocks, the tip above it.

use pentad_api::chain::v1::follow_tip_response::Event as TipEvent;
use pentad_api::types::v1::BlockHeader;
use pentad_pbft::Sequence;
use tokio::sync::mpsc;

use crate::backoff::backoff;
use crate::chain::{ChainClient, ChainError, hash};
use crate::event::Event;
use crate::subject::Subject;
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
        let Some(event) = message.event else { continue };
        if let Some(event) = told(event, chain.subject())?
            && events.send(event).await.is_err()
        {
            return Ok(());
        }
    }
    Err(ChainError::Ended)
}

/// What an event of the chain service means to the driver.
fn told(event: TipEvent, subject: Subject) -> Result<Option<Event>, ChainError> {
    Ok(match (event, subject) {
        // Whatever is on the main chain is final, and never undone.
        (TipEvent::Apply(connected), Subject::NextBlock) => Some(final_block(connected.header)?),
        (TipEvent::Reset(reset), Subject::NextBlock) => Some(final_block(reset.header)?),
        (TipEvent::Undo(_) | TipEvent::Final(_), Subject::NextBlock) => None,
        (TipEvent::Apply(connected), Subject::FinalBlock { .. }) => {
            Some(Event::Height(height(connected.header)?))
        }
        (TipEvent::Reset(reset), Subject::FinalBlock { .. }) => {
            Some(Event::Height(height(reset.header)?))
        }
        // The block was the tip: now that is the one below it.
        (TipEvent::Undo(undone), Subject::FinalBlock { .. }) => {
            height(undone.header)?.prev().map(Event::Height)
        }
        (TipEvent::Final(block), Subject::FinalBlock { .. }) => Some(final_block(block.header)?),
        // Not asked for.
        (TipEvent::Added(_) | TipEvent::Removed(_) | TipEvent::MempoolReset(_), _) => None,
    })
}

fn set(header: Option<BlockHeader>) -> Result<BlockHeader, ChainError> {
    header.ok_or_else(|| ChainError::Malformed("no header".to_owned()))
}

fn height(header: Option<BlockHeader>) -> Result<Sequence, ChainError> {
    Ok(Sequence::new(set(header)?.height.into()))
}

fn final_block(header: Option<BlockHeader>) -> Result<Event, ChainError> {
    let header = set(header)?;
    let sequence = Sequence::new(header.height.into());
    Ok(Event::Tip { sequence, digest: hash(&header.hash)? })
}
