//! Everything of use that one faulty replica can say, given what the honest ones said.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pentad_pbft::{
    Credentials, Message, NewView, Phase, PrePrepare, PreparedCertificate, ReplicaId, Sequence,
    Signature, SignedPrePrepare, View, ViewChange, Vote,
};
use pentad_primitives::Hash256;

use super::local::{block_of, config, keys_of};
use super::tables::Post;
use super::{REPLICAS, Scope};
use crate::keys::SimulatedKeys;
use crate::ledger::{Block, digest_of, genesis_digest};

/// What the honest ones said, taken apart.
#[derive(Default)]
struct Heard {
    proposals: BTreeSet<PrePrepare>,
    prepares: BTreeMap<(View, Sequence, Hash256), BTreeMap<ReplicaId, Signature>>,
    view_changes: BTreeMap<View, BTreeSet<ViewChange>>,
}

impl Heard {
    fn of(posts: &[Arc<Post>]) -> Self {
        let mut heard = Self::default();
        for post in posts {
            match &post.message {
                Message::PrePrepare(proposal) => {
                    heard.proposals.insert(proposal.clone());
                }
                Message::Prepare(vote) => {
                    let key = (vote.view, vote.sequence, vote.digest);
                    heard.prepares.entry(key).or_default().insert(vote.sender, vote.signature);
                }
                Message::ViewChange(message) => {
                    heard.view_changes.entry(message.view).or_default().insert(message.clone());
                }
                _ => {}
            }
        }
        heard
    }
}

/// Two proposals in each view that it leads, both votes for every block, VIEW-CHANGEs with and
/// without what is prepared, NEW-VIEWs from every quorum of VIEW-CHANGEs.
pub fn sayable(scope: &Scope, faulty: usize, posts: &[Arc<Post>]) -> Vec<Post> {
    let config = config(scope, faulty);
    let own = Credentials {
        own: config.own,
        domain: config.domain,
        quorum: config.quorum,
        keys: keys_of(faulty),
    };
    let mut heard = Heard::of(posts);
    let mut said = Vec::new();
    let first = Sequence::new(1);
    for view in (0..=scope.last_view).map(View::new) {
        if own.quorum.primary(view) == own.own {
            for proposal in two_proposals(&own, view, first) {
                heard.proposals.insert(proposal.clone());
                said.push(Message::PrePrepare(proposal));
            }
        }
    }
    for proposal in heard.proposals.clone() {
        let SignedPrePrepare { sequence, digest, .. } = proposal.signed;
        for view in (proposal.signed.view.get()..=scope.last_view).map(View::new) {
            if own.quorum.primary(view) != own.own {
                let vote = Vote::sign(&own, Phase::Prepare, view, sequence, digest);
                let key = (view, sequence, digest);
                heard.prepares.entry(key).or_default().insert(own.own, vote.signature);
                said.push(Message::Prepare(vote));
            }
            said.push(Message::Commit(Vote::sign(&own, Phase::Commit, view, sequence, digest)));
        }
    }
    for view in (1..=scope.last_view).map(View::new) {
        for message in own_view_changes(&own, &heard, view) {
            heard.view_changes.entry(view).or_default().insert(message.clone());
            said.push(Message::ViewChange(message));
        }
        if own.quorum.primary(view) == own.own {
            let all = heard.view_changes.get(&view).cloned().unwrap_or_default();
            said.extend(new_views(&own, view, &all).into_iter().map(Message::NewView));
        }
    }
    let to = ((1 << REPLICAS) - 1) & !(1 << faulty);
    said.into_iter().map(|message| Post { from: faulty, to, message }).collect()
}

fn two_proposals(
    own: &Credentials<SimulatedKeys>,
    view: View,
    sequence: Sequence,
) -> Vec<PrePrepare> {
    let parent = genesis_digest();
    let first = block_of(view, sequence, parent);
    let second = Block::decode(&first)
        .map(|block| Block { transactions: vec![999], ..block }.encode())
        .unwrap_or_else(|| Arc::clone(&first));
    [first, second]
        .into_iter()
        .map(|body| {
            let digest = digest_of(&body);
            let signed = SignedPrePrepare::sign(own, view, sequence, digest, parent);
            PrePrepare { signed, body }
        })
        .collect()
}

/// One that hides everything, and one per prepared certificate that it can put together.
fn own_view_changes(
    own: &Credentials<SimulatedKeys>,
    heard: &Heard,
    view: View,
) -> Vec<ViewChange> {
    let mut all = vec![ViewChange::sign(own, view, None, Vec::new())];
    for proposal in &heard.proposals {
        let signed = &proposal.signed;
        let key = (signed.view, signed.sequence, signed.digest);
        let Some(prepares) = heard.prepares.get(&key).filter(|_| signed.view < view) else {
            continue;
        };
        let needed = own.quorum.prepares();
        let prepares: Vec<_> =
            prepares.iter().map(|(signer, it)| (*signer, *it)).take(needed).collect();
        if prepares.len() == needed && signed.sequence == Sequence::new(1) {
            let prepared = PreparedCertificate { pre_prepare: signed.clone(), prepares };
            all.push(ViewChange::sign(own, view, None, vec![prepared]));
        }
    }
    all
}

fn new_views(
    own: &Credentials<SimulatedKeys>,
    view: View,
    all: &BTreeSet<ViewChange>,
) -> Vec<NewView> {
    let all: Vec<&ViewChange> = all.iter().collect();
    let mut found = Vec::new();
    for choice in 0_u32..(1 << all.len().min(10)) {
        let mut chosen: Vec<ViewChange> = all
            .iter()
            .enumerate()
            .filter(|(place, _)| choice & (1 << place) != 0)
            .map(|(_, message)| (*message).clone())
            .collect();
        chosen.sort_by_key(|message| message.sender);
        let senders: BTreeSet<ReplicaId> = chosen.iter().map(|message| message.sender).collect();
        if senders.len() == chosen.len() && chosen.len() == own.quorum.quorum() {
            found.push(NewView::sign(own, view, chosen));
        }
    }
    found
}
