//! Search threads: plain threads of their own, so that mining never blocks the runtime.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::{fmt, io};

use pentad_primitives::Block;
use tokio::sync::mpsc::UnboundedSender;

use crate::chain::Template;
use crate::meter::Meter;
use crate::search::{Outcome, search};

/// What a thread reports.
#[derive(Debug)]
pub(crate) enum Report {
    /// A block with enough work.
    Found {
        /// The work it belongs to.
        epoch: u64,
        /// The block, its nonce set.
        block: Box<Block>,
    },
    /// A thread went through all nonces of its template.
    Exhausted {
        /// The work it belongs to.
        epoch: u64,
        /// Which thread.
        worker: usize,
    },
}

/// The threads. Every assignment is an epoch; what belongs to an earlier one is dropped within a
/// batch of nonces. A thread holds one template and one finished report at most, so the unbounded
/// channels stay short.
pub(crate) struct Pool {
    workers: Vec<Worker>,
    epoch: Arc<AtomicU64>,
}

struct Worker {
    jobs: Sender<Job>,
    thread: JoinHandle<()>,
}

struct Job {
    epoch: u64,
    template: Template,
}

impl Pool {
    /// Starts `threads` threads, idle.
    pub(crate) fn start(
        threads: usize,
        meter: &Arc<Meter>,
        reports: &UnboundedSender<Report>,
    ) -> io::Result<Self> {
        let epoch = Arc::new(AtomicU64::new(0));
        let mut pool = Self { workers: Vec::with_capacity(threads), epoch };
        for worker in 0..threads {
            let (jobs, inbox) = channel();
            let search = Search {
                worker,
                epoch: Arc::clone(&pool.epoch),
                meter: Arc::clone(meter),
                reports: reports.clone(),
            };
            let name = format!("search-{worker}");
            let spawned = thread::Builder::new().name(name).spawn(move || search.run(&inbox));
            match spawned {
                Ok(thread) => pool.workers.push(Worker { jobs, thread }),
                Err(error) => {
                    pool.stop();
                    return Err(error);
                }
            }
        }
        Ok(pool)
    }

    pub(crate) fn threads(&self) -> usize {
        self.workers.len()
    }

    /// The work that counts now.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    /// Ends the work at hand; the threads wait for more.
    pub(crate) fn pause(&self) {
        self.epoch.fetch_add(1, Ordering::Relaxed);
    }

    /// New work for all threads, a template for each.
    pub(crate) fn assign(&self, templates: Vec<Template>) {
        self.pause();
        for (worker, template) in templates.into_iter().enumerate() {
            self.resupply(worker, template);
        }
    }

    /// Another template for a thread that has gone through its own.
    pub(crate) fn resupply(&self, worker: usize, template: Template) {
        let job = Job { epoch: self.epoch(), template };
        let accepted = self.workers.get(worker).is_some_and(|worker| worker.jobs.send(job).is_ok());
        if !accepted {
            tracing::error!(worker, "a search thread is gone");
        }
    }

    /// Ends the threads, within a batch of nonces.
    pub(crate) fn stop(self) {
        self.pause();
        for Worker { jobs, thread } in self.workers {
            drop(jobs);
            if thread.join().is_err() {
                tracing::error!("a search thread panicked");
            }
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("threads", &self.threads())
            .field("epoch", &self.epoch())
            .finish()
    }
}

/// What one thread knows.
struct Search {
    worker: usize,
    epoch: Arc<AtomicU64>,
    meter: Arc<Meter>,
    reports: UnboundedSender<Report>,
}

impl Search {
    fn run(&self, inbox: &Receiver<Job>) {
        while let Ok(job) = inbox.recv() {
            if let Some(report) = self.work(job)
                && self.reports.send(report).is_err()
            {
                return;
            }
        }
    }

    fn work(&self, Job { epoch, template }: Job) -> Option<Report> {
        let Template { mut block, target, .. } = template;
        let outcome = search(&block.header, &target, 0, |hashed| {
            self.meter.add(u64::from(hashed));
            self.epoch.load(Ordering::Relaxed) == epoch
        });
        match outcome {
            Outcome::Found(nonce) => {
                block.header.nonce = nonce;
                Some(Report::Found { epoch, block: Box::new(block) })
            }
            Outcome::Exhausted => Some(Report::Exhausted { epoch, worker: self.worker }),
            Outcome::Stopped => None,
        }
    }
}
