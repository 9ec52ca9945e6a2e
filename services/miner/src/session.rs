//! One worker, from its hello to its end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pentad_api::miner::v1::take_work_request::Message as Request;
use pentad_api::miner::v1::take_work_response::Message as Answer;
use pentad_api::miner::v1::{
    Solution, SolutionOutcome, TakeWorkRequest, TakeWorkResponse, Verdict, Work, WorkerHello,
};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tonic::{Status, Streaming};

use crate::driver;
use crate::error::MinerError;
use crate::given::{Gift, Given};
use crate::job::Job;
use crate::miner::Miner;
use crate::workers::Listed;

/// Whoever connects says hello by then.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// Characters of a worker's name.
const NAME_LEN_MAX: usize = 64;
/// Slots of a worker: with a header each, work stays a message of some kilobytes.
pub(crate) const SLOTS_MAX: u32 = 256;
/// How often the difficulty of a worker that says nothing is looked at.
const RETARGET_INTERVAL: Duration = Duration::from_secs(10);
/// Solutions that were none, after which a worker is sent away.
const WRONG_MAX: u64 = 32;

type Sender = mpsc::Sender<Result<TakeWorkResponse, Status>>;

/// Serves a worker until it leaves or is sent away.
pub(crate) async fn serve(
    miner: &Miner,
    mut requests: Streaming<TakeWorkRequest>,
    sender: &Sender,
) -> Result<(), Status> {
    let first = timeout(HELLO_TIMEOUT, requests.message()).await;
    let first = first.map_err(|_| bad("no hello came"))??;
    let Some(WorkerHello { name, slots }) = first.and_then(|request| match request.message? {
        Request::Hello(hello) => Some(hello),
        Request::Solution(_) => None,
    }) else {
        return Err(bad("hello comes first"));
    };
    if name.is_empty() || name.chars().count() > NAME_LEN_MAX {
        return Err(bad("hello.name: 1 to 64 characters"));
    }
    if !(1..=SLOTS_MAX).contains(&slots) {
        return Err(bad("hello.slots: 1 to 256"));
    }
    let listed = miner.status().workers.enter(name.clone(), slots)?;
    tracing::info!(name = name.escape_debug().to_string(), slots, "a worker has come");
    let jobs = miner.jobs();
    let session = Session { miner, sender, listed, jobs, given: Given::default(), slots };
    let ended = session.run(requests).await;
    tracing::info!(name = name.escape_debug().to_string(), "a worker has gone");
    ended
}

struct Session<'a> {
    miner: &'a Miner,
    sender: &'a Sender,
    listed: Listed<'a>,
    jobs: watch::Receiver<Option<Arc<Job>>>,
    given: Given,
    slots: u32,
}

impl Session<'_> {
    async fn run(mut self, mut requests: Streaming<TakeWorkRequest>) -> Result<(), Status> {
        let mut looks = interval(RETARGET_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.jobs.mark_changed();
        loop {
            tokio::select! {
                biased;
                changed = self.jobs.changed() => {
                    changed.map_err(|_| MinerError::ShuttingDown)?;
                    self.give().await?;
                }
                request = requests.message() => match request?.map(|request| request.message) {
                    Some(Some(Request::Solution(solution))) => self.on_solution(solution).await?,
                    Some(_) => return Err(bad("hello comes once, then solutions")),
                    None => return Ok(()),
                },
                _ = looks.tick() => {
                    if self.listed.record().shares.retarget(Instant::now()) {
                        self.give().await?;
                    }
                }
                () = self.sender.closed() => return Ok(()),
            }
        }
    }

    /// Gives the present work, or none.
    async fn give(&mut self) -> Result<(), Status> {
        let job = self.jobs.borrow_and_update().clone();
        let work = match &job {
            Some(job) => {
                let target = self.listed.record().shares.target(&job.target);
                let slots = self.slots as usize;
                let gift = self.given.give(job, target, slots, self.miner.numbers());
                Work {
                    id: gift.id,
                    height: job.height,
                    headers: gift.headers().map(|it| it.to_array().to_vec().into()).collect(),
                    target: gift.target.to_be_bytes().to_vec().into(),
                    time_max: job.time_max(),
                }
            }
            None => Work::default(),
        };
        self.send(Answer::Work(work)).await
    }

    async fn on_solution(&mut self, solution: Solution) -> Result<(), Status> {
        let Judged { outcome, reason, block_hash, retarget } = self.judge(&solution).await?;
        let wrong = {
            let mut record = self.listed.record();
            match outcome {
                SolutionOutcome::Block => record.blocks += 1,
                SolutionOutcome::Stale => record.stale += 1,
                SolutionOutcome::Wrong | SolutionOutcome::Duplicate => record.wrong += 1,
                SolutionOutcome::Share
                | SolutionOutcome::Refused
                | SolutionOutcome::Unspecified => {}
            }
            record.wrong
        };
        let Solution { work, slot, .. } = solution;
        let outcome = outcome.into();
        self.send(Answer::Verdict(Verdict { work, slot, outcome, reason, block_hash })).await?;
        if wrong > WRONG_MAX {
            return Err(MinerError::TooManyWrong { wrong }.into());
        }
        if retarget {
            self.give().await?;
        }
        Ok(())
    }

    async fn judge(&mut self, solution: &Solution) -> Result<Judged, MinerError> {
        let Solution { work, slot, time, nonce } = *solution;
        let Some(gift) = self.given.find(work) else {
            return Ok(if self.given.knew(work) {
                Judged::stale()
            } else {
                Judged::wrong("there was no such work")
            });
        };
        let Some(found) = gift.found(slot, time, nonce) else {
            return Ok(Judged::wrong("the work has no such slot"));
        };
        let Some(header) = gift.job.found(&found) else {
            return Ok(Judged::wrong("the time is none that the header may have"));
        };
        let hash = header.block_hash();
        if !gift.target.is_met_by(&hash) {
            return Ok(Judged::wrong(&format!("the hash {hash} does not meet the target")));
        }
        let retarget = {
            let mut record = self.listed.record();
            if !record.shares.is_new((work, slot, time, nonce), self.given.oldest()) {
                return Ok(Judged::of(SolutionOutcome::Duplicate));
            }
            record.accepted += 1;
            record.shares.add(Instant::now(), &gift.target)
        };
        if !gift.job.target.is_met_by(&hash) {
            let outcome = self.still_worked_on(gift);
            return Ok(Judged { retarget, ..Judged::of(outcome) });
        }
        let job = Arc::clone(&gift.job);
        Ok(match self.miner.submit(job, found).await? {
            driver::Verdict::Block(hash) => {
                Judged { block_hash: hash.to_string(), ..Judged::of(SolutionOutcome::Block) }
            }
            driver::Verdict::Stale => Judged::stale(),
            driver::Verdict::Refused(reason) => {
                Judged { reason, ..Judged::of(SolutionOutcome::Refused) }
            }
        })
    }

    /// A share of work whose parent is the tip no more proves work all the same; but its slot need
    /// not go on.
    fn still_worked_on(&self, gift: &Gift) -> SolutionOutcome {
        let parent = self.jobs.borrow().as_ref().map(|job| job.parent());
        match parent == Some(gift.job.parent()) {
            true => SolutionOutcome::Share,
            false => SolutionOutcome::Stale,
        }
    }

    async fn send(&self, message: Answer) -> Result<(), Status> {
        let answer = TakeWorkResponse { message: Some(message) };
        // A worker that has left is noticed where its messages are read.
        self.sender.send(Ok(answer)).await.ok();
        Ok(())
    }
}

/// What a solution was worth.
struct Judged {
    outcome: SolutionOutcome,
    reason: String,
    block_hash: String,
    /// The worker's difficulty has changed.
    retarget: bool,
}

impl Judged {
    const fn of(outcome: SolutionOutcome) -> Self {
        Self { outcome, reason: String::new(), block_hash: String::new(), retarget: false }
    }

    fn wrong(reason: &str) -> Self {
        Self { reason: reason.to_owned(), ..Self::of(SolutionOutcome::Wrong) }
    }

    fn stale() -> Self {
        let reason = "another block took its place".to_owned();
        Self { reason, ..Self::of(SolutionOutcome::Stale) }
    }
}

fn bad(problem: &str) -> Status {
    MinerError::Worker { problem: problem.to_owned() }.into()
}
