//! Does what the sync machine wants.

use pentad_primitives::BlockHash;
use pentad_service_kit::telemetry::TraceContext;
use pentad_wire::handshake::Reason;
use pentad_wire::sync::{HeaderBatch, Input, Outcome, Output};
use pentad_wire::{Class, PeerId};
use tokio::task::{self, JoinError};

use super::{Event, Hub};
use crate::chain::BlockItem;
use crate::message::{LOCATOR_MAX, Message};
use crate::trace;

impl Hub {
    /// Lets the sync machine take a step and does what it says, in order.
    pub(super) fn step(&mut self, input: Input) {
        for output in self.sync.step(self.now(), input) {
            self.execute(output);
        }
    }

    fn execute(&mut self, output: Output) {
        match output {
            Output::RequestHeaders { peer, after } => self.request_headers(peer, after),
            Output::CheckHeaders { peer, batch } => self.check_headers(Some(peer), batch),
            Output::RefreshWanted => self.check_headers(None, HeaderBatch::default()),
            Output::RequestBlocks { peer, hashes } => {
                self.send(peer, Class::Announcements, &Message::GetBlocks(hashes));
            }
            Output::Connect { peer, hash, body } => {
                let trace = TraceContext::current();
                let item = BlockItem { peer, hash, body, trace };
                if self.parts.blocks.push(item).is_err() {
                    // As if it had come too early: it is asked for again.
                    let outcome = Outcome::Orphan;
                    self.step(Input::Answered { peer, hash, outcome });
                }
            }
            Output::Penalize { peer, offence } => self.penalize(peer, offence),
            Output::Leave { peer } => {
                self.close(peer, Reason::TooSlow, "it does not answer");
            }
        }
    }

    /// A question to the chain service is done. One that panicked has no answer.
    pub(super) fn on_called(&mut self, done: Result<(task::Id, Event), JoinError>) {
        match done {
            Ok((id, event)) => {
                self.failures.remove(&id);
                self.on_event(event);
            }
            Err(error) => {
                tracing::error!(%error, "a question to the chain service failed");
                if let Some(event) = self.failures.remove(&error.id()) {
                    self.on_event(event);
                }
            }
        }
    }

    /// Asks the chain service something; `failure` is what it comes to if the question panics.
    pub(super) fn call(
        &mut self,
        failure: Event,
        call: impl Future<Output = Event> + Send + 'static,
    ) {
        let id = self.calls.spawn(call).id();
        self.failures.insert(id, failure);
    }

    /// Asks the chain service for a locator and the peer for headers after it.
    fn request_headers(&mut self, id: PeerId, after: Option<BlockHash>) {
        let Some(peer) = self.peers.get(&id) else {
            return;
        };
        let (chain, outbox) = (self.parts.local.chain.clone(), peer.outbox.clone());
        let context = trace::current();
        let failed = move || Event::HeadersChecked { peer: Some(id), report: None };
        self.call(failed(), async move {
            let locator = match chain.locator().await {
                Ok(locator) => after.into_iter().chain(locator).take(LOCATOR_MAX).collect(),
                Err(error) => {
                    tracing::debug!(%error, "no locator");
                    return failed();
                }
            };
            let message = Message::GetHeaders { locator, stop: None };
            let Ok(frame) = message.to_frame(context).encode() else {
                return failed();
            };
            match outbox.push(Class::Announcements, frame) {
                Ok(()) => Event::Done,
                Err(_) => failed(),
            }
        });
    }

    fn check_headers(&mut self, peer: Option<PeerId>, batch: HeaderBatch) {
        let chain = self.parts.local.chain.clone();
        self.call(Event::HeadersChecked { peer, report: None }, async move {
            let report = match chain.check_headers(batch).await {
                Ok(report) => Some(report),
                Err(error) => {
                    tracing::debug!(%error, "headers not checked");
                    None
                }
            };
            Event::HeadersChecked { peer, report }
        });
    }
}
