//! Answers a peer's questions, one after the other, as fast as it reads the answers.

use bytes::Bytes;
use pentad_primitives::{BlockHash, Txid};
use pentad_service_kit::telemetry::TraceContext;
use pentad_service_kit::telemetry::block::TRACED_TRANSACTIONS_MAX;
use pentad_wire::compact::transactions_at;
use pentad_wire::relay::TRANSACTIONS_MAX;
use pentad_wire::sync::{Body, HEADERS_MAX};
use pentad_wire::{Class, Kind};
use thiserror::Error;
use tokio::sync::mpsc;

use super::outbox::{Outbox, Refused};
use crate::chain::{Chain, ChainError};
use crate::message::Message;
use crate::trace;

/// Questions of one peer that wait. An honest one has two or three open.
pub(crate) const REQUESTS_MAX: usize = 32;
/// Bytes of transactions in one message; the rest of what a frame may hold is for the encoding.
const TRANSACTION_BYTES_MAX: usize = Kind::Transactions.payload_max() - 8 * TRANSACTIONS_MAX;

/// Transactions fetched at a time: at their largest (100 kB) they are all that an answer to
/// somebody who does not read holds in memory.
const FETCH_MAX: usize = 20;

/// A question.
#[derive(Debug)]
pub(crate) enum Job {
    Blocks(Vec<BlockHash>),
    Headers {
        locator: Vec<BlockHash>,
        stop: Option<BlockHash>,
    },
    Transactions(Vec<Txid>),
    BlockTransactions {
        hash: BlockHash,
        places: Vec<u32>,
    },
    /// Of this node itself: tell a new peer what waits here.
    Inventory,
}

#[derive(Debug, Error)]
enum ServeError {
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error("the link is closing")]
    Closing,
}

/// Runs until the link ends. For what the chain service cannot answer now, the other side turns to
/// somebody else: blocks are said not to be there, other questions stay without an answer.
pub(crate) async fn serve(chain: Chain, outbox: Outbox, mut jobs: mpsc::Receiver<Job>) {
    while let Some(job) = jobs.recv().await {
        let outcome = match job {
            Job::Blocks(hashes) => blocks(&chain, &outbox, &hashes).await,
            Job::Headers { locator, stop } => headers(&chain, &outbox, &locator, stop).await,
            Job::Transactions(txids) => transactions(&chain, &outbox, &txids).await,
            Job::BlockTransactions { hash, places } => {
                block_transactions(&chain, &outbox, hash, places).await
            }
            Job::Inventory => inventory(&chain, &outbox).await,
        };
        match outcome {
            Ok(()) => {}
            Err(ServeError::Closing) => return,
            Err(ServeError::Chain(error)) => tracing::debug!(%error, "a peer got no answer"),
        }
    }
}

async fn blocks(chain: &Chain, outbox: &Outbox, hashes: &[BlockHash]) -> Result<(), ServeError> {
    let mut rest = hashes;
    let outcome = fetched_blocks(chain, outbox, &mut rest).await;
    if matches!(outcome, Err(ServeError::Chain(_))) {
        // Left out, they would look withheld when the next question is answered.
        for hash in rest {
            send(outbox, &Message::NoBlock(*hash)).await?;
        }
    }
    outcome
}

/// Takes from `rest` what is answered.
async fn fetched_blocks(
    chain: &Chain,
    outbox: &Outbox,
    rest: &mut &[BlockHash],
) -> Result<(), ServeError> {
    let hashes = *rest;
    let mut stream = chain.fetch_blocks(hashes).await?;
    for hash in hashes {
        // What is fetched for somebody who does not read would only lie about.
        outbox.room(Class::Bulk).await;
        let next = stream.message().await.map_err(ChainError::from)?;
        let answer = next.ok_or(ChainError::Ended)?;
        let message = if answer.block.is_empty() {
            Message::NoBlock(*hash)
        } else {
            let body = Body { block: answer.block, certificate: answer.certificate };
            Message::Block { hash: *hash, body }
        };
        send(outbox, &message).await?;
        *rest = rest.get(1..).unwrap_or_default();
    }
    Ok(())
}

async fn headers(
    chain: &Chain,
    outbox: &Outbox,
    locator: &[BlockHash],
    stop: Option<BlockHash>,
) -> Result<(), ServeError> {
    let limit = u32::try_from(HEADERS_MAX).unwrap_or(u32::MAX);
    let batch = chain.locate_headers(locator, stop, limit).await?;
    send(outbox, &Message::Headers(batch)).await
}

async fn transactions(chain: &Chain, outbox: &Outbox, txids: &[Txid]) -> Result<(), ServeError> {
    for txids in txids.chunks(FETCH_MAX) {
        for (message, context) in batches(chain.fetch_transactions(txids).await?) {
            send_within(outbox, &message, trace::encode(context)).await?;
        }
    }
    Ok(())
}

/// Says so when the block, or one of the places, is not there.
async fn block_transactions(
    chain: &Chain,
    outbox: &Outbox,
    hash: BlockHash,
    places: Vec<u32>,
) -> Result<(), ServeError> {
    let mut stream = chain.fetch_blocks(&[hash]).await?;
    let block = stream.message().await.map_err(ChainError::from)?.unwrap_or_default().block;
    // A large block takes milliseconds to be read.
    let reading = tokio::task::spawn_blocking(move || transactions_at(&block, &places));
    let transactions = reading.await.ok().flatten().unwrap_or_default();
    send(outbox, &Message::BlockTransactions { hash, transactions }).await
}

async fn inventory(chain: &Chain, outbox: &Outbox) -> Result<(), ServeError> {
    for txids in chain.mempool().await?.chunks(TRANSACTIONS_MAX) {
        send(outbox, &Message::Inventory(txids.to_vec())).await?;
    }
    Ok(())
}

async fn send(outbox: &Outbox, message: &Message) -> Result<(), ServeError> {
    send_within(outbox, message, Bytes::new()).await
}

async fn send_within(outbox: &Outbox, message: &Message, context: Bytes) -> Result<(), ServeError> {
    match message.to_frame(context).encode() {
        Ok(frame) => match outbox.push_patiently(Class::Bulk, frame).await {
            Ok(()) => Ok(()),
            Err(Refused::Full | Refused::Closing) => Err(ServeError::Closing),
        },
        Err(error) => {
            tracing::warn!(%error, "the chain service gave something that no frame can carry");
            Ok(())
        }
    }
}

/// A transaction on its way to a peer.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) txid: Txid,
    pub(crate) transaction: Bytes,
    /// The span that the peer is to continue.
    pub(crate) trace: Option<TraceContext>,
}

/// Messages that each fit into a frame, in order. A transaction that is traced has a frame of its
/// own, for a frame has one context; of those after the first few the traces end here.
pub(crate) fn batches(transactions: Vec<Outgoing>) -> Vec<(Message, Option<TraceContext>)> {
    let mut messages = Vec::new();
    let mut batch = Vec::new();
    let mut bytes = 0;
    let mut traced_left = TRACED_TRANSACTIONS_MAX;
    for Outgoing { txid, transaction, trace } in transactions {
        let trace = trace.filter(|_| traced_left > 0);
        let full = bytes + transaction.len() > TRANSACTION_BYTES_MAX;
        let is_end = full || trace.is_some() || batch.len() == TRANSACTIONS_MAX;
        if !batch.is_empty() && is_end {
            messages.push((Message::Transactions(std::mem::take(&mut batch)), None));
            bytes = 0;
        }
        if trace.is_some() {
            traced_left -= 1;
            messages.push((Message::Transactions(vec![(txid, transaction)]), trace));
            continue;
        }
        bytes += transaction.len();
        batch.push((txid, transaction));
    }
    if !batch.is_empty() {
        messages.push((Message::Transactions(batch), None));
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_fit_into_frames() {
        let transactions = |count: usize, size: usize| -> Vec<Outgoing> {
            (0..count).map(|_| outgoing(size, None)).collect()
        };
        for (count, size, messages) in [(0, 100, 0), (2500, 250, 3), (12, 100_000, 3)] {
            let batches = batches(transactions(count, size));
            assert_eq!(batches.len(), messages, "{count} of {size} bytes");
            for (message, _) in &batches {
                message.to_frame(Bytes::new()).encode().expect("it fits");
            }
        }
    }

    fn outgoing(size: usize, trace: Option<TraceContext>) -> Outgoing {
        Outgoing { txid: Txid::ZERO, transaction: Bytes::from(vec![7; size]), trace }
    }

    #[test]
    fn a_traced_transaction_has_a_frame_of_its_own_and_keeps_its_place() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let trace = TraceContext::from_traceparent(parent);
        let sizes = |traces: &[Option<TraceContext>]| -> Vec<(usize, bool)> {
            let outgoing = traces.iter().map(|trace| outgoing(250, *trace)).collect();
            let count = |message: &Message| match message {
                Message::Transactions(transactions) => transactions.len(),
                other => panic!("{other:?}"),
            };
            let batches = batches(outgoing);
            batches.iter().map(|(message, trace)| (count(message), trace.is_some())).collect()
        };
        let mixed = [None, None, trace, trace, None];
        assert_eq!(sizes(&mixed), [(2, false), (1, true), (1, true), (1, false)]);
        let many = sizes(&[trace; 100]);
        assert_eq!(many.len(), TRACED_TRANSACTIONS_MAX + 1);
        assert_eq!(many.last(), Some(&(100 - TRACED_TRANSACTIONS_MAX, false)));
    }
}
