//! Workers in other processes, as far as the miner can tell.

use std::time::Duration;

use pentad_api::miner::v1::take_work_request::Message as Say;
use pentad_api::miner::v1::take_work_response::Message as Hear;
use pentad_api::miner::v1::work_service_client::WorkServiceClient;
use pentad_api::miner::v1::{
    PauseMiningRequest, ResumeMiningRequest, Solution, SolutionOutcome, StartMiningRequest,
    TakeWorkRequest, TakeWorkResponse, Verdict, Work, WorkerHello,
};
use pentad_api::status::explain;
use pentad_miner::{Worker, WorkerConfig};
use pentad_primitives::pow::HeaderHasher;
use pentad_primitives::{BlockHeader, CompactTarget, Decode as _, Target};
use pentad_service_kit::Metrics;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, Streaming};

use crate::bed::{Bed, until};
use crate::fake_chain::{EASY, HOPELESS};

/// Solutions that are none, which a worker may hand in.
const WRONG_MAX: usize = 32;
/// About a million hashes a block: there are shares on the way.
const MODERATE: CompactTarget = CompactTarget(0x1e0f_ffff);

/// Workers alone search.
async fn mine(bed: &Bed) {
    let request = StartMiningRequest { workers_only: true, ..Default::default() };
    assert_eq!(bed.start_mining(request).await.threads, 0);
}

/// A real one; it ends when the token is cancelled.
fn worker(bed: &Bed, name: &str) -> CancellationToken {
    let config = WorkerConfig { name: name.to_owned(), threads: 1, ..WorkerConfig::default() };
    let worker = Worker::new(&config, bed.connection(), &Metrics::new()).expect("a thread");
    let shutdown = CancellationToken::new();
    tokio::spawn(worker.run(shutdown.clone()));
    shutdown
}

/// One whose words the test chooses.
struct Puppet {
    say: mpsc::Sender<TakeWorkRequest>,
    hear: Streaming<TakeWorkResponse>,
}

impl Puppet {
    async fn connect(bed: &Bed) -> Self {
        let (say, said) = mpsc::channel(64);
        let mut client = WorkServiceClient::new(bed.connection());
        let hear = client.take_work(ReceiverStream::new(said)).await.expect("a stream");
        Self { say, hear: hear.into_inner() }
    }

    async fn hello(bed: &Bed, slots: u32) -> Self {
        let puppet = Self::connect(bed).await;
        puppet.say(Say::Hello(WorkerHello { name: "puppet".to_owned(), slots })).await;
        puppet
    }

    async fn say(&self, message: Say) {
        let request = TakeWorkRequest { message: Some(message) };
        self.say.send(request).await.expect("the stream is open");
    }

    async fn solve(&self, work: &Work, slot: u32, nonce: u32) {
        let time = header(work, 0).time;
        self.say(Say::Solution(Solution { work: work.id, slot, time, nonce })).await;
    }

    async fn hear(&mut self) -> Result<Option<Hear>, Status> {
        let heard = tokio::time::timeout(Duration::from_secs(30), self.hear.message()).await;
        Ok(heard.expect("an answer")?.and_then(|answer| answer.message))
    }

    /// The next work, past whatever else is said.
    async fn work(&mut self) -> Work {
        loop {
            match self.hear().await.expect("no error").expect("no end") {
                Hear::Work(work) if !work.headers.is_empty() => return work,
                _ => {}
            }
        }
    }

    async fn verdict(&mut self) -> Verdict {
        loop {
            if let Hear::Verdict(verdict) = self.hear().await.expect("no error").expect("no end") {
                return verdict;
            }
        }
    }

    /// Why the miner ended the stream.
    async fn end(&mut self) -> Status {
        loop {
            match self.hear().await {
                Ok(heard) => assert!(heard.is_some(), "the stream ended without a reason"),
                Err(status) => return status,
            }
        }
    }
}

fn header(work: &Work, slot: usize) -> BlockHeader {
    BlockHeader::from_bytes(&work.headers[slot]).expect("a header")
}

fn target(work: &Work) -> Target {
    Target::from_be_bytes(work.target[..].try_into().expect("32 bytes"))
}

fn share(work: &Work, slot: u32) -> u32 {
    let hasher = HeaderHasher::new(&header(work, slot as usize));
    hasher.find(0..=u32::MAX, &target(work)).expect("there are many")
}

/// What the issue asks for: three workers, one is killed, one lies.
#[tokio::test]
async fn blocks_go_on_with_a_worker_killed_and_one_that_lies() {
    let bed = Bed::start(MODERATE);
    mine(&bed).await;
    let (honest, killed) = (worker(&bed, "honest"), worker(&bed, "killed"));
    let mut liar = Puppet::hello(&bed, 1).await;
    until("three workers", async || bed.workers().await.len() == 3).await;
    let work = liar.work().await;
    let hasher = HeaderHasher::new(&header(&work, 0));
    let lies = (0..).filter(|&nonce| !target(&work).is_met_by(&hasher.hash(nonce)));
    // It claims what it has not done until it is sent away.
    for nonce in lies.take(WRONG_MAX + 1) {
        liar.solve(&work, 0, nonce).await;
    }
    assert_eq!(explain(&liar.end().await).reason, "TOO_MANY_WRONG_SOLUTIONS");
    until("blocks of both", async || {
        let workers = bed.workers().await;
        workers.len() == 2 && workers.iter().all(|worker| worker.blocks > 0)
    })
    .await;
    let status = bed.status().await;
    let rates: f64 = bed.workers().await.iter().map(|worker| worker.hash_rate).sum();
    // The one may have found another share meanwhile.
    assert!(rates > 0.0 && status.workers_hash_rate > rates * 0.8, "{rates} {status:?}");
    assert_eq!(status.total_hash_rate, status.hash_rate + status.workers_hash_rate);
    assert_eq!(status.workers, 2);
    killed.cancel();
    until("one worker", async || bed.workers().await.len() == 1).await;
    let before = bed.chain.state().blocks.len();
    until("more blocks", async || bed.chain.state().blocks.len() >= before + 3).await;
    honest.cancel();
    until("nobody", async || bed.status().await.workers == 0).await;
    // The chain checked the work of all; each block was found once.
    let status = bed.status().await;
    assert_eq!(status.blocks_found, bed.chain.state().blocks.len() as u64);
}

#[tokio::test]
async fn every_slot_of_every_worker_has_another_header() {
    let bed = Bed::start(HOPELESS);
    mine(&bed).await;
    let mut headers = std::collections::HashSet::new();
    for _ in 0..3 {
        let mut puppet = Puppet::hello(&bed, 5).await;
        let work = puppet.work().await;
        assert_eq!(work.headers.len(), 5);
        headers.extend(work.headers);
    }
    assert_eq!(headers.len(), 15);
}

#[tokio::test]
async fn each_solution_is_answered_with_what_it_was_worth() {
    let bed = Bed::start(HOPELESS);
    mine(&bed).await;
    let mut puppet = Puppet::hello(&bed, 2).await;
    let work = puppet.work().await;
    let nonce = share(&work, 1);
    puppet.solve(&work, 1, nonce).await;
    assert_eq!(puppet.verdict().await.outcome(), SolutionOutcome::Share);
    puppet.solve(&work, 1, nonce).await;
    assert_eq!(puppet.verdict().await.outcome(), SolutionOutcome::Duplicate);
    let time = header(&work, 1).time;
    for (solution, reason) in [
        (Solution { work: work.id, slot: 0, time, nonce }, "does not meet the target"),
        (Solution { work: work.id, slot: 2, time, nonce }, "no such slot"),
        (Solution { work: work.id + 1, slot: 1, time, nonce }, "no such work"),
        (Solution { work: work.id, slot: 1, time: time - 1, nonce }, "the time"),
        (Solution { work: work.id, slot: 1, time: work.time_max + 1, nonce }, "the time"),
    ] {
        puppet.say(Say::Solution(solution)).await;
        let verdict = puppet.verdict().await;
        assert_eq!(verdict.outcome(), SolutionOutcome::Wrong);
        assert!(verdict.reason.contains(reason), "{}", verdict.reason);
    }
    let worker = &bed.workers().await[0];
    assert_eq!((worker.shares, worker.wrong, worker.slots), (1, 6, 2));
    // Somebody else finds the block.
    bed.chain.advance();
    let next = puppet.work().await;
    assert_eq!(next.height, work.height + 1);
    puppet.solve(&work, 0, share(&work, 0)).await;
    let verdict = puppet.verdict().await;
    assert_eq!(verdict.outcome(), SolutionOutcome::Stale);
    // A block that the chain does not like.
    bed.chain.state().bits = EASY;
    bed.chain.state().refusing = true;
    bed.chain.advance();
    let work = puppet.work().await;
    puppet.solve(&work, 0, share(&work, 0)).await;
    let verdict = puppet.verdict().await;
    assert_eq!(verdict.outcome(), SolutionOutcome::Refused);
    assert!(verdict.reason.contains("not today"), "{}", verdict.reason);
    bed.chain.state().refusing = false;
    // The same work again, after a rest.
    let work = puppet.work().await;
    puppet.solve(&work, 0, share(&work, 0)).await;
    let verdict = puppet.verdict().await;
    assert_eq!(verdict.outcome(), SolutionOutcome::Block);
    assert_eq!(verdict.block_hash, bed.chain.state().tip().to_string());
}

#[tokio::test]
async fn a_worker_rests_while_nobody_mines() {
    let bed = Bed::start(HOPELESS);
    let mut puppet = Puppet::hello(&bed, 1).await;
    let rest = Some(Hear::Work(Work::default()));
    assert_eq!(puppet.hear().await.expect("no error"), rest);
    mine(&bed).await;
    puppet.work().await;
    bed.miner().pause_mining(PauseMiningRequest {}).await.expect("paused");
    assert_eq!(puppet.hear().await.expect("no error"), rest);
    bed.miner().resume_mining(ResumeMiningRequest {}).await.expect("resumed");
    puppet.work().await;
}

#[tokio::test]
async fn what_a_worker_may_not_say_ends_its_stream() {
    let bed = Bed::start(HOPELESS);
    let hello = |name: &str, slots| Say::Hello(WorkerHello { name: name.to_owned(), slots });
    for first in [
        Say::Solution(Solution::default()),
        hello("", 1),
        hello(&"n".repeat(65), 1),
        hello("name", 0),
        hello("name", 257),
    ] {
        let mut puppet = Puppet::connect(&bed).await;
        puppet.say(first).await;
        let end = puppet.end().await;
        assert_eq!(end.code(), Code::InvalidArgument);
        assert_eq!(explain(&end).reason, "BAD_WORKER_MESSAGE");
        assert!(explain(&end).hint.is_some());
    }
    let mut puppet = Puppet::hello(&bed, 1).await;
    puppet.say(hello("again", 1)).await;
    assert_eq!(puppet.end().await.code(), Code::InvalidArgument);
    until("nobody", async || bed.workers().await.is_empty()).await;
}

#[tokio::test]
async fn workers_beyond_the_limit_are_sent_away_and_the_others_served() {
    let bed = Bed::start(HOPELESS);
    mine(&bed).await;
    let mut taken = Vec::new();
    for _ in 0..256 {
        taken.push(Puppet::hello(&bed, 1).await);
    }
    until("256 workers", async || bed.workers().await.len() == 256).await;
    let mut last = Puppet::hello(&bed, 1).await;
    let end = last.end().await;
    assert_eq!(end.code(), Code::ResourceExhausted);
    taken[255].work().await;
    drop(taken.pop());
    until("room", async || bed.workers().await.len() == 255).await;
    Puppet::hello(&bed, 1).await.work().await;
}

#[tokio::test]
async fn a_worker_comes_back_to_a_miner_that_was_away() {
    let bed = Bed::start(EASY);
    let worker = worker(&bed, "patient");
    until("it waits", async || bed.workers().await.len() == 1).await;
    mine(&bed).await;
    until("a block", async || !bed.chain.state().blocks.is_empty()).await;
    worker.cancel();
    until("nobody", async || bed.workers().await.is_empty()).await;
}
