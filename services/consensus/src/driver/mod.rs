//! The driver of the core: one task that gives it inputs and does what it says.
//!
//! Whatever waits is taken in at once, and what the core wants written down for all of it is one
//! write and one fsync; only then does anything leave. No call to another service is waited for
//! here: calls run as tasks of their own, whose answers come back as events.

mod answer;
mod checking;
mod deadlines;
mod effects;
mod intake;
mod proposing;
mod roots;
mod rounds;
mod routes;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pentad_ledger::spec::Pbft;
use pentad_pbft::secp::SecpKeys;
use pentad_pbft::{
    CommitCertificate, Credentials, Evidence, Input, Output, Replica, Sequence, Timer, View,
};
use pentad_primitives::{Hash256, Script};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use crate::chain::ChainClient;
use crate::connect::FinalBlock;
use crate::event::Event;
use crate::metrics::{Cause, ConsensusMetrics};
use crate::pending::{Censorship, Pending};
use crate::relay::Outbox;
use crate::safety::{Safety, SafetyError};
use crate::validator::checkpoint;
use crate::vitals::Vitals;
use checking::Checks;
use deadlines::Deadlines;
use proposing::Proposing;
use roots::Roots;
use rounds::Rounds;
use routes::Routes;

/// Events taken in before the disk is waited for: a view's votes of the largest network.
const BATCH_MAX: usize = 64;
/// Pieces of evidence kept for those who ask, the latest.
const EVIDENCE_MAX: usize = 64;

/// Why the driver ended.
#[derive(Debug, Error)]
pub(crate) enum DriverError {
    #[error(transparent)]
    Safety(#[from] SafetyError),
    #[error("the task that writes the safety log failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// What a driver is made of.
pub(crate) struct Parts {
    pub(crate) credentials: Credentials<SecpKeys>,
    pub(crate) pbft: Pbft,
    /// Most bytes of a block, and of a transaction in it.
    pub(crate) block_bytes_max: usize,
    pub(crate) transaction_bytes_max: usize,
    /// Where this validator's blocks pay to.
    pub(crate) payout: Script,
    /// Only the driver's own writes lock it, one at a time.
    pub(crate) safety: Arc<Mutex<Safety>>,
    pub(crate) chain: ChainClient,
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) blocks: mpsc::Sender<FinalBlock>,
    pub(crate) outbox: Outbox,
    pub(crate) pending: Pending,
    pub(crate) metrics: ConsensusMetrics,
    pub(crate) vitals: Vitals,
}

pub(crate) struct Driver {
    core: Replica<SecpKeys>,
    parts: Parts,
    deadlines: Deadlines,
    proposing: Proposing,
    checks: Checks,
    routes: Routes,
    censorship: Censorship,
    /// Blocks handed to the chain service, until its tip shows them.
    executing: BTreeMap<Sequence, Executing>,
    /// The chain's last final block; the core hears of it with its certificate.
    tip: (Sequence, Hash256),
    /// Where work makes the blocks: the height of the main chain.
    height: Sequence,
    /// Since when a block of work has been deep enough to be made final.
    ripe_since: Option<Instant>,
    /// The last block that the core knows to be final.
    executed: Sequence,
    /// The certificate of a tip is on its way.
    is_fetching: bool,
    /// The states at checkpoints.
    roots: Roots,
    /// The last block became final here.
    progress_at: Option<Instant>,
    view: View,
    view_since: Instant,
    /// What made the core leave its view, if it was this node.
    leaves_for: Option<Cause>,
    evidence: VecDeque<Evidence>,
    /// The blocks in flight, as spans.
    rounds: Rounds,
    told_pending: bool,
}

/// A block on its way into the chain.
struct Executing {
    certificate: CommitCertificate,
    body_len: usize,
}

impl Driver {
    pub(crate) fn new(core: Replica<SecpKeys>, parts: Parts) -> Self {
        let status = core.status();
        let (view, executed) = (status.view, status.last_final);
        parts.metrics.on_view(view);
        parts.metrics.set_height(executed);
        let view_timeout = Duration::from_millis(parts.pbft.view_timeout_ms.into());
        parts.metrics.set_quorum(parts.credentials.quorum, view_timeout);
        let replicas = usize::from(parts.credentials.quorum.replicas());
        Self {
            deadlines: Deadlines::new(Duration::from_millis(parts.pbft.heartbeat_ms.into())),
            proposing: Proposing::default(),
            checks: Checks::default(),
            routes: Routes::new(replicas, parts.chain.subject()),
            censorship: Censorship::default(),
            executing: BTreeMap::new(),
            tip: (executed, status.last_digest),
            height: executed,
            ripe_since: None,
            executed,
            is_fetching: false,
            roots: Roots::since(checkpoint(executed, &parts.pbft)),
            progress_at: None,
            view,
            view_since: Instant::now(),
            leaves_for: None,
            evidence: VecDeque::new(),
            rounds: Rounds::default(),
            told_pending: false,
            core,
            parts,
        }
    }

    /// Runs until `shutdown`.
    pub(crate) async fn run(
        mut self,
        first: Vec<Output>,
        mut events: mpsc::Receiver<Event>,
        shutdown: CancellationToken,
    ) -> Result<(), DriverError> {
        self.act(first).await?;
        while !shutdown.is_cancelled() {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => {}
                () = sleep_until(self.deadlines.next().into()) => self.on_deadlines().await?,
                Some(event) = events.recv() => self.on_events(event, &mut events).await?,
            }
        }
        self.write(Safety::sync_guard).await
    }

    /// Takes in an event and what else waits, up to a bound.
    async fn on_events(
        &mut self,
        first: Event,
        events: &mut mpsc::Receiver<Event>,
    ) -> Result<(), DriverError> {
        let mut outputs = Vec::new();
        self.on_event(first, &mut outputs);
        for _ in 1..BATCH_MAX {
            match events.try_recv() {
                Ok(event) => self.on_event(event, &mut outputs),
                Err(_) => break,
            }
        }
        self.act(outputs).await
    }

    async fn on_deadlines(&mut self) -> Result<(), DriverError> {
        let due = self.deadlines.take_due(Instant::now());
        let mut outputs = Vec::new();
        for timer in due.timers {
            if timer == Timer::View {
                self.leaves_for = Some(Cause::Timeout);
            }
            self.step(Input::Timeout(timer), &mut outputs);
        }
        if due.heartbeat {
            self.proposing.heartbeat_due();
            self.tell_pending(&mut outputs);
        }
        if due.propose || due.heartbeat {
            self.try_propose();
        }
        if due.guard {
            self.write(Safety::sync_guard).await?;
        }
        self.act(outputs).await
    }

    /// Gives the core an input; what follows is done once everything that waits was taken in.
    fn step(&mut self, input: Input, outputs: &mut Vec<Output>) {
        outputs.extend(self.core.step(input));
    }

    /// Runs a write of the safety log on a thread that may wait for the disk.
    async fn write<T: Send + 'static>(
        &mut self,
        write: impl FnOnce(&mut Safety) -> Result<T, SafetyError> + Send + 'static,
    ) -> Result<T, DriverError> {
        self.parts.vitals.set_disk_busy(true);
        let safety = self.parts.safety.clone();
        let written = tokio::task::spawn_blocking(move || write(&mut lock(&safety))).await;
        self.parts.vitals.set_disk_busy(false);
        Ok(written??)
    }
}

fn lock(safety: &Mutex<Safety>) -> MutexGuard<'_, Safety> {
    safety.lock().unwrap_or_else(PoisonError::into_inner)
}
