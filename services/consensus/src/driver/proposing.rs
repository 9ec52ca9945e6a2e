//! Making blocks when the core asks for one and there is something to put into it.

use std::time::{Duration, Instant, SystemTime};

use pentad_ledger::spec::Pbft;
use pentad_pbft::{Input, Output, Sequence, View};
use pentad_primitives::Hash256;
use pentad_service_kit::telemetry::BlockTrace;
use tracing::Instrument as _;

use super::Driver;
use super::intake::millis;
use crate::chain::{ChainError, Template};
use crate::event::Event;

/// Transactions that wait when a block has become final and show that the network is busy.
const BUSY: u64 = 8;
/// Between two proposals of a busy network: a block costs every validator signatures, fsyncs and
/// dozens of messages, whether it holds one transaction or a hundred.
const BUSY_INTERVAL: Duration = Duration::from_millis(50);
/// The share of the view timer that this may take at most.
const BUSY_SHARE: u32 = 8;
/// Pause after the chain service gave no template.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// What the core asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wish {
    view: View,
    sequence: Sequence,
    parent: Hash256,
}

/// The wish for a block, until it is granted.
#[derive(Debug, Default)]
pub(super) struct Proposing {
    wish: Option<Wish>,
    /// A template is being made for this wish.
    asked: Option<Wish>,
    asked_at: Option<SystemTime>,
    /// Something came while the template was made.
    try_again: bool,
    /// No block may be proposed before.
    not_before: Option<Instant>,
    /// The last proposal was made.
    proposed_at: Option<Instant>,
    /// It is time for a block even if it is empty.
    is_heartbeat: bool,
}

impl Proposing {
    /// A block became final, while so many transactions wait.
    pub(super) fn on_block(&mut self, pbft: &Pbft, waiting: u64) {
        self.is_heartbeat = false;
        let earliest = Instant::now() + millis(pbft.block_interval_ms_min);
        let interval = BUSY_INTERVAL.min(millis(pbft.view_timeout_ms) / BUSY_SHARE);
        let gathered = self.proposed_at.filter(|_| waiting >= BUSY).map(|at| at + interval);
        self.not_before = Some(gathered.map_or(earliest, |at| at.max(earliest)));
    }

    pub(super) fn heartbeat_due(&mut self) {
        self.is_heartbeat = true;
    }

    pub(super) const fn is_heartbeat(&self) -> bool {
        self.is_heartbeat
    }
}

impl Driver {
    pub(super) fn on_wish(&mut self, view: View, sequence: Sequence, parent: Hash256) {
        self.proposing.wish = Some(Wish { view, sequence, parent });
        self.try_propose();
    }

    /// Asks for a template if one is wanted, may be proposed now and would not be empty.
    pub(super) fn try_propose(&mut self) {
        let Some(wish) = self.proposing.wish else { return };
        if self.proposing.asked.is_some() {
            self.proposing.try_again = true;
            return;
        }
        if let Some(at) = self.proposing.not_before.filter(|at| *at > Instant::now()) {
            return self.deadlines.propose_at(at);
        }
        // First the bell, then the look: nothing that comes in between is missed.
        self.parts.pending.await_next();
        if self.waiting() == 0 && !self.proposing.is_heartbeat {
            return;
        }
        self.proposing.asked = Some(wish);
        let Wish { view, sequence, .. } = wish;
        self.proposing.asked_at = Some(SystemTime::now());
        let span = self.rounds.open(view, sequence);
        let (chain, payout) = (self.parts.chain.clone(), self.parts.payout.clone());
        let events = self.parts.events.clone();
        let asking = async move {
            let template = chain.template(sequence, &payout).await;
            // Nobody listens any more at the end of the service.
            events.send(Event::Template(template)).await.ok();
        };
        tokio::spawn(asking.instrument(span));
    }

    pub(super) fn on_template(
        &mut self,
        template: Result<Template, ChainError>,
        outputs: &mut Vec<Output>,
    ) {
        let asked = self.proposing.asked.take();
        let try_again = std::mem::take(&mut self.proposing.try_again);
        let Some(wish) = self.proposing.wish else { return };
        if asked != Some(wish) {
            return self.try_propose();
        }
        let template = match template {
            Ok(template) => template,
            Err(error) => {
                tracing::debug!(%error, "no template");
                return self.deadlines.propose_at(Instant::now() + RETRY_PAUSE);
            }
        };
        let Wish { view, sequence, parent } = wish;
        let is_empty = template.is_empty && !self.proposing.is_heartbeat;
        if is_empty || template.parent != parent {
            // The next transaction, or the tip, is an event of its own.
            if try_again {
                self.try_propose();
            }
            return;
        }
        self.proposing.wish = None;
        self.proposing.proposed_at = Some(Instant::now());
        let Template { digest, body, traces, .. } = template;
        if let Some(began) = self.proposing.asked_at {
            let trace = BlockTrace::new(None, traces.iter().copied());
            trace.record(module_path!(), "consensus.template", began, SystemTime::now());
        }
        self.rounds.begin(sequence, &traces);
        self.step(Input::Proposal { view, sequence, digest, parent, body }, outputs);
    }
}
