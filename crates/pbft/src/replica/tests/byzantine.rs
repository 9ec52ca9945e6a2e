//! What up to f byzantine replicas do: `attacks` 1 to 18, as far as one replica can show it.

use pentad_primitives::Hash256;

use super::network::{Final, K, Named, Network, block, domain, genesis, id, seq, view};
use crate::certificate::{CommitCertificate, PreparedCertificate};
use crate::credentials::Credentials;
use crate::domain::{Domain, Statement};
use crate::event::{Input, Timer};
use crate::evidence::{Evidence, HaltReason};
use crate::identifiers::{Sequence, View};
use crate::message::{
    Certified, Checkpoint, FetchBody, Message, NewView, Phase, PrePrepare, SignedPrePrepare,
    ViewChange, Vote,
};
use crate::record::Record;
use crate::replica::Stage;

fn pre_prepare(
    credentials: &Credentials<Named>,
    view: View,
    sequence: Sequence,
    salt: u64,
) -> PrePrepare {
    let (digest, body) = block(genesis(), salt);
    let signed = SignedPrePrepare::sign(credentials, view, sequence, digest, genesis());
    PrePrepare { signed, body }
}

fn vote(network: &Network, sender: usize, phase: Phase, salt: u64) -> Vote {
    let (digest, _) = block(genesis(), salt);
    Vote::sign(&network.credentials(sender), phase, view(0), seq(1), digest)
}

/// A certificate for the block of a salt at sequence 1, by the keys of `signers`.
fn certificate(network: &Network, number: u64, signers: &[usize], salt: u64) -> CommitCertificate {
    let (digest, _) = block(genesis(), salt);
    let (view, sequence) = (view(number), seq(1));
    let statement = Statement::commit(view, sequence, digest);
    let sign = |signer: &usize| (id(*signer), network.credentials(*signer).sign(&statement));
    CommitCertificate { view, sequence, digest, signatures: signers.iter().map(sign).collect() }
}

/// A prepared certificate, by the keys of the primary and of `backups`.
fn prepared(
    network: &Network,
    (number, sequence): (u64, u64),
    backups: &[usize],
    (parent, salt): (Hash256, u64),
) -> PreparedCertificate {
    let (digest, _) = block(parent, salt);
    let (view, sequence) = (view(number), seq(sequence));
    let primary = usize::from(network.quorum.primary(view).get());
    let credentials = network.credentials(primary);
    let pre_prepare = SignedPrePrepare::sign(&credentials, view, sequence, digest, parent);
    let statement = Statement::prepare(view, sequence, digest);
    let sign = |backup: &usize| (id(*backup), network.credentials(*backup).sign(&statement));
    PreparedCertificate { pre_prepare, prepares: backups.iter().map(sign).collect() }
}

#[test]
fn attack_1_an_equivocating_primary_leaves_evidence_and_is_left() {
    let mut network = Network::of(4);
    let credentials = network.credentials(0);
    let [first, second] = [1, 2].map(|salt| pre_prepare(&credentials, view(0), seq(1), salt));
    network.cut_off(0);
    network.deliver(1, Message::PrePrepare(first.clone()));
    network.deliver(2, Message::PrePrepare(second.clone()));
    network.deliver(3, Message::PrePrepare(first.clone()));
    network.run();
    assert_eq!(network.views(), [(0, true); 4], "each saw one proposal only");
    network.deliver(1, Message::PrePrepare(second.clone()));
    network.deliver(2, Message::PrePrepare(first.clone()));
    let expected = Evidence::Equivocation { first: first.signed, second: second.signed };
    assert_eq!(network.nodes[1].evidence, [expected]);
    assert_eq!(network.nodes[2].evidence.len(), 1);
    network.order(1);
    assert_eq!(network.views()[1..], [(1, true); 3]);
    assert_eq!(network.heights(), [0, 1, 1, 1]);
}

#[test]
fn attack_5_proposals_of_backups_prepares_of_primaries_and_votes_of_strangers_are_dropped() {
    let mut network = Network::of(4);
    let before = network.nodes[3].replica.clone();
    for sender in [1, 2, 3, 4, 60] {
        let message = pre_prepare(&network.credentials(sender), view(0), seq(1), 1);
        network.deliver(3, Message::PrePrepare(message.clone()));
        // Under the primary's name, with another's key.
        let mut forged = message;
        forged.signed.sender = id(0);
        network.deliver(3, Message::PrePrepare(forged));
    }
    network.deliver(3, Message::Prepare(vote(&network, 0, Phase::Prepare, 1)));
    for stranger in [4, 60, 65_535] {
        network.deliver(3, Message::Prepare(vote(&network, stranger, Phase::Prepare, 1)));
        network.deliver(3, Message::Commit(vote(&network, stranger, Phase::Commit, 1)));
    }
    let mut forged = vote(&network, 1, Phase::Commit, 1);
    forged.sender = id(2);
    network.deliver(3, Message::Commit(forged));
    assert_eq!(network.nodes[3].replica, before);
}

#[test]
fn attack_6_a_double_vote_counts_once_and_leaves_evidence_once() {
    for (phase, wrap) in [
        (Phase::Prepare, Message::Prepare as fn(Vote) -> Message),
        (Phase::Commit, Message::Commit as fn(Vote) -> Message),
    ] {
        let mut network = Network::of(4);
        let first = vote(&network, 1, phase, 1);
        network.deliver(3, wrap(first));
        for salt in 2..50 {
            network.deliver(3, wrap(vote(&network, 1, phase, salt)));
            network.deliver(3, wrap(first));
        }
        let second = vote(&network, 1, phase, 2);
        let expected = Evidence::DoubleVote { phase, first, second };
        assert_eq!(network.nodes[3].evidence, [expected]);
        let held = &network.nodes[3].replica.slots[&seq(1)];
        assert_eq!(held.votes(phase).len(), 1);
        assert_eq!(held.votes(phase)[&id(1)], first);
    }
}

#[test]
fn attack_7_commits_with_another_digest_do_not_count() {
    let mut network = Network::of(4);
    for other in 0..3 {
        network.cut.insert((other, 3));
    }
    let message = pre_prepare(&network.credentials(0), view(0), seq(1), 1);
    network.deliver(3, Message::PrePrepare(message));
    // One PREPARE for another block: not prepared.
    network.deliver(3, Message::Prepare(vote(&network, 1, Phase::Prepare, 2)));
    assert!(!network.nodes[3].replica.status().in_flight[0].is_prepared);
    network.deliver(3, Message::Prepare(vote(&network, 2, Phase::Prepare, 1)));
    assert!(network.nodes[3].replica.status().in_flight[0].is_prepared);
    // Its own COMMIT, one for the block and two for others: no quorum.
    network.deliver(3, Message::Commit(vote(&network, 0, Phase::Commit, 1)));
    network.deliver(3, Message::Commit(vote(&network, 1, Phase::Commit, 2)));
    assert_eq!(network.nodes[3].replica.status().in_flight[0].committed_by, [id(0), id(3)]);
    assert_eq!(network.heights()[3], 0);
    network.deliver(3, Message::Commit(vote(&network, 2, Phase::Commit, 1)));
    assert_eq!(network.heights()[3], 1);
}

#[test]
fn attack_8_a_signature_counts_as_no_other_type_chain_or_validator_set() {
    let mut network = Network::of(4);
    let before = network.nodes[3].replica.clone();
    let honest = vote(&network, 1, Phase::Prepare, 1);
    // A PREPARE as a COMMIT; at another sequence, in another view, for another block.
    network.deliver(3, Message::Commit(honest));
    network.deliver(3, Message::Prepare(Vote { sequence: seq(2), ..honest }));
    network.deliver(3, Message::Prepare(Vote { view: view(1), ..honest }));
    network.deliver(3, Message::Prepare(Vote { digest: genesis(), ..honest }));
    network.deliver(3, Message::Prepare(Vote { sender: id(2), ..honest }));
    // From another chain, or from another validator set of this chain.
    let elsewhere = [
        Domain { chain: Hash256::ZERO, ..domain() },
        Domain { validators: Hash256::ZERO, ..domain() },
    ];
    for domain in elsewhere {
        let credentials = Credentials { domain, ..network.credentials(1) };
        let vote = Vote::sign(&credentials, Phase::Prepare, view(0), seq(1), honest.digest);
        network.deliver(3, Message::Prepare(vote));
        let change = ViewChange::sign(&credentials, view(1), None, Vec::new());
        network.deliver(3, Message::ViewChange(change));
        let credentials = Credentials { domain, ..network.credentials(0) };
        network.deliver(3, Message::PrePrepare(pre_prepare(&credentials, view(0), seq(1), 1)));
    }
    assert_eq!(network.nodes[3].replica, before);
    network.deliver(3, Message::Prepare(honest));
    assert_ne!(network.nodes[3].replica, before, "the honest one is taken");
}

#[test]
fn attack_10_a_view_change_with_a_forged_certificate_is_dropped_whole_and_others_are_honoured() {
    let mut network = Network::of(4);
    let salted = (genesis(), 1);
    let mut forged = vec![
        // Too few, twice the same, the primary among the backups, a backup as primary.
        prepared(&network, (0, 1), &[3], salted),
        prepared(&network, (0, 1), &[3, 3], salted),
        prepared(&network, (0, 1), &[0, 3], salted),
        prepared(&network, (0, 1), &[1, 9], salted),
    ];
    let mut stolen = prepared(&network, (0, 1), &[1, 3], salted);
    stolen.prepares[0].1 = stolen.prepares[1].1;
    forged.push(stolen);
    let mut unsigned = prepared(&network, (0, 1), &[1, 3], salted);
    unsigned.pre_prepare.signature = unsigned.prepares[0].1;
    forged.push(unsigned);
    // Above the window, or of a view that is not left.
    forged.push(prepared(&network, (0, 2), &[1, 3], salted));
    forged.push(prepared(&network, (4, 1), &[1, 3], salted));
    let before = network.nodes[2].replica.clone();
    for certificate in forged {
        let credentials = network.credentials(3);
        let message = ViewChange::sign(&credentials, view(1), None, vec![certificate]);
        // Some of it no decoder would let in.
        network.step(2, Input::Message { message: Message::ViewChange(message) });
    }
    for signers in [&[0, 3][..], &[1, 3, 3], &[1, 3, 7]] {
        let last_final = Some(certificate(&network, 0, signers, 1));
        let message = ViewChange::sign(&network.credentials(3), view(1), last_final, vec![]);
        // Some of it no decoder would let in.
        network.step(2, Input::Message { message: Message::ViewChange(message) });
    }
    assert_eq!(network.nodes[2].replica, before);
    // Two honest ones come through, and then the forger's own honest one.
    for sender in [0, 1, 3] {
        let message = ViewChange::sign(&network.credentials(sender), view(1), None, vec![]);
        network.deliver(2, Message::ViewChange(message));
    }
    assert_eq!(network.views()[2], (1, false));
    assert_eq!(network.nodes[2].replica.view_changes.len(), 4);
}

#[test]
fn attack_11_of_two_prepared_certificates_the_higher_view_wins() {
    let network = Network::of(4);
    let low = prepared(&network, (0, 1), &[1, 2], (genesis(), 1));
    let high = prepared(&network, (2, 1), &[0, 1], (genesis(), 2));
    let change =
        |sender, prepared| ViewChange::sign(&network.credentials(sender), view(3), None, prepared);
    for order in [[low.clone(), high.clone()], [high.clone(), low]] {
        let [first, second] = order;
        let changes = vec![change(0, vec![first]), change(1, vec![second]), change(2, Vec::new())];
        let new_view = NewView::sign(&network.credentials(3), view(3), changes);
        assert_eq!(new_view.proposals.len(), 1);
        assert_eq!(new_view.proposals[0].digest, high.pre_prepare.digest);
        assert_eq!(new_view.verify(&network.credentials(0), 1, |_| false), Ok(()));
    }
}

#[test]
fn nothing_is_proposed_again_above_a_gap_or_on_another_parent() {
    let network = Network::with_window(4, 4);
    let (one, _) = block(genesis(), 1);
    let (two, _) = block(one, 2);
    let first = prepared(&network, (0, 1), &[1, 2], (genesis(), 1));
    let second = prepared(&network, (0, 2), &[1, 2], (one, 2));
    let third = prepared(&network, (0, 3), &[1, 2], (two, 3));
    let other = prepared(&network, (1, 1), &[0, 2], (genesis(), 9));
    let proposed = |prepared: Vec<PreparedCertificate>, more: Vec<PreparedCertificate>| {
        let lists = [prepared, more, Vec::new()];
        let changes = lists.into_iter().enumerate().map(|(sender, prepared)| {
            ViewChange::sign(&network.credentials(sender), view(2), None, prepared)
        });
        let new_view = NewView::sign(&network.credentials(2), view(2), changes.collect());
        assert_eq!(new_view.verify(&network.credentials(0), 4, |_| false), Ok(()));
        new_view.proposals.iter().map(|proposal| proposal.sequence.get()).collect::<Vec<_>>()
    };
    let all = vec![first.clone(), second.clone(), third.clone()];
    assert_eq!(proposed(all.clone(), Vec::new()), [1, 2, 3]);
    assert_eq!(proposed(vec![first.clone(), third.clone()], Vec::new()), [1]);
    assert_eq!(proposed(vec![second, third], Vec::new()), [0; 0]);
    // Sequence 1 went to another block in a later view: what stands on the old one is cut.
    assert_eq!(proposed(all, vec![other]), [1]);
}

/// Gives replica 3 a proposal of the primary of a view.
fn propose_to_3(network: &mut Network, number: u64, sequence: u64, parent: Hash256, salt: u64) {
    let view = view(number);
    let primary = usize::from(network.quorum.primary(view).get());
    let (digest, body) = block(parent, salt);
    let credentials = network.credentials(primary);
    let signed = SignedPrePrepare::sign(&credentials, view, seq(sequence), digest, parent);
    network.deliver(3, Message::PrePrepare(PrePrepare { signed, body }));
}

#[test]
fn a_proposal_is_voted_for_only_once_its_parent_is_prepared_in_the_same_view() {
    let mut network = Network::with_window(4, 4);
    let (one, _) = block(genesis(), 1);
    propose_to_3(&mut network, 0, 2, one, 2);
    assert_eq!(network.nodes[3].checks, 0, "nothing is known of its parent");
    propose_to_3(&mut network, 0, 1, genesis(), 1);
    assert_eq!(network.nodes[3].checks, 1, "its parent is accepted, not prepared");
    network.deliver(3, Message::Prepare(vote(&network, 1, Phase::Prepare, 1)));
    assert_eq!(network.nodes[3].checks, 2);
    // In a view in which nothing is proposed again, what was prepared before settles nothing.
    let change = |sender| ViewChange::sign(&network.credentials(sender), view(1), None, vec![]);
    let changes = [0, 1, 2].map(change).to_vec();
    let new_view = NewView::sign(&network.credentials(1), view(1), changes);
    network.deliver(3, Message::NewView(new_view));
    assert_eq!(network.views()[3], (1, true));
    propose_to_3(&mut network, 1, 2, one, 2);
    assert_eq!(network.nodes[3].checks, 2);
}

#[test]
fn a_proposal_on_another_parent_than_the_prepared_one_is_refused() {
    let mut network = Network::with_window(4, 4);
    propose_to_3(&mut network, 0, 1, genesis(), 1);
    network.deliver(3, Message::Prepare(vote(&network, 1, Phase::Prepare, 1)));
    assert!(network.nodes[3].replica.status().in_flight[0].is_prepared);
    let (other, _) = block(genesis(), 9);
    propose_to_3(&mut network, 0, 2, other, 2);
    assert_eq!(network.nodes[3].checks, 1);
    assert_eq!(network.nodes[3].replica.status().in_flight[1].stage, Some(Stage::Rejected));
    // On another block than the final one.
    let mut network = Network::of(4);
    propose_to_3(&mut network, 0, 1, other, 1);
    assert_eq!(network.nodes[3].replica.status().in_flight[0].stage, Some(Stage::Rejected));
}

#[test]
fn a_replica_below_the_base_of_its_view_votes_for_nothing_there() {
    // Block 1 is final with replica 0 alone; replicas 1 and 2 prepared it and execute late. The
    // primary of view 1 is faulty: it shows the certificate, then proposes another block 1.
    let mut network = Network::of(4);
    network.work(1);
    while let Some((_, to, message)) = network.queue.pop_front() {
        if message.name() != "commit" || to == 0 {
            network.deliver(to, message);
        }
    }
    assert_eq!(network.heights(), [1, 0, 0, 0]);
    network.cut_off(0);
    network.cut_off(1);
    network.work = 0;
    let last_final = network.nodes[0].replica.last.certificate.clone();
    let change = |sender: usize, last_final, prepared| {
        ViewChange::sign(&network.credentials(sender), view(1), last_final, prepared)
    };
    let changes =
        vec![change(0, last_final, vec![]), change(1, None, vec![]), change(3, None, vec![])];
    let new_view = NewView::sign(&network.credentials(1), view(1), changes);
    let other = pre_prepare(&network.credentials(1), view(1), seq(1), 99);
    for place in [2, 3] {
        network.deliver(place, Message::NewView(new_view.clone()));
        assert_eq!(network.views()[place], (1, true));
        // They had the body, so the certificate in the NEW-VIEW is all that they lacked.
        assert_eq!(network.heights()[place], 1);
    }
    let mut slow = Network::of(4);
    slow.slow.insert(2, Vec::new());
    slow.deliver(2, Message::NewView(new_view));
    slow.deliver(2, Message::PrePrepare(other));
    assert_eq!(slow.views()[2], (1, true));
    assert_eq!(slow.nodes[2].checks, 0, "below the base nothing is even looked at");
    assert!(slow.nodes[2].sent.iter().all(|(_, message)| message.name() == "fetch-body"));
}

#[test]
fn attack_16_with_more_than_f_faulty_two_certificates_are_seen_and_the_replica_halts() {
    let mut network = Network::of(4);
    let certified = |salt, signers: &[usize]| Certified {
        certificate: certificate(&network, 0, signers, salt),
        body: block(genesis(), salt).1,
    };
    // Replicas 1 and 2 sign both.
    let [first, second] = [certified(1, &[0, 1, 2]), certified(2, &[1, 2, 3])];
    network.deliver(3, Message::Certified(first.clone()));
    assert_eq!(network.heights()[3], 1);
    network.deliver(3, Message::Certified(second.clone()));
    let (first, second) = (first.certificate, second.certificate);
    let sequence = seq(1);
    let (own, quorum) = (first.digest, second.digest);
    let halted = HaltReason::DifferentBlock { sequence, own, quorum };
    assert_eq!(network.nodes[3].halted, Some(halted));
    assert_eq!(network.nodes[3].evidence, [Evidence::Fork { first: Some(first), second }]);
    let before = network.nodes[3].sent.len();
    network.step(3, Input::Pending(true));
    network.step(3, Input::Timeout(Timer::View));
    assert_eq!(network.nodes[3].sent.len(), before, "it does nothing any more");
}

#[test]
fn a_ledger_that_tells_of_another_final_block_than_before_halts_the_replica() {
    for is_sync in [false, true] {
        let mut network = Network::of(4);
        let first = certificate(&network, 0, &[0, 1, 2], 1);
        let second = certificate(&network, 1, &[1, 2, 3], 2);
        if is_sync {
            // Without the body, as from a sync that reports no more than hashes.
            let (sequence, digest) = (first.sequence, first.digest);
            let certificate = first.clone();
            network.step(3, Input::Executed { sequence, digest, certificate });
        } else {
            let body = block(genesis(), 1).1;
            let certificate = first.clone();
            network.deliver(3, Message::Certified(Certified { certificate, body }));
        }
        assert_eq!(network.nodes[3].replica.last.digest, first.digest);
        let (sequence, digest) = (second.sequence, second.digest);
        let certificate = second.clone();
        network.step(3, Input::Executed { sequence, digest, certificate });
        assert_eq!(network.nodes[3].evidence, [Evidence::Fork { first: Some(first), second }]);
        assert!(network.nodes[3].halted.is_some());
    }
}

#[test]
fn attack_17_a_loop_of_invalid_proposals_costs_one_check_for_each_sequence_of_a_view() {
    let mut network = Network::of(4);
    let message = pre_prepare(&network.credentials(0), view(0), seq(1), 1);
    network.invalid.insert(message.signed.digest);
    network.cut_off(0);
    network.work(1);
    for _ in 0..100 {
        for place in 1..4 {
            network.deliver(place, Message::PrePrepare(message.clone()));
        }
    }
    for place in 1..4 {
        assert_eq!(network.nodes[place].checks, 1);
        assert_eq!(network.nodes[place].evidence.len(), 1);
        assert!(network.nodes[place].sent.is_empty());
    }
    network.fire_all(Timer::View);
    network.run();
    assert_eq!(network.heights(), [0, 1, 1, 1]);
}

#[test]
fn attack_18_fake_roots_of_f_are_ignored_and_a_replica_with_another_root_than_a_quorum_halts() {
    let blocks = usize::try_from(K).unwrap();
    let mut network = Network::of(4);
    network.wrong_root.insert(2);
    network.order(blocks);
    for place in [0, 1, 3] {
        assert_eq!(network.nodes[place].halted, None);
        assert_eq!(network.nodes[place].replica.status().low_watermark, seq(K));
    }
    let Some(HaltReason::DifferentRoot { sequence, own, quorum }) = network.nodes[2].halted else {
        panic!("replica 2 goes on with its own state");
    };
    assert_eq!((sequence, own), (seq(K), Hash256::ZERO));
    assert_ne!(own, quorum);
    assert!(network.nodes[2].replica.status().halted.is_some());
    // What was wrong is mended, and the replica comes back with the state that all have. What it
    // had said of its state is not taken back, nor held against what it has now.
    network.wrong_root.clear();
    network.nodes[2].halted = None;
    let said = |network: &Network| -> Vec<Checkpoint> {
        let sent = network.nodes[2].sent.iter().filter_map(|(_, message)| match message {
            Message::Checkpoint(checkpoint) => Some(*checkpoint),
            _ => None,
        });
        sent.collect()
    };
    let before = said(&network);
    network.fire_all(Timer::Resend);
    network.restart(2);
    network.run();
    assert_eq!(network.nodes[2].halted, None);
    network.cut_off(3);
    network.order(2 * blocks);
    assert_eq!(network.nodes[2].halted, None);
    let after: Vec<_> = said(&network).into_iter().filter(|it| !before.contains(it)).collect();
    assert!(after.iter().all(|it| it.sequence == seq(2 * K)), "{after:?}");
    for place in 0..3 {
        assert_eq!(network.nodes[place].replica.status().low_watermark, seq(2 * K));
    }
    // Two faulty of seven say another root together: nobody minds.
    let mut network = Network::of(7);
    network.wrong_root.extend([5, 6]);
    network.order(blocks);
    assert!(network.nodes[..5].iter().all(|node| node.halted.is_none()));
    assert_eq!(network.nodes[0].replica.status().low_watermark, seq(K));
}

#[test]
fn attack_18_a_root_that_is_found_after_a_quorum_agreed_is_held_against_theirs() {
    let ordered = || {
        let mut network = Network::of(4);
        network.withheld_root.insert(2);
        network.order(usize::try_from(K).unwrap());
        assert_eq!(network.nodes[2].replica.status().low_watermark, seq(K), "three are enough");
        let (digest, stable) = (network.nodes[2].replica.last.digest, network.nodes[0].log.clone());
        let root = stable.iter().find_map(|record| match record {
            Record::StableCheckpoint(stable) => Some(stable.root),
            _ => None,
        });
        (network, digest, root.expect("it is in the log"))
    };
    let (mut network, digest, root) = ordered();
    network.step(2, Input::Root { sequence: seq(K), digest, root });
    assert_eq!(network.nodes[2].halted, None);
    let own = Hash256::ZERO;
    network.step(2, Input::Root { sequence: seq(K), digest, root: own });
    let expected = HaltReason::DifferentRoot { sequence: seq(K), own, quorum: root };
    assert_eq!(network.nodes[2].halted, Some(expected));
    let (mut network, _, root) = ordered();
    network.step(2, Input::Root { sequence: seq(K), digest: Hash256::ZERO, root });
    let halted = network.nodes[2].halted.as_ref();
    assert!(matches!(halted, Some(HaltReason::DifferentBlock { .. })), "{halted:?}");
    // Of what is not executed, or long stable, nobody has a root.
    let (mut network, digest, _) = ordered();
    let sent = network.nodes[2].sent.len();
    for sequence in [seq(0), seq(1), seq(2 * K)] {
        network.step(2, Input::Root { sequence, digest, root: own });
    }
    assert_eq!((network.nodes[2].sent.len(), &network.nodes[2].halted), (sent, &None));
}

#[test]
fn a_replica_that_states_two_roots_leaves_evidence_and_its_first_counts() {
    let mut network = Network::of(4);
    let credentials = network.credentials(1);
    let state = |root: u8| {
        let root = Hash256::from_bytes([root; 32]);
        Checkpoint::sign(&credentials, seq(K), genesis(), root)
    };
    for root in 1..20 {
        network.deliver(0, Message::Checkpoint(state(root)));
    }
    let expected = Evidence::DoubleCheckpoint { first: state(1), second: state(2) };
    assert_eq!(network.nodes[0].evidence, [expected]);
}

#[test]
fn a_replica_that_changes_into_one_view_with_two_contents_leaves_evidence() {
    let mut network = Network::of(4);
    let certificate = prepared(&network, (0, 1), &[1, 2], (genesis(), 1));
    let credentials = network.credentials(3);
    let first = ViewChange::sign(&credentials, view(1), None, vec![certificate]);
    let second = ViewChange::sign(&credentials, view(1), None, Vec::new());
    for message in [&first, &second, &first, &second] {
        network.deliver(0, Message::ViewChange(message.clone()));
    }
    let (first, second) = (Box::new(first), Box::new(second));
    assert_eq!(network.nodes[0].evidence, [Evidence::DoubleViewChange { first, second }]);
}

#[test]
fn bodies_are_sent_only_to_who_signed_for_them_and_once_a_tick() {
    let mut network = Network::of(4);
    network.order(1);
    let Final { digest, .. } = network.nodes[0].chain[0].clone();
    let sent = |network: &Network| {
        let to_three = network.nodes[0].sent.iter().filter(|(_, m)| m.name() == "certified");
        to_three.count()
    };
    let mut forged = FetchBody::sign(&network.credentials(1), digest);
    forged.sender = id(3);
    network.deliver(0, Message::FetchBody(forged));
    assert_eq!(sent(&network), 0);
    let honest = FetchBody::sign(&network.credentials(3), digest);
    for _ in 0..10 {
        network.deliver(0, Message::FetchBody(honest));
    }
    assert_eq!(sent(&network), 1);
    network.fire(0, Timer::Resend);
    network.deliver(0, Message::FetchBody(honest));
    assert_eq!(sent(&network), 2);
}
