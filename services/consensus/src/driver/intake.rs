//! Events, one by one.

use std::time::{Duration, Instant};

use pentad_pbft::{CommitCertificate, Input, Message, Output, Sequence, Timer};
use pentad_primitives::Hash256;
use pentad_service_kit::since_1970;

use super::{Driver, Executing};
use crate::backoff::backoff;
use crate::event::{Event, Inbound};
use crate::metrics::Cause;
use crate::subject::Subject;
use crate::traces::join;

/// Links open in bursts; what was not answered is sent again once after each burst.
const LINK_PAUSE: Duration = Duration::from_millis(10);

impl Driver {
    pub(super) fn on_event(&mut self, event: Event, outputs: &mut Vec<Output>) {
        match event {
            Event::Inbound(messages) => {
                for message in messages {
                    self.on_inbound(message, outputs);
                }
            }
            // Whoever is there now may have missed what was sent before.
            Event::LinkOpened => self.deadlines.hasten(Timer::Resend, LINK_PAUSE),
            Event::LinkClosed { link } => self.routes.on_closed(&link),
            Event::Tip { sequence, digest } => self.on_tip(sequence, digest, outputs),
            Event::Height(height) => self.on_height(height, outputs),
            Event::Certificate { certificate } => {
                self.is_fetching = false;
                self.on_final(certificate, None, outputs);
                self.fetch_certificate();
            }
            Event::Root(root) => self.on_root(root, outputs),
            Event::Mempool => {
                self.tell_pending(outputs);
                self.try_propose();
            }
            Event::Template(template) => self.on_template(template, outputs),
            Event::Checked { view, sequence, digest, verdict } => {
                self.step(Input::Checked { view, sequence, digest, verdict }, outputs);
            }
            // Whoever asked may have left.
            Event::Query(answer) => drop(answer.send(self.snapshot())),
        }
    }

    fn on_inbound(&mut self, inbound: Inbound, outputs: &mut Vec<Output>) {
        let Inbound { link, message, traceparent, traces } = inbound;
        let (now, credentials) = (unix_seconds(), &self.parts.credentials);
        if let Some(replica) = self.routes.on_message(&message, &link, credentials, now) {
            self.parts.metrics.on_heard(replica, now);
        }
        if let Message::PrePrepare(proposal) = &message {
            let (view, sequence) = (proposal.signed.view, proposal.signed.sequence);
            let is_next = Some(sequence) == self.executed.next();
            if is_next && !self.rounds.contains(sequence) {
                join(&self.rounds.open(view, sequence), &traceparent);
            }
            if is_next {
                self.rounds.begin(sequence, &traces);
            }
        }
        self.step(Input::Message { message }, outputs);
    }

    fn on_tip(&mut self, sequence: Sequence, digest: Hash256, outputs: &mut Vec<Output>) {
        self.tip = (sequence, digest);
        self.checks.on_tip(sequence);
        let own = self.executing.remove(&sequence);
        match own.filter(|own| own.certificate.digest == digest) {
            Some(Executing { certificate, body_len }) => {
                self.on_final(certificate, Some(body_len), outputs);
            }
            None => self.fetch_certificate(),
        }
        self.try_propose();
    }

    /// The main chain grew, or a branch was left: there may be more to make final.
    fn on_height(&mut self, height: Sequence, outputs: &mut Vec<Output>) {
        self.height = height;
        self.checks.on_move();
        self.note_ripe();
        self.tell_pending(outputs);
        self.try_propose();
    }

    /// What waits for agreement: transactions, or blocks of work that are deep enough.
    pub(super) fn waiting(&self) -> u64 {
        match self.parts.chain.subject() {
            Subject::NextBlock => self.parts.pending.count(),
            Subject::FinalBlock { depth } => {
                let ripe = self.height.get().saturating_sub(depth.into());
                ripe.saturating_sub(self.executed.get())
            }
        }
    }

    /// How long the first of them has waited.
    pub(super) fn longest_wait(&self) -> Option<Duration> {
        match self.parts.chain.subject() {
            Subject::NextBlock => self.parts.pending.oldest().map(|(_, since)| since.elapsed()),
            Subject::FinalBlock { .. } => self.ripe_since.as_ref().map(Instant::elapsed),
        }
    }

    fn note_ripe(&mut self) {
        self.ripe_since = match self.waiting() {
            0 => None,
            _ => self.ripe_since.or_else(|| Some(Instant::now())),
        };
    }

    /// Gets the certificate of a tip that sync brought. Of many in a row, the last will do.
    fn fetch_certificate(&mut self) {
        let (sequence, digest) = self.tip;
        if self.is_fetching || sequence <= self.executed {
            return;
        }
        self.is_fetching = true;
        let (chain, events) = (self.parts.chain.clone(), self.parts.events.clone());
        tokio::spawn(async move {
            let mut backoff = backoff();
            while !events.is_closed() {
                match chain.certificate(digest).await {
                    Ok(certificate) => {
                        // Nobody listens any more at the end of the service.
                        events.send(Event::Certificate { certificate }).await.ok();
                        return;
                    }
                    Err(error) => tracing::debug!(%error, "no certificate of the tip"),
                }
                backoff.pause().await;
            }
        });
    }

    /// A certified block is durable in the chain.
    fn on_final(
        &mut self,
        certificate: CommitCertificate,
        body_len: Option<usize>,
        outputs: &mut Vec<Output>,
    ) {
        let (sequence, digest) = (certificate.sequence, certificate.digest);
        if sequence <= self.executed {
            return;
        }
        self.executed = sequence;
        self.executing.retain(|above, _| *above > sequence);
        if let Some((connect, finality)) = self.rounds.end(sequence) {
            self.parts.metrics.on_phase(connect);
            self.parts.metrics.on_finality(finality, connect.trace);
        }
        let now = Instant::now();
        let previous = self.progress_at.replace(now);
        self.parts.metrics.on_final(sequence, unix_seconds(), previous);
        self.deadlines.restart_heartbeat();
        self.ripe_since = None;
        self.note_ripe();
        let gathering = match self.parts.chain.subject() {
            Subject::NextBlock => self.parts.pending.count(),
            Subject::FinalBlock { .. } => 0,
        };
        self.proposing.on_block(&self.parts.pbft, gathering);
        self.step(Input::Executed { sequence, digest, certificate }, outputs);
        self.ask_for_root();
        self.tell_pending(outputs);
        let is_own = self.parts.chain.subject() == Subject::NextBlock;
        if let Some(length) = body_len.filter(|_| is_own) {
            self.watch_primary(length, outputs);
        }
    }

    /// Tells the core whether anything waits, when that changed.
    pub(super) fn tell_pending(&mut self, outputs: &mut Vec<Output>) {
        let waiting = self.waiting();
        self.parts.metrics.set_waiting(waiting);
        let is_pending = waiting > 0 || self.proposing.is_heartbeat();
        if is_pending != self.told_pending {
            self.told_pending = is_pending;
            self.step(Input::Pending(is_pending), outputs);
        }
    }

    /// Leaves a primary that censors (attacks 3, 4).
    fn watch_primary(&mut self, body_len: usize, outputs: &mut Vec<Output>) {
        let room = self.parts.block_bytes_max.saturating_sub(body_len);
        let has_room = room >= self.parts.transaction_bytes_max;
        let patience = millis(self.parts.pbft.view_timeout_ms);
        let pending = &self.parts.pending;
        if self.censorship.observe(pending, self.view_since, patience, has_room) {
            let view = self.view;
            tracing::warn!(%view, "a transaction stays out of blocks that have room for it");
            self.parts.metrics.on_suspect();
            self.leaves_for = Some(Cause::Censorship);
            self.step(Input::Suspect { view }, outputs);
        }
    }

    /// Another view, another primary.
    pub(super) fn note_view(&mut self) {
        let view = self.core.status().view;
        let cause = self.leaves_for.take().unwrap_or(Cause::Others);
        if view != self.view {
            self.parts.metrics.on_view_left(cause, unix_seconds());
            tracing::info!(from = %self.view, to = %view, "view change");
            self.view = view;
            self.view_since = Instant::now();
            self.censorship.forgive();
            self.parts.metrics.on_view(view);
        }
    }
}

fn unix_seconds() -> i64 {
    i64::try_from(since_1970().as_secs()).unwrap_or(i64::MAX)
}

pub(super) fn millis(count: u32) -> Duration {
    Duration::from_millis(count.into())
}
