//! Keeps the search threads supplied with the right work.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pentad_api::chain::v1::{BlockOutcome, GetInfoResponse};
use pentad_primitives::Block;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::chain::{ChainClient, Template};
use crate::error::MinerError;
use crate::extra_nonce::ExtraNonce;
use crate::payout::Payout;
use crate::pool::{Pool, Report};
use crate::status::{Status, Task};

/// How often the driver looks after its work.
const TICK: Duration = Duration::from_millis(500);
/// New transactions get into the work at most this often.
const REFRESH_INTERVAL: Duration = Duration::from_secs(2);
/// Work is never older, so that block times stay near the clock.
const WORK_AGE_MAX: Duration = Duration::from_secs(30);
/// Pause after the chain service gave no template, or refused a block.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// A found block is worth some patience with a chain service that does not answer.
const SUBMIT_ATTEMPTS: u32 = 5;
const SUBMIT_PAUSE: Duration = Duration::from_millis(200);

/// What the driver is told to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// Mine for `payout` on so many threads, instead of what it does now.
    Start { threads: usize, payout: Payout, done: oneshot::Sender<Result<(), MinerError>> },
    /// Mine no more.
    Stop { done: oneshot::Sender<()> },
}

pub(crate) struct Driver {
    chain: ChainClient,
    extra_nonce: Arc<ExtraNonce>,
    status: Arc<Status>,
    development_pause: Duration,
    report_to: mpsc::UnboundedSender<Report>,
    mining: Option<Mining>,
}

struct Mining {
    pool: Pool,
    payout: Payout,
    /// `None` while the threads rest.
    work: Option<Work>,
    /// When the rest ends.
    rest_until: Instant,
    /// That there is no work was logged.
    complained: bool,
}

/// What the present templates were made from.
struct Work {
    /// Hash of the parent, displayed hex.
    parent: String,
    mempool: Mempool,
    development: bool,
    made: Instant,
    checked: Instant,
}

/// Tells one state of the mempool from another: transactions and bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mempool(u64, u64);

impl Mempool {
    const fn of(info: &GetInfoResponse) -> Self {
        Self(info.mempool_transactions, info.mempool_bytes)
    }
}

impl Mining {
    fn rest(&mut self, time: Duration) {
        self.pool.pause();
        self.work = None;
        self.rest_until = Instant::now() + time;
    }
}

impl Driver {
    /// Runs until `shutdown`; then the threads have ended.
    pub(crate) async fn run(
        chain: ChainClient,
        extra_nonce: Arc<ExtraNonce>,
        status: Arc<Status>,
        development_pause: Duration,
        mut commands: mpsc::Receiver<Command>,
        mut tip: watch::Receiver<String>,
        shutdown: CancellationToken,
    ) -> Result<(), Infallible> {
        let (report_to, mut reports) = mpsc::unbounded_channel();
        let mut driver =
            Self { chain, extra_nonce, status, development_pause, report_to, mining: None };
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            let mining = driver.mining.is_some();
            let rest_until = driver.rest_until();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(command) = commands.recv() => driver.on_command(command).await,
                Ok(()) = tip.changed(), if mining => {
                    let tip = tip.borrow_and_update().clone();
                    driver.on_tip(&tip).await;
                }
                Some(report) = reports.recv() => driver.on_report(report).await,
                () = sleep_until(rest_until), if rest_until.is_some() => driver.renew().await,
                _ = ticks.tick(), if mining => driver.on_tick().await,
            }
        }
        driver.stop().await;
        Ok(())
    }

    /// When the threads have rested enough; `None` while they work, or nobody mines.
    fn rest_until(&self) -> Option<Instant> {
        let mining = self.mining.as_ref()?;
        mining.work.is_none().then_some(mining.rest_until)
    }

    async fn on_command(&mut self, command: Command) {
        match command {
            Command::Start { threads, payout, done } => {
                let started = self.start(threads, payout).await;
                // Whoever asked may have left: the command holds all the same.
                done.send(started).ok();
            }
            Command::Stop { done } => {
                self.stop().await;
                done.send(()).ok();
            }
        }
    }

    async fn start(&mut self, threads: usize, payout: Payout) -> Result<(), MinerError> {
        self.stop().await;
        let pool = Pool::start(threads, &self.status.meter, &self.report_to)?;
        tracing::info!(threads, payout = payout.address, "mining");
        self.status.set_task(Some(Task {
            threads: u32::try_from(threads).unwrap_or(u32::MAX),
            payout_address: payout.address.clone(),
            height: 0,
        }));
        self.mining = Some(Mining {
            pool,
            payout,
            work: None,
            rest_until: Instant::now(),
            complained: false,
        });
        self.renew().await;
        Ok(())
    }

    async fn stop(&mut self) {
        let Some(Mining { pool, .. }) = self.mining.take() else {
            return;
        };
        if let Err(error) = tokio::task::spawn_blocking(|| pool.stop()).await {
            tracing::error!(%error, "the search threads did not end well");
        }
        self.status.set_task(None);
        self.status.meter.reset();
        tracing::info!("mining stopped");
    }

    /// The work at hand is stale, unless it was made for this tip already.
    async fn on_tip(&mut self, tip: &str) {
        let Some(Mining { pool, work: Some(work), .. }) = &self.mining else {
            return;
        };
        if work.parent != tip {
            pool.pause();
            self.renew().await;
        }
    }

    async fn on_tick(&mut self) {
        self.status.meter.sample(Instant::now());
        let Some(Mining { work: Some(work), .. }) = &mut self.mining else {
            return;
        };
        let renew = if work.made.elapsed() >= WORK_AGE_MAX {
            true
        } else if work.checked.elapsed() >= REFRESH_INTERVAL {
            work.checked = Instant::now();
            let before = work.mempool;
            // Without an answer the work stays: it is no worse than before.
            self.chain.info().await.is_ok_and(|info| Mempool::of(&info) != before)
        } else {
            false
        };
        if renew {
            self.renew().await;
        }
    }

    async fn on_report(&mut self, report: Report) {
        let Some(Mining { pool, payout, .. }) = &self.mining else {
            return;
        };
        match report {
            Report::Found { epoch, block } if epoch == pool.epoch() => {
                pool.pause();
                self.on_found(&block).await;
            }
            Report::Exhausted { epoch, worker } if epoch == pool.epoch() => {
                let extra_nonce = self.extra_nonce.next();
                match self.chain.template(&payout.script, extra_nonce).await {
                    Ok(template) => pool.resupply(worker, template),
                    Err(error) => tracing::warn!(worker, %error, "no new work for a thread"),
                }
            }
            // The work was over before the report came.
            Report::Found { .. } => self.status.count_stale(),
            Report::Exhausted { .. } => {}
        }
    }

    async fn on_found(&mut self, block: &Block) {
        let hash = block.block_hash();
        let outcome = submit_patiently(&self.chain, block).await;
        let Some(mining) = &mut self.mining else {
            return;
        };
        match outcome {
            Ok(BlockOutcome::Connected) => {
                self.status.count_found();
                tracing::info!(%hash, "mined a block");
                if mining.work.as_ref().is_some_and(|work| work.development) {
                    mining.rest(jittered(self.development_pause));
                }
            }
            Ok(BlockOutcome::AlreadyKnown) => {}
            Ok(BlockOutcome::SideBranch | BlockOutcome::Orphan | BlockOutcome::Unspecified) => {
                self.status.count_stale();
                tracing::info!(%hash, "mined a block too late");
            }
            Err(error) => {
                tracing::error!(%hash, %error, "a mined block was not taken");
                mining.rest(RETRY_PAUSE);
            }
        }
        if self.rest_until().is_none() {
            self.renew().await;
        }
    }

    /// Gives every thread a template of its own on the present tip.
    async fn renew(&mut self) {
        let Some(mining) = &mut self.mining else {
            return;
        };
        let threads = mining.pool.threads();
        match fetch(&self.chain, &self.extra_nonce, &mining.payout, threads).await {
            Ok((work, height, templates)) => {
                self.status.set_height(height);
                mining.work = Some(work);
                mining.complained = false;
                mining.pool.assign(templates);
            }
            Err(error) => {
                if !std::mem::replace(&mut mining.complained, true) {
                    tracing::warn!(%error, "no work: mining waits for the chain service");
                }
                mining.rest(RETRY_PAUSE);
            }
        }
    }
}

/// Templates for so many threads, what they were made from, and their height.
async fn fetch(
    chain: &ChainClient,
    extra_nonce: &ExtraNonce,
    payout: &Payout,
    threads: usize,
) -> Result<(Work, u32, Vec<Template>), MinerError> {
    let info = chain.info().await?;
    let first = chain.template(&payout.script, extra_nonce.next()).await?;
    let now = Instant::now();
    let work = Work {
        parent: first.block.header.prev_block_hash.to_string(),
        mempool: Mempool::of(&info),
        development: info.development,
        made: now,
        checked: now,
    };
    let height = first.height;
    let mut templates = vec![first];
    while templates.len() < threads {
        templates.push(chain.template(&payout.script, extra_nonce.next()).await?);
    }
    Ok((work, height, templates))
}

async fn sleep_until(time: Option<Instant>) {
    if let Some(time) = time {
        tokio::time::sleep_until(time.into()).await;
    }
}

/// Between half and one and a half times `pause`: miners in step would find every block at the
/// same time.
fn jittered(pause: Duration) -> Duration {
    // Without randomness the pause is as good as any.
    let share = getrandom::u32().map_or(0.5, |random| f64::from(random) / f64::from(u32::MAX));
    pause.mul_f64(0.5 + share)
}

/// Submits, and again while the chain service cannot be reached.
pub(crate) async fn submit_patiently(
    chain: &ChainClient,
    block: &Block,
) -> Result<BlockOutcome, MinerError> {
    let mut attempts_left = SUBMIT_ATTEMPTS;
    loop {
        attempts_left -= 1;
        match chain.submit(block).await {
            Err(MinerError::Chain(status))
                if status.code() == Code::Unavailable && attempts_left > 0 =>
            {
                tokio::time::sleep(SUBMIT_PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}
