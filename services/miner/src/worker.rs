//! A worker: searches for a miner in another process, on threads of its own.

use std::convert::Infallible;
use std::num::NonZero;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use pentad_api::miner::v1::take_work_request::Message as Request;
use pentad_api::miner::v1::take_work_response::Message as Answer;
use pentad_api::miner::v1::work_service_client::WorkServiceClient;
use pentad_api::miner::v1::{
    Solution, SolutionOutcome, TakeWorkRequest, TakeWorkResponse, Verdict, Work, WorkerHello,
};
use pentad_api::{Connection, hash_from_bytes};
use pentad_primitives::BlockHeader;
use pentad_primitives::encode::Decode as _;
use pentad_primitives::pow::Target;
use pentad_service_kit::{Backoff, Metrics};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::config::WorkerConfig;
use crate::error::{MinerError, THREADS_MAX};
use crate::meter::Meter;
use crate::metrics::WorkerMetrics;
use crate::pool::{Pool, Report, Slot};
use crate::session::SLOTS_MAX;

/// Pauses before the miner is called again.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// A miner that has nothing to do says so at once.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the hash rate is sampled.
const TICK: Duration = Duration::from_millis(500);

/// Searches for another process.
#[derive(Debug)]
pub struct Worker {
    name: String,
    client: WorkServiceClient<Connection>,
    pool: Pool,
    reports: mpsc::UnboundedReceiver<Report>,
    meter: Arc<Meter>,
    metrics: WorkerMetrics,
}

impl Worker {
    /// Starts the threads, which wait for work of the miner behind `connection`.
    ///
    /// # Errors
    /// When the configuration is out of range, or the system refuses a thread.
    pub fn new(
        config: &WorkerConfig,
        connection: Connection,
        metrics: &Metrics,
    ) -> Result<Self, MinerError> {
        let (asked, throttle) = (config.threads, config.throttle_percent);
        if asked > SLOTS_MAX.min(THREADS_MAX) {
            return Err(MinerError::Threads { asked });
        }
        if !(1..=100).contains(&throttle) {
            return Err(MinerError::Throttle { asked: throttle });
        }
        let cores = || thread::available_parallelism().map_or(1, NonZero::get);
        let threads = if asked == 0 { cores().min(SLOTS_MAX as usize) } else { asked as usize };
        let (report_to, reports) = mpsc::unbounded_channel();
        let meter = Arc::<Meter>::default();
        let pool = Pool::start(threads, throttle, &meter, &report_to)?;
        let client = WorkServiceClient::new(connection);
        let metrics = WorkerMetrics::register(metrics);
        Ok(Self { name: config.name.clone(), client, pool, reports, meter, metrics })
    }

    /// Works until `shutdown`, for a miner that may come and go.
    ///
    /// # Errors
    /// None.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), Infallible> {
        let mut backoff = Backoff::new(RETRY_MIN, RETRY_MAX);
        let working = async {
            loop {
                let Err(error) = self.serve_once(&mut backoff).await;
                self.pool.rest();
                self.meter.reset();
                self.metrics.set_connected(false);
                match backoff.failures() {
                    0 => tracing::warn!(code = ?error.code(), "no miner: {}", error.message()),
                    _ => tracing::debug!(code = ?error.code(), "no miner: {}", error.message()),
                }
                backoff.pause().await;
            }
        };
        let never: Option<Infallible> = shutdown.run_until_cancelled(working).await;
        debug_assert!(never.is_none(), "work has no end");
        let pool = self.pool;
        if let Err(error) = tokio::task::spawn_blocking(|| pool.stop()).await {
            tracing::error!(%error, "the search threads did not end well");
        }
        Ok(())
    }

    /// One stream, until it breaks.
    async fn serve_once(&mut self, backoff: &mut Backoff) -> Result<Infallible, Status> {
        let slots = u32::try_from(self.pool.len()).unwrap_or(u32::MAX);
        // Each slot has one solution under way at most, and hello comes first.
        let (requests, outgoing) = mpsc::channel(self.pool.len() + 1);
        let say = |message| {
            let request = TakeWorkRequest { message: Some(message) };
            requests.try_send(request).map_err(|_| Status::unavailable("the stream is over"))
        };
        say(Request::Hello(WorkerHello { name: self.name.clone(), slots }))?;
        let calling = self.client.take_work(ReceiverStream::new(outgoing));
        let mut answers = tokio::time::timeout(ANSWER_TIMEOUT, calling)
            .await
            .map_err(|_| Status::deadline_exceeded("the miner does not answer"))??
            .into_inner();
        let mut ticks = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                biased;
                answer = answers.message() => {
                    let ended = || Status::unavailable("the miner ended the stream");
                    self.on_answer(answer?.ok_or_else(ended)?)?;
                    backoff.reset();
                }
                Some(Report { work, slot, time, nonce }) = self.reports.recv() => {
                    say(Request::Solution(Solution { work, slot, time, nonce }))?;
                }
                _ = ticks.tick() => {
                    let now = Instant::now();
                    self.meter.sample(now);
                    self.metrics.set_rate(self.meter.rate(now));
                }
            }
        }
    }

    fn on_answer(&mut self, answer: TakeWorkResponse) -> Result<(), Status> {
        self.metrics.set_connected(true);
        match answer.message {
            Some(Answer::Work(work)) => self.on_work(&work),
            Some(Answer::Verdict(verdict)) => {
                self.on_verdict(&verdict);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn on_work(&mut self, work: &Work) -> Result<(), Status> {
        if work.headers.is_empty() {
            self.pool.rest();
            return Ok(());
        }
        let unusable = |problem: String| Status::internal(format!("work of no use: {problem}"));
        let target = hash_from_bytes("target", &work.target);
        let target = Target::from_be_bytes(target.map_err(|error| unusable(error.to_string()))?);
        let slot = |bytes: &bytes::Bytes| {
            let header = BlockHeader::from_bytes(bytes);
            let header = header.map_err(|error| unusable(error.to_string()))?;
            Ok(Slot { header, target, time_max: work.time_max })
        };
        let slots = work.headers.iter().map(slot).collect::<Result<Vec<_>, Status>>()?;
        self.pool.assign(work.id, slots);
        Ok(())
    }

    fn on_verdict(&mut self, verdict: &Verdict) {
        let outcome = verdict.outcome();
        self.metrics.on_outcome(outcome);
        match outcome {
            SolutionOutcome::Share => {}
            SolutionOutcome::Block => tracing::info!(hash = verdict.block_hash, "found a block"),
            outcome => tracing::debug!(?outcome, reason = verdict.reason, "a solution of no use"),
        }
        // If the work is over, the thread has other work by now, or will have soon.
        if matches!(
            outcome,
            SolutionOutcome::Share | SolutionOutcome::Wrong | SolutionOutcome::Duplicate
        ) {
            self.pool.go_on(verdict.work, verdict.slot);
        }
    }
}
