//! What happens on the ledger, as a stream that survives restarts of the chain service.

use pentad_api::chain::v1 as proto;
use pentad_api::chain::v1::follow_tip_response::Event as TipEvent;
use pentad_api::chain::v1::{FollowMempoolChangesRequest, FollowTipRequest, RemovalReason};
use pentad_api::types::v1::BlockHeader;
use pentad_api::{block_hash_from_hex, hash_from_bytes};
use pentad_primitives::{BlockHeight, Txid};
use pentad_wire::handshake::Claim;
use pentad_wire::sync::Body;
use tokio::sync::mpsc;

use super::{Chain, ChainError, work_from_hex};
use crate::chain::pump::{RETRY_MAX, RETRY_MIN};
use crate::hub::{Event, MempoolChange};
use pentad_service_kit::Backoff;
use pentad_service_kit::telemetry::TraceContext;

/// Follows the main chain. After a break it resumes where it was.
pub(crate) async fn follow_tip(chain: Chain, events: mpsc::Sender<Event>) {
    let mut cursor = String::new();
    let mut backoff = Backoff::new(RETRY_MIN, RETRY_MAX);
    loop {
        let before = cursor.clone();
        let Err(error) = follow_tip_once(&chain, &mut cursor, &events).await else {
            return;
        };
        if cursor != before {
            backoff.reset();
        }
        tracing::debug!(%error, "the stream of tips broke");
        backoff.pause().await;
    }
}

/// `Ok` once nobody listens any more.
async fn follow_tip_once(
    chain: &Chain,
    cursor: &mut String,
    events: &mpsc::Sender<Event>,
) -> Result<(), ChainError> {
    let request =
        FollowTipRequest { cursor: cursor.clone(), with_blocks: true, ..Default::default() };
    let mut stream = chain.events.clone().follow_tip(request).await?.into_inner();
    while let Some(message) = stream.message().await? {
        let event = match message.event.ok_or(ChainError::Missing("event"))? {
            TipEvent::Apply(connected) => {
                let claim = claim(connected.header)?;
                let trace = TraceContext::from_traceparent(&connected.traceparent);
                let body = Body { block: connected.raw, certificate: connected.certificate };
                Some(Event::Tip { claim, body: Some(body), trace })
            }
            // The blocks that take its place follow at once.
            TipEvent::Undo(_) => None,
            TipEvent::Final(_) => Some(Event::Final),
            TipEvent::Reset(reset) => {
                Some(Event::Tip { claim: claim(reset.header)?, body: None, trace: None })
            }
            // Not asked for.
            TipEvent::Added(_) | TipEvent::Removed(_) | TipEvent::MempoolReset(_) => None,
        };
        if let Some(event) = event
            && events.send(event).await.is_err()
        {
            return Ok(());
        }
        *cursor = message.cursor;
    }
    Err(ChainError::Ended)
}

fn claim(header: Option<BlockHeader>) -> Result<Claim, ChainError> {
    let header = header.ok_or(ChainError::Missing("header"))?;
    Ok(Claim {
        work: work_from_hex(&header.chain_work)?,
        height: BlockHeight::new(header.height),
        tip: block_hash_from_hex("hash", &header.hash)?,
        final_height: None,
    })
}

/// Follows the mempool. After a break the present transactions come again.
pub(crate) async fn follow_mempool(chain: Chain, events: mpsc::Sender<Event>) {
    let mut backoff = Backoff::new(RETRY_MIN, RETRY_MAX);
    loop {
        let mut received = 0_u64;
        let outcome = follow_mempool_once(&chain, &events, &mut received).await;
        let Err(error) = outcome else { return };
        if received > 0 {
            backoff.reset();
        }
        tracing::debug!(%error, "the stream of mempool events broke");
        backoff.pause().await;
    }
}

async fn follow_mempool_once(
    chain: &Chain,
    events: &mpsc::Sender<Event>,
    received: &mut u64,
) -> Result<(), ChainError> {
    let request = FollowMempoolChangesRequest { with_transactions: true };
    let mut stream = chain.assembly.clone().follow_mempool_changes(request).await?.into_inner();
    while let Some(message) = stream.message().await? {
        *received += 1;
        let is_reset = message.is_reset;
        let changes = message.changes.into_iter().map(change).collect::<Result<_, _>>()?;
        if events.send(Event::Mempool { is_reset, changes }).await.is_err() {
            return Ok(());
        }
    }
    Err(ChainError::Ended)
}

fn change(change: proto::MempoolChange) -> Result<MempoolChange, ChainError> {
    let txid = Txid::from_bytes(hash_from_bytes("txid", &change.txid)?);
    Ok(match change.removed() {
        RemovalReason::Unspecified => {
            let trace = TraceContext::from_traceparent(&change.traceparent);
            MempoolChange::Added { txid, transaction: change.transaction, trace }
        }
        reason => {
            let is_confirmed = reason == RemovalReason::Confirmed;
            MempoolChange::Removed { txid, is_confirmed }
        }
    })
}
