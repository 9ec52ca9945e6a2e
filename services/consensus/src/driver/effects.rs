//! Doing what the core says.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use pentad_api::peer::v1::OutboundMessage;
use pentad_pbft::{CommitCertificate, Evidence, HaltReason, Message, Output, Recipient, Sequence};

use super::checking::Question;
use super::rounds::written;
use super::{Driver, DriverError, EVIDENCE_MAX, Executing, lock};
use crate::connect::FinalBlock;
use crate::safety::{Batch, Safety};
use crate::traces;

impl Driver {
    /// Makes durable what is to be, then does the rest in order. A record that a later output
    /// asks for may be durable earlier than that: it only binds the replica to what it is about
    /// to say.
    pub(super) async fn act(&mut self, outputs: Vec<Output>) -> Result<(), DriverError> {
        for output in &outputs {
            if let Some(phase) = self.rounds.on_output(output) {
                self.parts.metrics.on_phase(phase);
            }
        }
        let written = written(&outputs);
        let (batch, effects) = split(outputs);
        if !batch.is_empty() {
            let (started, began) = (Instant::now(), SystemTime::now());
            let commit = move |safety: &mut Safety| {
                let before = safety.fsyncs();
                safety.commit(&batch)?;
                Ok((safety.fsyncs() - before, safety.log_bytes()))
            };
            let (fsyncs, bytes) = self.write(commit).await?;
            let trace = self.rounds.on_durable(&written, began);
            self.parts.metrics.on_written(fsyncs, bytes, started.elapsed(), trace);
        }
        let messages = effects.iter().filter_map(|effect| match effect {
            Output::Send { message, .. } => Some(message),
            _ => None,
        });
        if lock(&self.parts.safety).before_send(messages)? {
            self.deadlines.guard_moved();
        }
        for effect in effects {
            self.act_one(effect);
        }
        self.note_view();
        Ok(())
    }

    fn act_one(&mut self, effect: Output) {
        match effect {
            // Durable by now.
            Output::Persist(_) | Output::Compact(_) => {}
            Output::Send { to, message } => self.send(to, &message),
            Output::Propose { view, sequence, parent } => self.on_wish(view, sequence, parent),
            Output::Check { view, sequence, digest, parent, body, proposer, is_first } => {
                self.on_question(Question {
                    view,
                    sequence,
                    digest,
                    parent,
                    body,
                    proposer,
                    is_first,
                });
            }
            Output::Execute { certificate, body } => self.on_execute(certificate, body),
            Output::SetTimer { timer, after_ms } => {
                self.deadlines.set(timer, Duration::from_millis(after_ms));
            }
            Output::CancelTimer(timer) => self.deadlines.cancel(timer),
            Output::Evidence(evidence) => self.on_evidence(evidence),
            Output::Halt(reason) => self.on_halt(&reason),
        }
    }

    fn send(&mut self, to: Recipient, message: &Message) {
        let link = match to {
            Recipient::All => Bytes::new(),
            Recipient::One(replica) => self.routes.link(replica),
        };
        let sequence = sequence(message);
        let span = sequence.and_then(|sequence| self.rounds.span(sequence));
        let traceparent = span.map(traces::parent).unwrap_or_default();
        let transaction_traces = match (message, sequence) {
            (Message::PrePrepare(_), Some(sequence)) => {
                self.rounds.trace(sequence).to_packed().into()
            }
            _ => Bytes::new(),
        };
        let payload = message.to_bytes().into();
        let message_out = OutboundMessage { payload, link, traceparent, transaction_traces };
        let dropped = self.parts.outbox.push(message_out);
        self.parts.metrics.on_sent(message.name(), dropped);
    }

    fn on_execute(&mut self, certificate: CommitCertificate, body: Arc<[u8]>) {
        let sequence = certificate.sequence;
        if sequence <= self.tip.0 {
            return; // the peer service brought it first
        }
        let executing = Executing { certificate: certificate.clone(), body_len: body.len() };
        self.executing.insert(sequence, executing);
        // The core has no more in flight than its window, so there is room; what is lost all the
        // same, the network's chain brings.
        let trace = self.rounds.trace(sequence);
        if self.parts.blocks.try_send(FinalBlock { certificate, body, trace }).is_err() {
            tracing::error!(%sequence, "no room for a final block");
        }
    }

    fn on_evidence(&mut self, evidence: Evidence) {
        let validator = evidence.against().map_or(-1, |replica| i32::from(replica.get()));
        tracing::warn!(validator, ?evidence, "evidence of a fault");
        self.parts.metrics.on_evidence();
        self.evidence.truncate(EVIDENCE_MAX - 1);
        self.evidence.push_front(evidence);
    }

    fn on_halt(&mut self, reason: &HaltReason) {
        tracing::error!(%reason, "this replica takes no part any more");
        self.parts.metrics.on_halt();
        self.parts.vitals.halt(&format!(
            "{reason}: start once with `store.reindex = true`; if that does not help, move the \
             chain's data away and let the node fetch it again"
        ));
    }
}

/// What must be durable, and what is to be done after that.
fn split(outputs: Vec<Output>) -> (Batch, Vec<Output>) {
    let (mut batch, mut effects) = (Batch::default(), Vec::with_capacity(outputs.len()));
    for output in outputs {
        match output {
            Output::Persist(record) => batch.persist(&record),
            Output::Compact(records) => batch.replace_by(&records),
            effect => effects.push(effect),
        }
    }
    (batch, effects)
}

/// The sequence in flight that a message is about.
fn sequence(message: &Message) -> Option<Sequence> {
    match message {
        Message::PrePrepare(proposal) => Some(proposal.signed.sequence),
        Message::Prepare(vote) | Message::Commit(vote) => Some(vote.sequence),
        _ => None,
    }
}
