//! Attack 9, and whatever else a replica could be made to remember.

use super::network::{K, Network, Random, block, genesis, id, seq, view};
use crate::certificate::{CommitCertificate, PreparedCertificate};
use crate::domain::Statement;
use crate::event::{Input, Timer};
use crate::identifiers::{Sequence, View};
use crate::message::{
    Body, Certified, Checkpoint, FetchBody, Message, NewView, Phase, PrePrepare, SignedPrePrepare,
    ViewChange, Vote,
};

const WINDOW: u64 = 2;
const REPLICAS: usize = 4;

/// Per replica: two votes in each kept sequence, here and early and late, one VIEW-CHANGE, two
/// checkpoints, some notes; per sequence a proposal and certificates.
fn items_max() -> usize {
    let sequences = usize::try_from(2 * WINDOW).unwrap() + usize::try_from(WINDOW).unwrap();
    REPLICAS * (3 * 3 * sequences + 16) + 8 * sequences
}

/// Mostly numbers that a replica may keep, and some that it must not.
fn sequence(random: &mut Random) -> Sequence {
    seq(match random.below(12) {
        0 => u64::MAX - random.below(3),
        1 => random.below(1 << 40),
        2 => K * random.below(9),
        _ => random.below(2 * WINDOW + 2),
    })
}

/// Views about the one that the replica is in; the last ones only of one sender.
fn view_near(network: &Network, random: &mut Random, sender: usize) -> View {
    let current = network.views()[0].0;
    view(match random.below(20) {
        0 if sender == 3 => u64::MAX - random.below(3),
        1..4 => current.saturating_sub(1),
        4..8 => current.saturating_add(1 + random.below(3)),
        _ => current,
    })
}

/// A message of any kind, signed by its sender, about anything.
fn hostile(network: &Network, random: &mut Random) -> Message {
    let sender = 1 + random.place(REPLICAS - 1);
    let credentials = network.credentials(sender);
    let number = view_near(network, random, sender);
    let sequence = sequence(random);
    let (digest, body) = block(genesis(), random.below(4));
    let primary = usize::from(network.quorum.primary(number).get());
    let of_primary = network.credentials(primary);
    match random.below(1_000) {
        0..100 => {
            let signed = SignedPrePrepare::sign(&of_primary, number, sequence, digest, genesis());
            Message::PrePrepare(PrePrepare { signed, body })
        }
        100..400 => {
            let vote = Vote::sign(&credentials, Phase::Prepare, number, sequence, digest);
            Message::Prepare(vote)
        }
        400..700 => {
            let vote = Vote::sign(&credentials, Phase::Commit, number, sequence, digest);
            Message::Commit(vote)
        }
        700..800 => {
            Message::Checkpoint(Checkpoint::sign(&credentials, sequence, digest, genesis()))
        }
        800..810 => {
            let prepared = prepared(network, random);
            Message::ViewChange(ViewChange::sign(&credentials, number, None, prepared))
        }
        810..815 => {
            let changes = (0..3).map(|sender| {
                let credentials = network.credentials(sender);
                ViewChange::sign(&credentials, number, None, Vec::new())
            });
            Message::NewView(NewView::sign(&of_primary, number, changes.collect()))
        }
        815..900 => Message::FetchBody(FetchBody::sign(&credentials, digest)),
        900..990 => Message::Body(Body { digest, body }),
        _ => {
            let statement = Statement::commit(number, sequence, digest);
            let sign = |signer| (id(signer), network.credentials(signer).sign(&statement));
            let signatures = (0..3).map(sign).collect();
            let certificate = CommitCertificate { view: number, sequence, digest, signatures };
            Message::Certified(Certified { certificate, body })
        }
    }
}

fn prepared(network: &Network, random: &mut Random) -> Vec<PreparedCertificate> {
    let (digest, _) = block(genesis(), random.below(4));
    let sequence = seq(1 + random.below(3));
    let credentials = network.credentials(0);
    let pre_prepare = SignedPrePrepare::sign(&credentials, view(0), sequence, digest, genesis());
    let statement = Statement::prepare(view(0), sequence, digest);
    let prepares = [1, 2].map(|backup| (id(backup), network.credentials(backup).sign(&statement)));
    vec![PreparedCertificate { pre_prepare, prepares: prepares.to_vec() }]
}

/// One replica, and everything that its peers can sign: more than f of them lie, so it may well
/// halt or execute nonsense, but what it holds is bounded all the same.
#[test]
fn attack_9_a_flood_of_every_kind_from_everyone_at_every_view_and_sequence_leaves_memory_flat() {
    let mut most = 0;
    for seed in 0..40 {
        let mut random = Random(seed);
        let mut network = Network::with_window(REPLICAS, WINDOW);
        network.slow.insert(0, Vec::new());
        for _ in 0..1_500 {
            let message = hostile(&network, &mut random);
            network.step(0, Input::Message { message });
            network.queue.clear();
            network.nodes[0].sent.clear();
            match random.below(300) {
                0 => network.step(0, Input::Timeout(Timer::View)),
                1 => network.step(0, Input::Timeout(Timer::Resend)),
                2 => network.step(0, Input::Pending(true)),
                _ => {}
            }
            let size = network.nodes[0].replica.size();
            assert!(size.items <= items_max(), "seed {seed}: {size:?}, at most {}", items_max());
            let bodies_max = usize::try_from(4 * 3 * WINDOW + 4 * WINDOW).unwrap();
            assert!(size.bodies <= bodies_max, "seed {seed}: {size:?}");
            most = most.max(size.items);
        }
        let evidence = network.nodes[0].evidence.len();
        assert!(evidence <= 200, "seed {seed}: {evidence} pieces of evidence");
    }
    assert!(most > items_max() / 6, "the flood stores {most} of {} only", items_max());
}

#[test]
fn attack_9_sequences_outside_of_the_watermarks_are_dropped_unread() {
    let mut network = Network::of(4);
    let before = network.nodes[3].replica.clone();
    for sequence in [0, 3, 2 * K + 1, 1 << 40, u64::MAX] {
        let (digest, body) = block(genesis(), 1);
        let sequence = seq(sequence);
        let credentials = network.credentials(0);
        let signed = SignedPrePrepare::sign(&credentials, view(0), sequence, digest, genesis());
        network.deliver(3, Message::PrePrepare(PrePrepare { signed, body }));
        for number in [0, 1, u64::MAX] {
            let credentials = network.credentials(1);
            let vote = Vote::sign(&credentials, Phase::Commit, view(number), sequence, digest);
            network.deliver(3, Message::Commit(vote));
        }
        if sequence.get() != 2 * K {
            let far = seq(sequence.get().saturating_add(4 * K));
            let checkpoint = Checkpoint::sign(&network.credentials(1), far, digest, genesis());
            network.deliver(3, Message::Checkpoint(checkpoint));
        }
    }
    assert_eq!(network.nodes[3].replica, before);
}

#[test]
fn votes_for_views_to_come_are_kept_for_one_view_of_each_sender() {
    let mut network = Network::of(4);
    let (digest, _) = block(genesis(), 1);
    for number in 1..1_000 {
        for sequence in 0..100 {
            for phase in [Phase::Prepare, Phase::Commit] {
                let credentials = network.credentials(2);
                let vote = Vote::sign(&credentials, phase, view(number), seq(sequence), digest);
                let message = match phase {
                    Phase::Prepare => Message::Prepare(vote),
                    Phase::Commit => Message::Commit(vote),
                };
                network.step(0, Input::Message { message });
            }
        }
        assert!(network.nodes[0].replica.size().items <= 4, "{:?}", network.nodes[0].replica);
    }
}
