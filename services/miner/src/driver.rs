//! Keeps the threads here and the workers elsewhere supplied with the right work, and hands in
//! what they find.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pentad_api::chain::v1::BlockOutcome;
use pentad_primitives::BlockHash;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::chain::ChainClient;
use crate::error::MinerError;
use crate::extra_nonce::ExtraNonce;
use crate::given::Given;
use crate::job::{Found, Job};
use crate::payout::Payout;
use crate::pool::{Pool, Report, Slot};
use crate::status::{Status, Task};
use crate::submit::submit_patiently;
use crate::templates;

/// How often the hash rate is sampled.
const TICK: Duration = Duration::from_millis(500);
/// Pause after the chain service refused a block.
const REFUSED_PAUSE: Duration = Duration::from_millis(500);

/// What the driver is told to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// Mine like this, instead of what it does now.
    Start { order: Order, done: oneshot::Sender<Result<(), MinerError>> },
    /// Mine no more.
    Stop { done: oneshot::Sender<()> },
    /// Rest, or go on after that.
    Pause { paused: bool, done: oneshot::Sender<bool> },
    /// Somebody found a block.
    Submit { job: Arc<Job>, found: Found, reply: oneshot::Sender<Verdict> },
}

/// How to mine.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    /// Threads here; none: workers alone search.
    pub(crate) threads: usize,
    /// Percent of the time that they search.
    pub(crate) throttle: u32,
    pub(crate) payout: Payout,
    /// Blocks cost next to nothing on this network.
    pub(crate) development: bool,
}

/// What became of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Block(BlockHash),
    /// There was one before it, or nobody mines.
    Stale,
    Refused(String),
}

pub(crate) struct Driver {
    pub(crate) chain: ChainClient,
    pub(crate) numbers: Arc<ExtraNonce>,
    pub(crate) status: Arc<Status>,
    pub(crate) development_pause: Duration,
    /// What workers are to search: none while everybody rests.
    pub(crate) jobs: watch::Sender<Option<Arc<Job>>>,
    pub(crate) mining: Option<Mining>,
}

pub(crate) struct Mining {
    pool: Pool,
    given: Given,
    order: Order,
    templates: mpsc::Receiver<Arc<Job>>,
    reports: mpsc::UnboundedReceiver<Report>,
    _follower: AbortOnDropHandle<()>,
    /// The latest template, unless it was solved.
    job: Option<Arc<Job>>,
    /// What the last block of ours stands on: further ones there are of no use.
    solved: Option<BlockHash>,
    rest_until: Option<Instant>,
    paused: bool,
}

/// What a driver that mines wakes up for.
enum Wake {
    Template(Arc<Job>),
    Report(Report),
    Rested,
}

impl Mining {
    async fn wake(&mut self) -> Wake {
        let rest_until = self.rest_until;
        tokio::select! {
            biased;
            Some(job) = self.templates.recv() => Wake::Template(job),
            Some(report) = self.reports.recv() => Wake::Report(report),
            () = sleep_until(rest_until) => Wake::Rested,
        }
    }

    /// Puts a template in the place of another.
    fn put(&mut self, job: Option<Arc<Job>>) {
        if let Some(before) = std::mem::replace(&mut self.job, job) {
            before.record_end();
        }
    }

    const fn is_resting(&self) -> bool {
        self.paused || self.rest_until.is_some()
    }
}

impl Driver {
    /// Runs until `shutdown`; then the threads have ended.
    pub(crate) async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        shutdown: CancellationToken,
    ) -> Result<(), Infallible> {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            let mining = self.mining.as_mut();
            let wake = async {
                match mining {
                    Some(mining) => mining.wake().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(command) = commands.recv() => self.on_command(command).await,
                wake = wake => self.on_wake(wake).await,
                _ = ticks.tick() => self.status.sample(Instant::now()),
            }
        }
        self.stop().await;
        Ok(())
    }

    async fn on_command(&mut self, command: Command) {
        // Whoever asked may have left: what was asked for holds all the same.
        match command {
            Command::Start { order, done } => drop(done.send(self.start(order).await)),
            Command::Stop { done } => {
                self.stop().await;
                done.send(()).ok();
            }
            Command::Pause { paused, done } => drop(done.send(self.set_paused(paused))),
            Command::Submit { job, found, reply } => {
                let verdict = self.on_found(&job, &found).await;
                drop(reply.send(verdict));
            }
        }
    }

    async fn on_wake(&mut self, wake: Wake) {
        match wake {
            Wake::Template(job) => self.on_template(job),
            Wake::Report(report) => self.on_report(report).await,
            Wake::Rested => {
                if let Some(mining) = &mut self.mining {
                    mining.rest_until = None;
                }
                self.supply();
            }
        }
    }

    async fn start(&mut self, order: Order) -> Result<(), MinerError> {
        self.stop().await;
        let (report_to, reports) = mpsc::unbounded_channel();
        let pool = Pool::start(order.threads, order.throttle, &self.status.meter, &report_to)?;
        tracing::info!(threads = order.threads, payout = order.payout.address, "mining");
        self.status.set_task(Some(Task {
            threads: u32::try_from(order.threads).unwrap_or(u32::MAX),
            payout_address: order.payout.address.clone(),
            height: 0,
            paused: false,
        }));
        let (jobs, templates) = mpsc::channel(1);
        let following = templates::follow(self.chain.clone(), order.payout.script.clone(), jobs);
        self.mining = Some(Mining {
            pool,
            given: Given::default(),
            order,
            templates,
            reports,
            _follower: AbortOnDropHandle::new(tokio::spawn(following)),
            job: None,
            solved: None,
            rest_until: None,
            paused: false,
        });
        Ok(())
    }

    async fn stop(&mut self) {
        let Some(Mining { pool, .. }) = self.mining.take() else {
            return;
        };
        self.jobs.send_replace(None);
        if let Err(error) = tokio::task::spawn_blocking(|| pool.stop()).await {
            tracing::error!(%error, "the search threads did not end well");
        }
        self.status.set_task(None);
        self.status.meter.reset();
        tracing::info!("mining stopped");
    }

    /// Whether there is anything to pause.
    fn set_paused(&mut self, paused: bool) -> bool {
        let Some(mining) = &mut self.mining else {
            return false;
        };
        mining.paused = paused;
        self.status.set_paused(paused);
        if paused {
            self.rest();
        } else {
            self.supply();
        }
        true
    }

    fn on_template(&mut self, job: Arc<Job>) {
        let Some(mining) = &mut self.mining else {
            return;
        };
        // It may have been on its way while a block of ours took its place.
        if mining.job.is_none() && mining.solved == Some(job.parent()) {
            return;
        }
        self.status.set_height(job.height);
        mining.put(Some(job));
        self.supply();
    }

    async fn on_report(&mut self, report: Report) {
        let Some(mining) = &mut self.mining else {
            return;
        };
        let Report { work, slot, time, nonce } = report;
        let gift = mining.given.find(work);
        let found = gift.and_then(|gift| Some((gift.job.clone(), gift.found(slot, time, nonce)?)));
        match found {
            Some((job, found)) => {
                self.on_found(&job, &found).await;
            }
            None => self.status.count_stale(),
        }
    }

    /// Hands in a block. Everybody rests until its fate is known: there is only one next block.
    async fn on_found(&mut self, job: &Job, found: &Found) -> Verdict {
        let Some(mining) = &self.mining else {
            return Verdict::Stale;
        };
        let is_current = mining.job.as_ref().is_some_and(|now| now.parent() == job.parent());
        let Some(block) = job.solved(found).filter(|_| is_current) else {
            // A thread may find a second one before it hears that the first was taken.
            if mining.solved != Some(job.parent()) {
                self.status.count_stale();
            }
            return Verdict::Stale;
        };
        self.rest();
        let hash = block.block_hash();
        let outcome = submit_patiently(&self.chain, &block).await;
        let Some(mining) = &mut self.mining else {
            return Verdict::Stale;
        };
        match outcome {
            Ok(BlockOutcome::Connected) => {
                self.status.count_found();
                tracing::info!(%hash, "mined a block");
                mining.solved = Some(job.parent());
                mining.put(None);
                if mining.order.development && !self.development_pause.is_zero() {
                    mining.rest_until = Some(Instant::now() + jittered(self.development_pause));
                }
                Verdict::Block(hash)
            }
            Ok(BlockOutcome::AlreadyKnown) => {
                self.supply();
                Verdict::Stale
            }
            Ok(BlockOutcome::SideBranch | BlockOutcome::Orphan | BlockOutcome::Unspecified) => {
                self.status.count_stale();
                tracing::info!(%hash, "mined a block too late");
                // A template for the tip that was quicker is on its way.
                mining.put(None);
                Verdict::Stale
            }
            Err(error) => {
                tracing::error!(%hash, %error, "a mined block was not taken");
                mining.rest_until = Some(Instant::now() + REFUSED_PAUSE);
                Verdict::Refused(error.to_string())
            }
        }
    }

    /// Nobody searches for now.
    fn rest(&self) {
        if let Some(mining) = &self.mining {
            mining.pool.rest();
        }
        self.jobs.send_replace(None);
    }

    /// Gives the latest template to everybody, unless they are to rest.
    fn supply(&mut self) {
        let Some(mining) = self.mining.as_mut().filter(|mining| !mining.is_resting()) else {
            return;
        };
        let Some(job) = &mining.job else {
            return;
        };
        let gift = mining.given.give(job, job.target, mining.pool.len(), &self.numbers);
        let (target, time_max) = (gift.target, job.time_max());
        let slots = gift.headers().map(|header| Slot { header, target, time_max });
        mining.pool.assign(gift.id, slots);
        self.jobs.send_replace(Some(Arc::clone(job)));
    }
}

async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

/// Between half and one and a half times `pause`: miners in step would find every block at the
/// same time.
fn jittered(pause: Duration) -> Duration {
    // Without randomness the pause is as good as any.
    let share = getrandom::u32().map_or(0.5, |random| f64::from(random) / f64::from(u32::MAX));
    pause.mul_f64(0.5 + share)
}
