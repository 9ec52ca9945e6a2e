//! Long-lived streams to the chain service: what peers sent goes in, in order and in batches, and
//! is answered in order. A stream that breaks is opened again and what was not answered is sent
//! again.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use pentad_api::chain::v1 as proto;
use pentad_api::chain::v1::BlockOutcome;
use pentad_primitives::{BlockHash, Txid};
use pentad_wire::PeerId;
use pentad_wire::sync::{Body, Outcome};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};

use super::{Chain, ChainError};
use crate::hub::Event;
use crate::log_quota::LogQuota;
use pentad_service_kit::Backoff;
use pentad_service_kit::telemetry::{BlockTrace, TraceContext};

/// First and longest pause before a broken stream is opened again.
pub(super) const RETRY_MIN: Duration = Duration::from_millis(50);
pub(super) const RETRY_MAX: Duration = Duration::from_secs(2);
/// Items on their way to the chain service without an answer.
const UNANSWERED_MAX: usize = 512;
/// Messages between the queue and the transport.
const STREAM_BUFFER: usize = 64;
/// Lines about refused blocks.
static REFUSED_LINES: LogQuota = LogQuota::new(60);
/// An item that broke the stream this often without being answered is dropped.
const ATTEMPTS_MAX: u32 = 5;
/// Transactions of one request.
const TRANSACTIONS_PER_REQUEST_MAX: usize = 128;

/// Memory that an item takes besides its bytes, the allocator's share included.
const ITEM_OVERHEAD: usize = 2 * size_of::<TransactionItem>();

/// A block on its way to the chain service.
#[derive(Clone, Debug)]
pub(crate) struct BlockItem {
    pub(crate) peer: PeerId,
    pub(crate) hash: BlockHash,
    pub(crate) body: Body,
    /// The span that it belongs to.
    pub(crate) trace: Option<TraceContext>,
}

/// A transaction on its way to the chain service.
#[derive(Clone, Debug)]
pub(crate) struct TransactionItem {
    pub(crate) peer: PeerId,
    pub(crate) txid: Txid,
    pub(crate) transaction: Bytes,
    /// How often it was refused before.
    pub(crate) refusals: u8,
    /// The span that it belongs to.
    pub(crate) trace: Option<TraceContext>,
}

/// Something that goes through a pump.
pub(crate) trait Item: Clone + fmt::Debug + Send + 'static {
    type Request: Send + 'static;
    type Response: Send + 'static;
    /// Items of one request at most.
    const BATCH_MAX: usize;
    fn bytes(&self) -> usize;
    fn request(batch: &[Self]) -> Self::Request;
    fn answer(batch: Vec<Self>, response: Self::Response) -> Event;
    /// The answer to an item that the chain service cannot stand.
    fn give_up(self) -> Event;
}

/// The queue in front of a stream, bounded in bytes. A std mutex is right: it is held for a few
/// instructions and never across an await.
#[derive(Debug)]
pub(crate) struct Pump<T>(Arc<Shared<T>>);

#[derive(Debug)]
struct Shared<T> {
    bytes_max: usize,
    queue: Mutex<Queue<T>>,
    filled: Notify,
}

#[derive(Debug)]
struct Queue<T> {
    items: VecDeque<T>,
    bytes: usize,
}

impl<T> Clone for Pump<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Item> Pump<T> {
    /// A queue that holds at most `bytes_max`, what waits for an answer included.
    pub(crate) fn new(bytes_max: usize) -> Self {
        let queue = Mutex::new(Queue { items: VecDeque::new(), bytes: 0 });
        Self(Arc::new(Shared { bytes_max, queue, filled: Notify::new() }))
    }

    /// Queues an item; gives it back when there is no room.
    pub(crate) fn push(&self, item: T) -> Result<(), T> {
        let mut queue = self.lock();
        let bytes = queue.bytes.saturating_add(item.bytes());
        if bytes > self.0.bytes_max {
            return Err(item);
        }
        queue.bytes = bytes;
        queue.items.push_back(item);
        drop(queue);
        self.0.filled.notify_one();
        Ok(())
    }

    /// Bytes that it holds, what waits for an answer included.
    pub(crate) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// What waits, `limit` items at most; waits for one.
    async fn pop(&self, limit: usize) -> Vec<T> {
        loop {
            let batch = self.pop_waiting(limit);
            if !batch.is_empty() {
                return batch;
            }
            self.0.filled.notified().await;
        }
    }

    fn pop_waiting(&self, limit: usize) -> Vec<T> {
        let mut queue = self.lock();
        let count = queue.items.len().min(limit);
        queue.items.drain(..count).collect()
    }

    /// Puts unanswered items back to the front.
    fn put_back(&self, unanswered: VecDeque<Vec<T>>) {
        let mut queue = self.lock();
        for item in unanswered.into_iter().flatten().rev() {
            queue.items.push_front(item);
        }
        drop(queue);
        self.0.filled.notify_one();
    }

    fn done(&self, batch: &[T]) {
        let mut queue = self.lock();
        let bytes = batch.iter().map(T::bytes).fold(0, usize::saturating_add);
        queue.bytes = queue.bytes.saturating_sub(bytes);
    }

    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Feeds blocks to the chain service.
pub(crate) async fn pump_blocks(chain: Chain, pump: Pump<BlockItem>, events: mpsc::Sender<Event>) {
    let open = |requests| {
        let mut client = chain.assembly.clone();
        async move { Ok(client.connect_blocks(ReceiverStream::new(requests)).await?.into_inner()) }
    };
    run(pump, open, events).await;
}

/// Feeds transactions to the chain service.
pub(crate) async fn pump_transactions(
    chain: Chain,
    pump: Pump<TransactionItem>,
    events: mpsc::Sender<Event>,
) {
    let open = |requests| {
        let mut client = chain.assembly.clone();
        let requests = ReceiverStream::new(requests);
        async move { Ok(client.admit_transactions(requests).await?.into_inner()) }
    };
    run(pump, open, events).await;
}

/// Runs until nobody listens for the answers.
async fn run<T, Open, Opening>(pump: Pump<T>, open: Open, events: mpsc::Sender<Event>)
where
    T: Item,
    Open: Fn(mpsc::Receiver<T::Request>) -> Opening,
    Opening: Future<Output = Result<Streaming<T::Response>, ChainError>>,
{
    let mut backoff = Backoff::new(RETRY_MIN, RETRY_MAX);
    let mut attempts = 0_u32;
    while !events.is_closed() {
        let mut life = Life::default();
        // What broke the stream before comes alone, so that nothing is dropped in its place.
        let batch_max = if attempts == 0 { T::BATCH_MAX } else { 1 };
        let error = pass(&pump, &open, &events, batch_max, &mut life).await;
        let Life { mut unanswered, answered } = life;
        if answered > 0 {
            backoff.reset();
            attempts = 0;
        }
        // An unreachable service is no fault of what waits for it.
        let at_fault = matches!(&error, ChainError::Status(status)
            if status.code() != Code::Unavailable);
        if at_fault && !unanswered.is_empty() {
            attempts += 1;
        }
        if attempts >= ATTEMPTS_MAX
            && let Some(batch) = unanswered.pop_front()
        {
            tracing::warn!(%error, "dropped what the chain service never answers");
            attempts = 0;
            pump.done(&batch);
            for item in batch {
                if events.send(item.give_up()).await.is_err() {
                    return;
                }
            }
        }
        pump.put_back(unanswered);
        tracing::debug!(%error, "a stream to the chain service broke");
        backoff.pause().await;
    }
}

/// What came of one life of the stream.
struct Life<T> {
    /// The batches that are on their way, in order.
    unanswered: VecDeque<Vec<T>>,
    answered: u64,
}

impl<T> Default for Life<T> {
    fn default() -> Self {
        Self { unanswered: VecDeque::new(), answered: 0 }
    }
}

/// One life of the stream.
async fn pass<T, Open, Opening>(
    pump: &Pump<T>,
    open: &Open,
    events: &mpsc::Sender<Event>,
    batch_max: usize,
    life: &mut Life<T>,
) -> ChainError
where
    T: Item,
    Open: Fn(mpsc::Receiver<T::Request>) -> Opening,
    Opening: Future<Output = Result<Streaming<T::Response>, ChainError>>,
{
    let (requests, receiver) = mpsc::channel(STREAM_BUFFER);
    let mut responses = match open(receiver).await {
        Ok(responses) => responses,
        Err(error) => return error,
    };
    let mut on_the_way = 0;
    loop {
        // A permit first: an item that was taken from the queue is never dropped on the way.
        let next = async {
            let permit = requests.reserve().await.map_err(|_| ChainError::Ended)?;
            Ok((permit, pump.pop(batch_max).await))
        };
        tokio::select! {
            response = responses.message() => {
                let response = match response {
                    Ok(Some(response)) => response,
                    Ok(None) => return ChainError::Ended,
                    Err(status) => return status.into(),
                };
                let Some(batch) = life.unanswered.pop_front() else { return ChainError::Ended };
                life.answered += 1;
                on_the_way -= batch.len();
                pump.done(&batch);
                if events.send(T::answer(batch, response)).await.is_err() {
                    return ChainError::Ended;
                }
            }
            batch = next, if on_the_way < UNANSWERED_MAX => match batch {
                Ok((permit, batch)) => {
                    permit.send(T::request(&batch));
                    on_the_way += batch.len();
                    life.unanswered.push_back(batch);
                }
                Err(error) => return error,
            },
        }
    }
}

impl Item for BlockItem {
    type Request = proto::ConnectBlocksRequest;
    type Response = proto::ConnectBlocksResponse;
    const BATCH_MAX: usize = 1;

    fn bytes(&self) -> usize {
        self.body.len()
    }

    fn request(batch: &[Self]) -> Self::Request {
        let Some(Self { body, trace, .. }) = batch.first() else {
            return proto::ConnectBlocksRequest::default();
        };
        let Body { block, certificate } = body.clone();
        let traceparent = BlockTrace::new(*trace, []).traceparent();
        proto::ConnectBlocksRequest { block, certificate, traceparent, ..Default::default() }
    }

    fn answer(batch: Vec<Self>, response: Self::Response) -> Event {
        let Some(Self { peer, hash, .. }) = batch.into_iter().next() else { return Event::Done };
        let is_new = response.outcome() == BlockOutcome::Connected;
        let outcome = match (response.outcome(), response.refusal) {
            (_, Some(refusal)) => {
                let reason = refusal.reason;
                if REFUSED_LINES.take(Instant::now()) {
                    tracing::info!(%hash, reason, "block refused: {}", refusal.message);
                }
                Outcome::Refused(refusal.misbehavior)
            }
            (BlockOutcome::Orphan, None) => Outcome::Orphan,
            (
                BlockOutcome::Connected
                | BlockOutcome::SideBranch
                | BlockOutcome::AlreadyKnown
                | BlockOutcome::Unspecified,
                None,
            ) => Outcome::Kept,
        };
        Event::BlockAnswered { peer, hash, outcome, is_new }
    }

    fn give_up(self) -> Event {
        let outcome = Outcome::Refused(0);
        Event::BlockAnswered { peer: self.peer, hash: self.hash, outcome, is_new: false }
    }
}

impl Item for TransactionItem {
    type Request = proto::AdmitTransactionsRequest;
    type Response = proto::AdmitTransactionsResponse;
    const BATCH_MAX: usize = TRANSACTIONS_PER_REQUEST_MAX;

    fn bytes(&self) -> usize {
        // A flood of tiny ones is as heavy as what surrounds them.
        self.transaction.len() + ITEM_OVERHEAD
    }

    fn request(batch: &[Self]) -> Self::Request {
        let transactions = batch.iter().map(|item| item.transaction.clone()).collect();
        let traced = (0..).zip(batch).filter_map(|(place, item)| {
            let traceparent = item.trace?.to_string();
            Some(proto::TracedTransaction { place, traceparent })
        });
        proto::AdmitTransactionsRequest { transactions, traced: traced.collect() }
    }

    fn answer(batch: Vec<Self>, response: Self::Response) -> Event {
        let mut outcomes = response.outcomes.into_iter();
        let answer = |item: Self| {
            // One that was left out may come again.
            let outcome = outcomes.next().unwrap_or_default();
            let refused = outcome.refusal.map(|refusal| {
                let (txid, reason) = (item.txid, refusal.reason);
                tracing::debug!(%txid, reason, "transaction refused: {}", refusal.message);
                refusal.misbehavior
            });
            (item, refused)
        };
        Event::TransactionsAnswered(batch.into_iter().map(answer).collect())
    }

    fn give_up(self) -> Event {
        Event::TransactionsAnswered(vec![(self, Some(0))])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// While the chain service is away, nothing but the queue's bound limits what is held.
    #[test]
    fn a_flood_of_tiny_transactions_is_bounded_by_the_memory_it_takes() {
        let pump = Pump::new(1 << 20);
        let item = TransactionItem {
            peer: PeerId(1),
            txid: Txid::ZERO,
            transaction: Bytes::from_static(b"x"),
            refusals: 0,
            trace: None,
        };
        let queued = (0..1 << 20).take_while(|_| pump.push(item.clone()).is_ok()).count();
        assert!(queued * size_of::<TransactionItem>() <= 1 << 20, "{queued} are queued");
    }
}
