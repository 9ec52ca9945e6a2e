//! Adversaries that sign wrongly, or say what is not so about their state.

use pentad_pbft::{
    Checkpoint, CommitCertificate, Credentials, Domain, Message, Phase, Recipient, ReplicaId,
    Sequence, SignedPrePrepare, View, Vote,
};
use pentad_primitives::{Hash256, sha256d};

use crate::adversary::{Adversary, Forge, Parcel};
use crate::keys::{SimulatedKeys, forged_signature};

/// Replays signatures as other kinds, in other domains and under other names, and votes where it
/// has no vote.
#[derive(Debug)]
pub struct Forger;

impl Adversary for Forger {
    fn incoming(&mut self, forge: &mut Forge<'_>, message: &Message) -> Vec<Parcel> {
        let forged = match message {
            // A PREPARE is not a COMMIT, nor the other way round.
            Message::Prepare(vote) => {
                vec![Message::Commit(*vote), renamed(forge, Phase::Prepare, vote)]
            }
            Message::Commit(vote) => vec![
                Message::Prepare(*vote),
                renamed(forge, Phase::Commit, vote),
                huge(forge, vote),
            ],
            Message::PrePrepare(proposal) => {
                let of_other_chain = in_other_domain(forge, &proposal.signed);
                let mut usurped = proposal.clone();
                let SignedPrePrepare { view, sequence, digest, parent, .. } = proposal.signed;
                usurped.signed =
                    SignedPrePrepare::sign(&forge.credentials, view, sequence, digest, parent);
                vec![of_other_chain, Message::PrePrepare(usurped)]
            }
            Message::ViewChange(vote) => {
                let mut renamed = vote.clone();
                renamed.sender = forge.credentials.own;
                vec![Message::ViewChange(renamed)]
            }
            _ => Vec::new(),
        };
        forged.into_iter().map(|message| Parcel::new(Recipient::All, message)).collect()
    }
}

/// A vote in the name of everybody's next, signed by nobody or by the forger.
fn renamed(forge: &mut Forge<'_>, phase: Phase, vote: &Vote) -> Message {
    let others = forge.others();
    let victim = *forge.rng.pick(&others);
    let own = Vote::sign(&forge.credentials, phase, vote.view, vote.sequence, vote.digest);
    let signature = if forge.rng.chance(500) { own.signature } else { forged_signature() };
    let vote = Vote { sender: victim, signature, ..*vote };
    match phase {
        Phase::Prepare => Message::Prepare(vote),
        Phase::Commit => Message::Commit(vote),
    }
}

/// A well-signed COMMIT far outside of the watermarks, each time for another sequence.
fn huge(forge: &mut Forge<'_>, vote: &Vote) -> Message {
    let sequence = Sequence::new(forge.rng.next_u64());
    let view = View::new(forge.rng.next_u64());
    Message::Commit(Vote::sign(&forge.credentials, Phase::Commit, view, sequence, vote.digest))
}

/// A vote for a proposal, signed for another chain or another validator set.
fn in_other_domain(forge: &mut Forge<'_>, proposal: &SignedPrePrepare) -> Message {
    let own = &forge.credentials;
    let mut domain: Domain = own.domain;
    if forge.rng.chance(500) {
        domain.chain = sha256d(b"another chain");
    } else {
        domain.validators = sha256d(b"another set");
    }
    let elsewhere: Credentials<SimulatedKeys> = Credentials { domain, ..own.clone() };
    let (view, sequence, digest) = (proposal.view, proposal.sequence, proposal.digest);
    Message::Prepare(Vote::sign(&elsewhere, Phase::Prepare, view, sequence, digest))
}

/// A commit certificate that nobody signed.
#[must_use]
pub fn false_certificate(sequence: Sequence, digest: Hash256, signers: u16) -> CommitCertificate {
    let signatures =
        (0..signers).map(|signer| (ReplicaId::new(signer), forged_signature())).collect();
    CommitCertificate { view: View::ZERO, sequence, digest, signatures }
}

/// States a false root at each checkpoint, and true ones too.
#[derive(Debug)]
pub struct CheckpointLiar;

impl Adversary for CheckpointLiar {
    fn outgoing(&mut self, forge: &mut Forge<'_>, to: Recipient, message: Message) -> Vec<Parcel> {
        let Message::Checkpoint(honest) = &message else {
            return vec![Parcel::new(to, message)];
        };
        let root = sha256d(honest.root.as_bytes());
        let lie = |sequence| {
            let own = &forge.credentials;
            let lie = Checkpoint::sign(own, sequence, honest.digest, root);
            Parcel::new(to, Message::Checkpoint(lie))
        };
        vec![lie(honest.sequence), lie(honest.sequence.plus(1)), lie(Sequence::new(u64::MAX))]
    }
}
