//! A steady stream of payments, handed to all nodes in turn.

use std::num::NonZero;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use pentad_api::Connection;
use pentad_api::chain::v1::submit_service_client::SubmitServiceClient;
use pentad_api::chain::v1::{SubmitTransactionsRequest, TracedTransaction};
use pentad_bench::payments::{Coin, pay};
use pentad_primitives::{Encode as _, Script, Txid};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;

use crate::watch::Watch;

/// Payments are handed in in such intervals.
const INTERVAL: Duration = Duration::from_millis(10);
const INTERVALS_PER_SECOND: usize = 100;
/// Messages between the generator and a stream.
const STREAM_BUFFER: usize = 64;

/// A signed payment and its id.
pub(crate) type Payment = (Txid, Bytes);

/// The next `count` payments: each coin is spent in turn, then what was kept of each.
pub(crate) fn sign(coins: &mut [Coin], count: usize, payee: &Script) -> Vec<Payment> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let mut payments = Vec::with_capacity(count);
    while payments.len() < count {
        let some = (count - payments.len()).min(coins.len());
        let coins = &mut coins[..some];
        let signed = thread::scope(|scope| {
            let sign = |coin: &mut Coin| {
                let (transaction, kept) = pay(coin, payee);
                *coin = kept;
                (transaction.txid(), transaction.to_bytes().into())
            };
            let shares = coins.chunks_mut(some.div_ceil(cores));
            let shares: Vec<_> = shares
                .map(|share| scope.spawn(move || share.iter_mut().map(sign).collect::<Vec<_>>()))
                .collect();
            shares.into_iter().flat_map(|share| share.join().expect("no panic")).collect()
        });
        let signed: Vec<Payment> = signed;
        payments.extend(signed);
    }
    payments
}

/// Streams to all nodes.
pub(crate) struct Load {
    streams: Vec<mpsc::Sender<SubmitTransactionsRequest>>,
    answers: Vec<JoinHandle<()>>,
    /// One of so many payments is traced.
    traced_of: Option<usize>,
}

impl Load {
    pub(crate) fn open(connections: &[Connection]) -> Self {
        let (streams, answers) = connections.iter().map(open).unzip();
        Self { streams, answers, traced_of: None }
    }

    /// Makes one of so many payments the beginning of a trace.
    pub(crate) fn tracing_one_of(self, traced_of: Option<usize>) -> Self {
        Self { traced_of, ..self }
    }

    /// Ends the streams, once everything is answered.
    pub(crate) async fn close(self) {
        drop(self.streams);
        for answers in self.answers {
            answers.await.expect("every payment is taken");
        }
    }

    /// Hands in payments, `rate` a second or as fast as the nodes take them.
    pub(crate) async fn offer(&self, payments: &[Payment], rate: usize, watch: &Watch) {
        let mut ticks = tokio::time::interval(INTERVAL);
        let batch_len = rate.div_ceil(INTERVALS_PER_SECOND);
        let batches = payments.chunks(batch_len).enumerate();
        for ((number, batch), stream) in batches.zip(self.streams.iter().cycle()) {
            ticks.tick().await;
            watch.expect(batch.iter().map(|(txid, _)| *txid));
            let transactions = batch.iter().map(|(_, bytes)| bytes.clone()).collect();
            let first = number * batch_len;
            let traced = self.traced_of.map(|of| traced(batch, first, of)).unwrap_or_default();
            let request = SubmitTransactionsRequest { transactions, traced };
            stream.send(request).await.expect("a live stream");
        }
    }
}

/// Each `of`th payment, as a trace whose ids are parts of its own; `first` is the number of the
/// batch's first one.
fn traced(batch: &[Payment], first: usize, of: usize) -> Vec<TracedTransaction> {
    let begin = |(place, (txid, _)): (usize, &Payment)| {
        let digits = txid.to_string();
        let traceparent = format!("00-{}-{}-01", &digits[..32], &digits[32..48]);
        TracedTransaction { place: u32::try_from(place).expect("small"), traceparent }
    };
    let is_traced = |(place, _): &(usize, &Payment)| (first + place).is_multiple_of(of);
    batch.iter().enumerate().filter(is_traced).map(begin).collect()
}

fn open(connection: &Connection) -> (mpsc::Sender<SubmitTransactionsRequest>, JoinHandle<()>) {
    let (requests, receiver) = mpsc::channel(STREAM_BUFFER);
    let mut client = SubmitServiceClient::new(connection.clone());
    let answers = tokio::spawn(async move {
        let answers = client.submit_transactions(ReceiverStream::new(receiver)).await;
        let mut answers = answers.expect("a stream").into_inner();
        while let Some(answer) = answers.message().await.expect("no error") {
            for outcome in answer.outcomes {
                assert!(outcome.reason.is_empty(), "{outcome:?}");
            }
        }
    });
    (requests, answers)
}
