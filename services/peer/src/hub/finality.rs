//! Certificates that make blocks of work final: from the chain service to peers, and back.

use bytes::Bytes;
use pentad_primitives::BlockHeight;
use pentad_wire::finality::{Check, Finality, Outcome};
use pentad_wire::handshake::Claim;
use pentad_wire::sync::Input;
use pentad_wire::{Class, Offence, PeerId};

use super::{Event, Hub};
use crate::message::Message;
use crate::trace;

/// What is final, and what is to be asked about it.
#[derive(Debug)]
pub(super) struct Certificates {
    pub(super) machine: Finality,
    /// The chain service is to be asked for the last final block.
    is_due: bool,
    is_asked: bool,
}

impl Certificates {
    /// At start; `own` is this node's tip.
    pub(super) fn new(own: &Claim) -> Self {
        // The certificate is asked for once the stream of tips tells what is final.
        let mut machine = Finality::new();
        machine.on_final(own.final_height.unwrap_or(BlockHeight::GENESIS), Bytes::new());
        Self { machine, is_due: false, is_asked: false }
    }
}

impl Hub {
    /// Whether validators make blocks of work final here. Elsewhere no certificate travels alone.
    pub(super) fn is_hybrid(&self) -> bool {
        self.own().final_height.is_some()
    }

    /// More is final than was. One question at a time: a node that catches up has thousands.
    pub(super) fn ask_finality(&mut self) {
        if !self.is_hybrid() {
            return;
        }
        self.certificates.is_due = true;
        self.ask_finality_if_due();
    }

    pub(super) fn ask_finality_if_due(&mut self) {
        if !self.certificates.is_due || self.certificates.is_asked {
            return;
        }
        (self.certificates.is_due, self.certificates.is_asked) = (false, true);
        let chain = self.parts.local.chain.clone();
        self.call(Event::FinalityRead(None), async move {
            match chain.finality().await {
                Ok(last_final) => Event::FinalityRead(Some(last_final)),
                Err(error) => {
                    tracing::debug!(%error, "what is final is not told");
                    Event::FinalityRead(None)
                }
            }
        });
    }

    pub(super) fn on_finality(&mut self, read: Option<(BlockHeight, Bytes)>) {
        self.certificates.is_asked = false;
        let Some((height, certificate)) = read else {
            // The next tick asks again.
            self.certificates.is_due = true;
            return;
        };
        self.certificates.machine.on_final(height, certificate);
        let claim = Claim { final_height: Some(height), ..self.own() };
        self.parts.claim.send_replace(claim);
        self.step(Input::Tip { claim });
        self.ask_finality_if_due();
    }

    /// A peer sent a certificate.
    pub(super) fn on_certificate(&mut self, peer: PeerId, height: BlockHeight, certificate: Bytes) {
        if !self.is_hybrid() {
            return;
        }
        if !self.certificates.machine.on_certificate(peer, height, certificate) {
            self.parts.metrics.certificates.stale();
        }
        self.check_certificates();
    }

    /// Hands the next certificate to the chain service.
    pub(super) fn check_certificates(&mut self) {
        let now = self.now();
        let Some(check) = self.certificates.machine.next_check(now) else {
            return;
        };
        let chain = self.parts.local.chain.clone();
        self.call(Event::CertificateChecked(Outcome::Failed), async move {
            Event::CertificateChecked(match chain.finalise(check.certificate).await {
                Ok(outcome) => outcome,
                Err(error) => {
                    tracing::debug!(%error, "a certificate is not checked");
                    Outcome::Failed
                }
            })
        });
    }

    pub(super) fn on_certificate_checked(&mut self, outcome: Outcome) {
        self.parts.metrics.certificates.received(outcome);
        let Some(Check { peer, height, .. }) = self.certificates.machine.on_checked(outcome) else {
            return;
        };
        tracing::debug!(%peer, %height, ?outcome, "certificate");
        match outcome {
            // The stream of tips tells; from there it is told on.
            Outcome::Final | Outcome::AlreadyFinal => {}
            Outcome::Awaited => self.step(Input::Awaited { peer }),
            Outcome::Refused(score) => self.penalize(peer, Offence::Refused(score)),
            // The next tick tries again.
            Outcome::Failed => return,
        }
        self.check_certificates();
    }

    /// Tells what is final here to the peers that do not know it.
    pub(super) fn announce_finality(&mut self) {
        let now = self.now();
        let is_ready =
            |id: &PeerId| self.peers.get(id).is_some_and(|it| it.has_room(Class::Announcements));
        let due = self.certificates.machine.to_be_told(now).into_iter().filter(is_ready);
        let due: Vec<PeerId> = due.collect();
        if due.is_empty() {
            return;
        }
        let (height, certificate) = self.certificates.machine.certificate();
        let message = Message::Certificate { height, certificate: certificate.clone() };
        // Encoded once: all peers share the bytes.
        let frame = match message.to_frame(trace::current()).encode() {
            Ok(frame) => frame,
            Err(error) => {
                tracing::error!(%error, %height, "a certificate that no frame can carry");
                return;
            }
        };
        for id in due {
            self.certificates.machine.on_told(id, now);
            self.parts.metrics.certificates.sent();
            let sent =
                self.peers.get(&id).map(|it| it.send_frame(Class::Announcements, frame.clone()));
            if let Some(outcome) = sent {
                self.on_sent(id, outcome);
            }
        }
    }
}
