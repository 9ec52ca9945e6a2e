//! Headers: which peer to ask, and what its answers prove.

use std::time::Duration;

use pentad_primitives::BlockHash;
use pentad_primitives::hash::sha256d;

use super::source::Headers;
use super::{
    ANNOUNCED_MAX, HEADERS_MAX, HeaderBatch, HeaderReport, Output, Refresh, Sync, WANTED_MAX,
};
use crate::{Direction, Offence, PeerId};

/// Full batches from one peer, 400,000 headers, that may lead to no more work than was known: a
/// longer side branch is not worth its space.
const IDLE_BATCHES_MAX: u32 = 200;

/// Full batches that may lead to no more work before another peer is asked as well.
const PATIENT_BATCHES_MAX: u32 = 4;

impl Sync {
    pub(super) fn on_headers(
        &mut self,
        peer: PeerId,
        batch: HeaderBatch,
        outputs: &mut Vec<Output>,
    ) {
        let Some(source) = self.sources.get_mut(&peer) else {
            return;
        };
        let (claimed, limit) = match source.headers {
            Headers::Asked { claimed, .. } => (Some(claimed), HEADERS_MAX),
            Headers::Idle => (None, ANNOUNCED_MAX),
            Headers::Checking { .. } => (None, 0),
        };
        let headers = &batch.headers;
        if headers.len() > limit {
            outputs.push(Output::Penalize { peer, offence: Offence::UnaskedHeaders });
            return;
        }
        if headers.is_empty() && claimed.is_none() {
            return;
        }
        let last = headers.last().map(|last| BlockHash::from(sha256d(last)));
        source.headers = Headers::Checking { count: headers.len(), last, claimed };
        // Without headers too: only the chain service knows what is here by now.
        outputs.push(Output::CheckHeaders { peer, batch });
    }

    pub(super) fn on_checked(
        &mut self,
        now: Duration,
        peer: Option<PeerId>,
        report: HeaderReport,
        outputs: &mut Vec<Output>,
    ) {
        let improved = report.best_work > self.best_work;
        // Its word counts, even where it takes something back: a branch turned out invalid, or it
        // restarted and forgot headers.
        self.best_work = report.best_work.max(self.own.work);
        self.best_height = report.best_height.max(self.own.height);
        if peer.is_none() {
            self.refresh = Refresh::Idle;
        }
        self.take_wanted(&report.wanted);

        let Some(peer) = peer else { return };
        let Some(source) = self.sources.get_mut(&peer) else {
            return;
        };
        let Headers::Checking { count, last, claimed } = source.headers else {
            return;
        };
        source.headers = Headers::Idle;
        source.idle_batches = if improved { 0 } else { source.idle_batches.saturating_add(1) };
        let is_last = report.accepted < count || count < HEADERS_MAX;
        if report.is_below_finality {
            source.idle_batches = 0;
            source.on_outdated();
            return;
        }
        let offence = if let Some(score) = report.misbehavior {
            Some(Offence::Refused(score))
        } else if is_last {
            // Now its claim can be judged.
            source.idle_batches = 0;
            source.on_heard();
            claimed.filter(|work| *work > self.best_work).map(|_| Offence::UnprovenWork)
        } else {
            (source.idle_batches > IDLE_BATCHES_MAX).then_some(Offence::EndlessHeaders)
        };
        if let Some(offence) = offence {
            match claimed {
                // The sender may be honest: this node's clock is behind, or the chain service has
                // lost the headers before these.
                _ if offence.score() == 0 => source.rest(now),
                Some(work) => source.refute(work),
                None => {}
            }
            outputs.push(Output::Penalize { peer, offence });
        } else if !is_last {
            source.ask(now);
            outputs.push(Output::RequestHeaders { peer, after: last });
        }
    }

    fn take_wanted(&mut self, wanted: &[BlockHash]) {
        // What was connected while the answer was on its way is not asked for again.
        let connected = &self.connected;
        let missing = wanted.iter().filter(|hash| !connected.contains(hash.as_bytes())).copied();
        self.bodies.replace(missing, wanted.len() >= WANTED_MAX);
        if self.bodies.is_empty() && !wanted.is_empty() {
            // It did connect these and has lost them since. The next answer is taken as it is.
            self.connected.clear();
        }
    }

    /// The peer is not to blame; it is asked again after a while.
    pub(super) fn on_check_failed(&mut self, now: Duration, peer: Option<PeerId>) {
        match peer.and_then(|peer| self.sources.get_mut(&peer)) {
            Some(source) => {
                source.headers = Headers::Idle;
                source.on_miss(now);
            }
            // The next tick finds that nothing is asked for.
            None => self.refresh = Refresh::Idle,
        }
    }

    /// Asks the most promising peer for headers, unless one was asked a moment ago.
    pub(super) fn seek_headers(&mut self, now: Duration, outputs: &mut Vec<Output>) {
        let busy = self.sources.values().any(|source| match source.headers {
            _ if source.idle_batches > PATIENT_BATCHES_MAX => false,
            Headers::Asked { .. } => !source.is_slow(now),
            Headers::Checking { .. } => true,
            Headers::Idle => false,
        });
        if busy {
            return;
        }
        // Outbound first: this node chose them, so they are harder to flood with liars.
        let best = self
            .sources
            .iter_mut()
            .filter(|(_, source)| source.headers == Headers::Idle)
            .filter(|(_, source)| source.can_lead_beyond(&self.own, self.best_work, now))
            .max_by_key(|(_, source)| (source.direction == Direction::Outbound, source.claim.work));
        if let Some((peer, source)) = best {
            source.ask(now);
            outputs.push(Output::RequestHeaders { peer: *peer, after: None });
        }
    }

    /// A certificate waits for its block: its sender's headers lead there, and what they lead to is
    /// wanted, whatever its work.
    pub(super) fn on_awaited(&mut self, now: Duration, peer: PeerId, outputs: &mut Vec<Output>) {
        self.is_awaiting = true;
        // Headers that are being checked may have been before it came.
        self.refresh = Refresh::Due;
        if let Some(source) = self.sources.get_mut(&peer) {
            source.forget_outdated();
        }
        self.follow(now, peer, outputs);
    }

    /// A pushed block has no parent here: its sender's headers lead to it.
    pub(super) fn follow(&mut self, now: Duration, peer: PeerId, outputs: &mut Vec<Output>) {
        let Some(source) = self.sources.get_mut(&peer) else {
            return;
        };
        if source.headers == Headers::Idle && !source.is_outdated() {
            source.ask(now);
            outputs.push(Output::RequestHeaders { peer, after: None });
        }
    }
}
