//! Keeps the search threads supplied with the right work.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pentad_api::chain::v1::BlockOutcome;
use pentad_primitives::Block;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::chain::ChainClient;
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
/// A found block is worth some patience with a chain service that does not answer.
const SUBMIT_ATTEMPTS: u32 = 5;
const SUBMIT_PAUSE: Duration = Duration::from_millis(200);

/// What the driver is told to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// Mine for `payout` on so many threads, instead of what it does now.
    Start {
        threads: usize,
        payout: Payout,
        done: oneshot::Sender<Result<(), MinerError>>,
    },
    /// Mine no more.
    Stop { done: oneshot::Sender<()> },
}

pub(crate) struct Driver {
    chain: ChainClient,
    extra_nonce: Arc<ExtraNonce>,
    status: Arc<Status>,
    report_to: mpsc::UnboundedSender<Report>,
    mining: Option<Mining>,
}

struct Mining {
    pool: Pool,
    payout: Payout,
    work: Option<Work>,
}

/// What the present templates were made from.
struct Work {
    /// Hash of the parent, displayed hex.
    parent: String,
    mempool: Mempool,
    made: Instant,
    checked: Instant,
}

/// Tells one state of the mempool from another: transactions and bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mempool(u64, u64);

impl Driver {
    /// Runs until `shutdown`; then the threads have ended.
    pub(crate) async fn run(
        chain: ChainClient,
        extra_nonce: Arc<ExtraNonce>,
        status: Arc<Status>,
        mut commands: mpsc::Receiver<Command>,
        mut tip: watch::Receiver<String>,
        shutdown: CancellationToken,
    ) -> Result<(), Infallible> {
        let (report_to, mut reports) = mpsc::unbounded_channel();
        let mut driver = Self {
            chain,
            extra_nonce,
            status,
            report_to,
            mining: None,
        };
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            let mining = driver.mining.is_some();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(command) = commands.recv() => driver.on_command(command).await,
                Ok(()) = tip.changed(), if mining => {
                    let tip = tip.borrow_and_update().clone();
                    driver.on_tip(&tip).await;
                }
                Some(report) = reports.recv() => driver.on_report(report).await,
                _ = ticks.tick(), if mining => driver.on_tick().await,
            }
        }
        driver.stop().await;
        Ok(())
    }

    async fn on_command(&mut self, command: Command) {
        match command {
            Command::Start {
                threads,
                payout,
                done,
            } => {
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
        let Some(mining) = &self.mining else { return };
        if mining.work.as_ref().is_none_or(|work| work.parent != tip) {
            mining.pool.pause();
            self.renew().await;
        }
    }

    async fn on_tick(&mut self) {
        self.status.meter.sample(Instant::now());
        let Some(mining) = &mut self.mining else {
            return;
        };
        let renew = match &mut mining.work {
            None => true,
            Some(work) if work.made.elapsed() >= WORK_AGE_MAX => true,
            Some(work) if work.checked.elapsed() >= REFRESH_INTERVAL => {
                work.checked = Instant::now();
                let before = work.mempool;
                // Without an answer the work stays: it is no worse than before.
                mempool(&self.chain).await.is_ok_and(|now| now != before)
            }
            Some(_) => false,
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
                self.submit(&block).await;
                self.renew().await;
            }
            Report::Exhausted { epoch, worker } if epoch == pool.epoch() => {
                match self
                    .chain
                    .template(&payout.script, self.extra_nonce.next())
                    .await
                {
                    Ok(template) => pool.resupply(worker, template),
                    Err(error) => tracing::warn!(worker, %error, "no new work for a thread"),
                }
            }
            // The work was over before the report came.
            Report::Found { .. } => self.status.count_stale(),
            Report::Exhausted { .. } => {}
        }
    }

    async fn submit(&self, block: &Block) {
        let hash = block.block_hash();
        match submit_patiently(&self.chain, block).await {
            Ok(BlockOutcome::Connected) => {
                self.status.count_found();
                tracing::info!(%hash, "mined a block");
            }
            Ok(BlockOutcome::AlreadyKnown) => {}
            Ok(BlockOutcome::SideBranch | BlockOutcome::Orphan | BlockOutcome::Unspecified) => {
                self.status.count_stale();
                tracing::info!(%hash, "mined a block too late");
            }
            Err(error) => tracing::error!(%hash, %error, "a mined block was not taken"),
        }
    }

    /// Gives every thread a template of its own on the present tip.
    async fn renew(&mut self) {
        let Some(Mining { pool, payout, work }) = &mut self.mining else {
            return;
        };
        let mut templates = Vec::with_capacity(pool.threads());
        let fetched: Result<Mempool, MinerError> = async {
            let mempool = mempool(&self.chain).await?;
            while templates.len() < pool.threads() {
                let extra_nonce = self.extra_nonce.next();
                templates.push(self.chain.template(&payout.script, extra_nonce).await?);
            }
            Ok(mempool)
        }
        .await;
        match (fetched, templates.first()) {
            (Ok(mempool), Some(template)) => {
                let parent = template.block.header.prev_block_hash.to_string();
                let now = Instant::now();
                self.status.set_height(template.height);
                *work = Some(Work {
                    parent,
                    mempool,
                    made: now,
                    checked: now,
                });
                pool.assign(templates);
            }
            (Ok(_), None) => {}
            (Err(error), _) => {
                pool.pause();
                if work.take().is_some() {
                    tracing::warn!(%error, "no work: mining waits for the chain service");
                }
            }
        }
    }
}

async fn mempool(chain: &ChainClient) -> Result<Mempool, MinerError> {
    let info = chain.info().await?;
    Ok(Mempool(info.mempool_transactions, info.mempool_bytes))
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
