//! Adversaries that propose and vote what they must not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pentad_pbft::{
    Message, Phase, PrePrepare, Recipient, ReplicaId, Sequence, SignedPrePrepare, View, Vote,
};
use pentad_primitives::encode::Decode as _;
use pentad_primitives::{BlockHeader, Hash256};

use super::recipients;
use crate::adversary::{Adversary, Forge, Parcel};
use crate::hybrid::{Chain, digest};
use crate::ledger::{Block, INVALID, digest_of};

/// Proposes two blocks, one to each half of the others, and votes for both of every two.
#[derive(Debug, Default)]
pub struct Equivocator {
    /// The second block of each of its proposals, and what others proposed.
    known: BTreeMap<(View, Sequence), Vec<Hash256>>,
    /// Whom it gave its votes: once each, or two of its kind would talk for ever.
    served: BTreeSet<(View, Sequence, Hash256, Option<ReplicaId>)>,
}

/// Views and sequences that it remembers.
const KNOWN_MAX: usize = 64;
/// Votes that it remembers to have given.
const SERVED_MAX: usize = 1_000;

impl Equivocator {
    fn note(&mut self, view: View, sequence: Sequence, digest: Hash256) {
        let digests = self.known.entry((view, sequence)).or_default();
        if !digests.contains(&digest) && digests.len() < 3 {
            digests.push(digest);
        }
        if self.known.len() > KNOWN_MAX {
            self.known.pop_first();
        }
    }

    fn split(&mut self, forge: &mut Forge<'_>, to: Recipient, first: &PrePrepare) -> Vec<Parcel> {
        let second = other_block(forge, first);
        let signed = &first.signed;
        let is_repeated = self.known.contains_key(&(signed.view, signed.sequence));
        self.note(signed.view, signed.sequence, signed.digest);
        self.note(signed.view, signed.sequence, second.signed.digest);
        recipients(forge, to)
            .into_iter()
            .map(|replica| {
                // Who is asked again may have forgotten what it answered.
                let half = replica.get() % 2 == 0;
                let is_first = if is_repeated { forge.rng.chance(500) } else { half };
                let block = if is_first { first } else { &second };
                Parcel::new(Recipient::One(replica), Message::PrePrepare(block.clone()))
            })
            .collect()
    }

    fn vote_for_all(&self, forge: &Forge<'_>, phase: Phase, vote: &Vote) -> Vec<Parcel> {
        let mut digests = self.known.get(&(vote.view, vote.sequence)).cloned().unwrap_or_default();
        if digests.len() < 2 {
            digests.push(digest_of(vote.digest.as_bytes()));
        }
        digests
            .into_iter()
            .map(|digest| {
                let vote = Vote::sign(&forge.credentials, phase, vote.view, vote.sequence, digest);
                let message = match phase {
                    Phase::Prepare => Message::Prepare(vote),
                    Phase::Commit => Message::Commit(vote),
                };
                Parcel::new(Recipient::All, message)
            })
            .collect()
    }
}

/// The same proposal at a later time: as valid, and another block. Where work makes the blocks,
/// one of another branch, or one that nobody found.
fn other_block(forge: &Forge<'_>, first: &PrePrepare) -> PrePrepare {
    match forge.chain {
        None => altered(forge, first, |block| block.time_ms += 1),
        Some(chain) => {
            let rival = chain.rival(first.signed.digest);
            rival.map_or_else(|| unfound(forge, first), |rival| headed(forge, first, &rival))
        }
    }
}

/// A header like the one proposed, without its work.
fn unfound(forge: &Forge<'_>, first: &PrePrepare) -> PrePrepare {
    match BlockHeader::from_bytes(&first.body) {
        Ok(header) => headed(forge, first, &BlockHeader { version: 2, ..header }),
        Err(_) => first.clone(),
    }
}

/// A proposal of a block of work in the place of the first.
fn headed(forge: &Forge<'_>, first: &PrePrepare, header: &BlockHeader) -> PrePrepare {
    let SignedPrePrepare { view, sequence, .. } = first.signed;
    let (digest, parent) = (digest(header.block_hash()), digest(header.prev_block_hash));
    let signed = SignedPrePrepare::sign(&forge.credentials, view, sequence, digest, parent);
    PrePrepare { signed, body: Arc::from(header.to_array()) }
}

fn altered(forge: &Forge<'_>, first: &PrePrepare, alter: impl Fn(&mut Block)) -> PrePrepare {
    let Some(mut block) = Block::decode(&first.body) else {
        return first.clone();
    };
    alter(&mut block);
    let body: Arc<[u8]> = block.encode();
    let SignedPrePrepare { view, sequence, parent, .. } = first.signed;
    let digest = digest_of(&body);
    let signed = SignedPrePrepare::sign(&forge.credentials, view, sequence, digest, parent);
    PrePrepare { signed, body }
}

impl Adversary for Equivocator {
    fn outgoing(&mut self, forge: &mut Forge<'_>, to: Recipient, message: Message) -> Vec<Parcel> {
        let mut parcels = match &message {
            Message::PrePrepare(first) if first.signed.sender == forge.credentials.own => {
                return self.split(forge, to, first);
            }
            Message::Prepare(vote) => self.vote_for_all(forge, Phase::Prepare, vote),
            Message::Commit(vote) => self.vote_for_all(forge, Phase::Commit, vote),
            _ => Vec::new(),
        };
        parcels.push(Parcel::new(to, message));
        parcels
    }

    fn incoming(&mut self, forge: &mut Forge<'_>, message: &Message) -> Vec<Parcel> {
        let (view, sequence, digest) = match message {
            Message::PrePrepare(it) => (it.signed.view, it.signed.sequence, it.signed.digest),
            Message::Prepare(it) | Message::Commit(it) => (it.view, it.sequence, it.digest),
            _ => return Vec::new(),
        };
        self.note(view, sequence, digest);
        if !self.served.insert((view, sequence, digest, message.sender())) {
            return Vec::new();
        }
        if self.served.len() > SERVED_MAX {
            self.served.pop_first();
        }
        // Whoever votes for anything gets both votes for it.
        let to = message.sender().map_or(Recipient::All, Recipient::One);
        [Phase::Prepare, Phase::Commit]
            .into_iter()
            .filter(|_| forge.rng.chance(500))
            .map(|phase| {
                let vote = Vote::sign(&forge.credentials, phase, view, sequence, digest);
                let message = match phase {
                    Phase::Prepare => Message::Prepare(vote),
                    Phase::Commit => Message::Commit(vote),
                };
                Parcel::new(to, message)
            })
            .collect()
    }
}

/// Tells everybody what it likes to hear: one block to each half, and to whoever votes, both votes
/// for that block.
#[derive(Debug, Default)]
pub struct Colluder {
    equivocator: Equivocator,
}

impl Adversary for Colluder {
    fn outgoing(&mut self, forge: &mut Forge<'_>, to: Recipient, message: Message) -> Vec<Parcel> {
        match &message {
            Message::PrePrepare(first) if first.signed.sender == forge.credentials.own => {
                self.equivocator.split(forge, to, first)
            }
            Message::Prepare(_) | Message::Commit(_) => Vec::new(),
            _ => vec![Parcel::new(to, message)],
        }
    }

    fn incoming(&mut self, forge: &mut Forge<'_>, message: &Message) -> Vec<Parcel> {
        let Message::Prepare(vote) = message else {
            return Vec::new();
        };
        let (view, sequence, digest) = (vote.view, vote.sequence, vote.digest);
        if !self.equivocator.served.insert((view, sequence, digest, Some(vote.sender))) {
            return Vec::new();
        }
        let own = &forge.credentials;
        let to = Recipient::One(vote.sender);
        let prepare = Vote::sign(own, Phase::Prepare, view, sequence, digest);
        let commit = Vote::sign(own, Phase::Commit, view, sequence, digest);
        vec![Parcel::new(to, Message::Prepare(prepare)), Parcel::new(to, Message::Commit(commit))]
    }
}

/// A block of work that must not be made final: its tip, one of another branch, one that nobody
/// found, or the tip as if it stood on the last final block.
fn wrong_block(forge: &Forge<'_>, first: &PrePrepare, kind: u64) -> PrePrepare {
    match (kind, forge.chain.and_then(Chain::tip_header)) {
        (0, Some(tip)) => headed(forge, first, &tip),
        (1, Some(tip)) => {
            let parent = first.signed.parent;
            headed(forge, first, &BlockHeader { prev_block_hash: parent.into(), ..tip })
        }
        (2, _) => other_block(forge, first),
        _ => unfound(forge, first),
    }
}

/// Proposes invalid blocks only.
#[derive(Debug)]
pub struct InvalidProposer;

impl Adversary for InvalidProposer {
    fn outgoing(&mut self, forge: &mut Forge<'_>, to: Recipient, message: Message) -> Vec<Parcel> {
        match &message {
            Message::PrePrepare(first) if first.signed.sender == forge.credentials.own => {
                let kind = forge.rng.below(4);
                let wrong = if forge.chain.is_some() {
                    wrong_block(forge, first, kind)
                } else {
                    altered(forge, first, |block| match kind {
                        0 => block.transactions.push(INVALID | 1),
                        1 => block.proposer = u16::MAX,
                        2 => block.height += 1,
                        _ => block.time_ms = i64::MAX / 2,
                    })
                };
                vec![Parcel::new(to, Message::PrePrepare(wrong))]
            }
            _ => vec![Parcel::new(to, message)],
        }
    }
}
