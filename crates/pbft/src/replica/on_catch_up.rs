//! FETCH-BODY, BODY and CERTIFIED: what a replica missed within the window.

use super::Replica;
use crate::certificate::CommitCertificate;
use crate::event::Output;
use crate::evidence::{Evidence, HaltReason};
use crate::identifiers::Sequence;
use crate::keys::Keys;
use crate::message::{Body, Certified, FetchBody};

impl<K: Keys> Replica<K> {
    pub(super) fn on_fetch_body(&mut self, message: FetchBody) {
        self.help_with_body(message.sender, message.digest, &message);
    }

    /// Only what was asked for is taken.
    pub(super) fn on_body(&mut self, message: Body) {
        if self.fetching.remove(&message.digest).is_some() {
            for slot in self.slots.values_mut() {
                slot.keep_body(message.digest, &message.body);
            }
        }
    }

    pub(super) fn on_certified(&mut self, message: Certified) {
        let Certified { certificate, body } = message;
        let (sequence, digest) = (certificate.sequence, certificate.digest);
        if !self.is_learnable(&certificate) {
            return;
        }
        let is_known = self.slots.get(&sequence).is_some_and(|slot| {
            slot.certificate.as_ref().is_some_and(|known| known.digest == digest)
        });
        if !is_known {
            let credentials = &self.credentials;
            let (domain, quorum) = (&credentials.domain, credentials.quorum);
            if certificate.verify_with(domain, quorum, &credentials.keys).is_err() {
                return;
            }
            self.learn(certificate);
        }
        if let Some(slot) = self.slots.get_mut(&sequence) {
            slot.keep_body(digest, &body);
            self.fetching.remove(&digest);
        }
    }

    /// Whether a certificate is near enough to be of use: within the window, whatever the
    /// watermarks are, or a contradiction of what is executed.
    fn is_learnable(&self, certificate: &CommitCertificate) -> bool {
        let sequence = certificate.sequence;
        if let Some(executed) = self.executed_certificate(sequence) {
            return executed.digest != certificate.digest;
        }
        sequence > self.last.sequence
            && sequence <= self.last.sequence.plus(self.window.saturating_mul(2))
    }

    fn executed_certificate(&self, sequence: Sequence) -> Option<&CommitCertificate> {
        let last = self.last.certificate.as_ref().filter(|last| last.sequence == sequence);
        last.or_else(|| self.recent.get(&sequence).map(|block| &block.certificate))
    }

    /// Takes a certificate that was checked. Two for one sequence name one block, or more than f
    /// replicas are faulty: then this one stops before it makes things worse.
    pub(super) fn learn(&mut self, certificate: CommitCertificate) {
        if !self.is_learnable(&certificate) {
            return;
        }
        let sequence = certificate.sequence;
        let in_flight = self.slots.get(&sequence).and_then(|slot| slot.certificate.as_ref());
        let known = self.executed_certificate(sequence).or(in_flight).cloned();
        match known {
            Some(known) if known.digest != certificate.digest => {
                let (own, quorum) = (known.digest, certificate.digest);
                let evidence = Evidence::Fork { first: Some(known), second: certificate };
                self.emit(Output::Evidence(evidence));
                self.halt(HaltReason::DifferentBlock { sequence, own, quorum });
            }
            Some(_) => {}
            None => self.slots.entry(sequence).or_default().certificate = Some(certificate),
        }
    }
}
