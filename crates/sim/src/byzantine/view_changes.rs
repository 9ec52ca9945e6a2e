//! Adversaries that lie when views change.

use pentad_pbft::{
    Message, NewView, PreparedCertificate, Recipient, ReplicaId, SignedPrePrepare, Statement, View,
    ViewChange,
};
use pentad_primitives::sha256d;

use super::forger::false_certificate;
use crate::adversary::{Adversary, Forge, Parcel};
use crate::keys::forged_signature;

/// Changes views with forged certificates: of a block that is not final, or not prepared.
#[derive(Debug)]
pub struct FalseViewChange;

impl Adversary for FalseViewChange {
    fn outgoing(&mut self, forge: &mut Forge<'_>, to: Recipient, message: Message) -> Vec<Parcel> {
        match &message {
            Message::ViewChange(honest) => {
                let lie = false_view_change(forge, honest.view);
                vec![Parcel::new(to, Message::ViewChange(lie))]
            }
            _ => vec![Parcel::new(to, message)],
        }
    }

    fn plot(&mut self, forge: &mut Forge<'_>) -> Vec<Parcel> {
        let Some(view) = forge.status.as_ref().and_then(|status| status.view.next()) else {
            return Vec::new();
        };
        let lie = false_view_change(forge, view);
        vec![Parcel::new(Recipient::All, Message::ViewChange(lie))]
    }
}

/// A VIEW-CHANGE, well signed, in which one certificate is false: of one signer many times, or of
/// nobody.
#[must_use]
pub fn false_view_change(forge: &mut Forge<'_>, view: View) -> ViewChange {
    let last_final = forge.last_final();
    let base = last_final.as_ref().map_or(0, |certificate| certificate.sequence.get());
    let next = pentad_pbft::Sequence::new(base + 1);
    let digest = sha256d(b"a block that nobody saw");
    let signers = forge.credentials.quorum.replicas();
    if forge.rng.chance(300) {
        // Its own true signature, once for each replica that a quorum needs.
        let mut certificate = false_certificate(next, digest, signers);
        let statement = Statement::commit(certificate.view, next, digest);
        let own = (forge.credentials.own, forge.credentials.sign(&statement));
        certificate.signatures.fill(own);
        return ViewChange::sign(&forge.credentials, view, Some(certificate), Vec::new());
    }
    if forge.rng.chance(500) {
        let false_final = false_certificate(next, digest, signers);
        return ViewChange::sign(&forge.credentials, view, Some(false_final), Vec::new());
    }
    let earlier = View::new(view.get().saturating_sub(1));
    let parent = forge.final_block();
    let own = &forge.credentials;
    let mut pre_prepare = SignedPrePrepare::sign(own, earlier, next, digest, parent);
    pre_prepare.sender = own.quorum.primary(earlier);
    let prepares = (0..signers)
        .map(ReplicaId::new)
        .filter(|signer| *signer != pre_prepare.sender)
        .map(|signer| (signer, forged_signature()))
        .collect();
    let prepared = PreparedCertificate { pre_prepare, prepares };
    ViewChange::sign(own, view, last_final, vec![prepared])
}

/// Starts its views wrongly: VIEW-CHANGEs of one replica twice, O altered, omitted or invented.
#[derive(Debug)]
pub struct FalseNewView;

impl Adversary for FalseNewView {
    fn outgoing(&mut self, forge: &mut Forge<'_>, to: Recipient, message: Message) -> Vec<Parcel> {
        match &message {
            Message::NewView(honest) if honest.sender == forge.credentials.own => {
                let lie = match forge.rng.below(3) {
                    0 => duplicated(forge, honest),
                    1 => omitted(forge, honest),
                    _ => altered(forge, honest),
                };
                vec![Parcel::new(to, Message::NewView(lie))]
            }
            _ => vec![Parcel::new(to, message)],
        }
    }
}

/// Signs a NEW-VIEW as it stands, right or wrong.
fn signed(forge: &Forge<'_>, lie: NewView) -> NewView {
    let own = &forge.credentials;
    let signature = own.sign(&pentad_pbft::Signed::statement(&lie));
    NewView { signature, ..lie }
}

/// One replica's VIEW-CHANGE in the place of another's.
#[must_use]
pub fn duplicated(forge: &Forge<'_>, honest: &NewView) -> NewView {
    let mut lie = honest.clone();
    if let [first, second, ..] = lie.view_changes.as_mut_slice() {
        *second = first.clone();
    }
    signed(forge, lie)
}

/// Without the blocks that were prepared.
#[must_use]
pub fn omitted(forge: &Forge<'_>, honest: &NewView) -> NewView {
    let lie = NewView { proposals: Vec::new(), ..honest.clone() };
    if honest.proposals.is_empty() { altered(forge, honest) } else { signed(forge, lie) }
}

/// With another block in the first place, or an invented one where there should be none.
#[must_use]
pub fn altered(forge: &Forge<'_>, honest: &NewView) -> NewView {
    let mut lie = honest.clone();
    let digest = sha256d(b"a block that nobody prepared");
    let sequence = honest.base_sequence().plus(1);
    let parent = lie.proposals.first().map_or_else(|| forge.final_block(), |first| first.parent);
    let own = &forge.credentials;
    let invented = SignedPrePrepare::sign(own, honest.view, sequence, digest, parent);
    lie.proposals.truncate(0);
    lie.proposals.push(invented);
    signed(forge, lie)
}

/// Asks for new views all the time, as an honest replica might ask once.
#[derive(Debug)]
pub struct Stormer {
    pub views_ahead: u64,
}

impl Adversary for Stormer {
    fn plot(&mut self, forge: &mut Forge<'_>) -> Vec<Parcel> {
        let now = forge.status.as_ref().map_or(0, |status| status.view.get());
        (1..=self.views_ahead)
            .map(|ahead| {
                let view = View::new(now + ahead);
                let last_final = forge.last_final();
                let storm = ViewChange::sign(&forge.credentials, view, last_final, Vec::new());
                Parcel::new(Recipient::All, Message::ViewChange(storm))
            })
            .collect()
    }
}
