//! Section 4.4 of the paper.

use super::network::{Network, block, genesis, id, seq, view};
use crate::event::{Input, Timer};
use crate::evidence::Evidence;
use crate::message::{Message, NewView, NewViewError, Phase, SignedPrePrepare, ViewChange, Vote};

/// Delivers all but messages of one kind.
fn run_without(network: &mut Network, kind: &str) {
    while let Some((from, to, message)) = network.queue.pop_front() {
        if message.name() != kind && !network.cut.contains(&(from, to)) {
            network.deliver(to, message);
        }
    }
}

#[test]
fn attack_2_a_silent_primary_is_left_and_the_next_one_orders() {
    let mut network = Network::of(4);
    network.cut_off(0);
    network.order(2);
    assert_eq!(network.heights(), [0; 4]);
    network.fire_all(Timer::View);
    network.run();
    assert_eq!(network.views()[1..], [(1, true); 3]);
    assert_eq!(network.heights(), [0, 2, 2, 2]);
}

#[test]
fn attack_4_a_censor_is_left_when_the_driver_says_so() {
    let mut network = Network::of(4);
    network.order(1);
    for place in 1..3 {
        network.step(place, Input::Suspect { view: view(0) });
    }
    network.run();
    assert_eq!(network.views(), [(1, true); 4], "f + 1 suspicions are joined by all");
    // An old suspicion means nothing in the new view.
    network.step(3, Input::Suspect { view: view(0) });
    assert_eq!(network.views(), [(1, true); 4]);
    network.order(2);
    assert_eq!(network.heights(), [2; 4]);
}

#[test]
fn a_prepared_block_is_proposed_again_with_the_same_digest() {
    let mut network = Network::of(4);
    network.work(1);
    run_without(&mut network, "commit");
    let digest = network.nodes[1].replica.status().in_flight[0].digest.unwrap();
    assert!(network.nodes.iter().all(|node| node.replica.status().in_flight[0].is_prepared));
    network.fire_all(Timer::View);
    network.run();
    assert_eq!(network.views(), [(1, true); 4]);
    assert_eq!(network.heights(), [1; 4]);
    for node in &network.nodes {
        assert_eq!(node.chain[0].digest, digest);
        assert_eq!(node.chain[0].certificate.view, view(1));
    }
}

#[test]
fn attack_24_a_certificate_known_to_one_node_only_then_a_view_change_gives_the_same_block() {
    for holder in 0..4 {
        for is_heard in [false, true] {
            let mut network = Network::of(4);
            network.work(1);
            while let Some((_, to, message)) = network.queue.pop_front() {
                if message.name() != "commit" || to == holder {
                    network.deliver(to, message);
                }
            }
            let digest = network.nodes[holder].chain[0].digest;
            assert_eq!(network.heights().iter().sum::<usize>(), 1);
            if !is_heard {
                network.cut_off(holder);
            }
            network.work(2);
            for _ in 0..3 {
                network.fire_all(Timer::View);
                network.run();
                network.fire_all(Timer::Resend);
                network.run();
            }
            for (place, node) in network.nodes.iter().enumerate() {
                assert_eq!(node.chain[0].digest, digest, "holder {holder}");
                assert!(node.chain.len() == 2 || (place == holder && !is_heard), "{place}");
            }
        }
    }
}

#[test]
fn attack_13_a_storm_of_view_changes_by_f_changes_no_view() {
    let mut network = Network::of(4);
    network.order(1);
    for number in 1..500 {
        let message = ViewChange::sign(&network.credentials(3), view(number), None, Vec::new());
        for place in 0..3 {
            network.deliver(place, Message::ViewChange(message.clone()));
        }
    }
    assert_eq!(network.views(), [(0, true); 4]);
    assert!(network.nodes.iter().all(|node| node.replica.size().items < 60));
    network.cut_off(3);
    network.order(3);
    assert_eq!(network.heights(), [3, 3, 3, 1]);
}

#[test]
fn weak_quorum_for_higher_views_is_joined_at_the_smallest_of_them() {
    let mut network = Network::of(7);
    for (sender, number) in [(4, 9), (5, 3)] {
        let message = ViewChange::sign(&network.credentials(sender), view(number), None, vec![]);
        network.deliver(0, Message::ViewChange(message));
        assert_eq!(network.views()[0], (0, true));
    }
    let message = ViewChange::sign(&network.credentials(6), view(u64::MAX), None, vec![]);
    network.deliver(0, Message::ViewChange(message));
    assert_eq!(network.views()[0], (3, false));
    assert!(!network.nodes[0].timers.contains_key(&Timer::View), "4 of 7 are no quorum");
    let message = ViewChange::sign(&network.credentials(3), view(3), None, vec![]);
    network.deliver(0, Message::ViewChange(message));
    assert!(network.nodes[0].timers.contains_key(&Timer::View), "5 of 7 left the views below");
}

#[test]
fn attack_14_the_next_primary_is_faulty_too_then_the_timer_doubles_and_view_2_orders() {
    let mut network = Network::of(7);
    network.cut_off(0);
    network.cut_off(1);
    network.order(1);
    assert_eq!(network.nodes[2].timers[&Timer::View], 1_000);
    network.fire_all(Timer::View);
    network.run();
    assert_eq!(network.views()[2..], [(1, false); 5]);
    assert_eq!(network.nodes[2].timers[&Timer::View], 1_000, "for the NEW-VIEW of the first");
    network.proposes = false;
    network.fire_all(Timer::View);
    network.run();
    assert_eq!(network.views()[2..], [(2, true); 5]);
    assert_eq!(network.nodes[3].timers[&Timer::View], 4_000, "two views failed");
    network.propose(2, 0);
    network.run();
    assert_eq!(network.heights(), [0, 0, 1, 1, 1, 1, 1]);
    network.work(2);
    assert_eq!(network.nodes[3].timers[&Timer::View], 1_000, "progress resets it");
}

#[test]
fn a_replica_alone_in_a_view_change_waits_without_running_away() {
    let mut network = Network::of(4);
    network.cut_off(3);
    network.work(1);
    assert!(network.fire(3, Timer::View));
    for _ in 0..10 {
        assert!(!network.fire(3, Timer::View), "no timer runs before a quorum wants the view");
        assert!(network.fire(3, Timer::Resend), "it says again that it left");
    }
    assert_eq!(network.views()[3], (1, false));
    let said: Vec<_> =
        network.nodes[3].sent.iter().filter(|(_, m)| m.name() == "view-change").collect();
    assert!(said.len() > 10 && said.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn view_timeouts_have_a_cap_and_many_views_do_not_recurse() {
    let mut network = Network::of(4);
    network.cut_off(0);
    network.proposes = false;
    network.work(1);
    network.run();
    for _ in 0..2_000 {
        network.fire_all(Timer::View);
        network.run();
    }
    assert!(network.views()[1].0 >= 1_999, "{:?}", network.views());
    assert!(network.nodes[1].timers[&Timer::View] <= 64_000);
    // One after another in one step, too: each joined view makes the next one joinable.
    let views = 1_000_000..1_020_000;
    for number in views {
        for sender in [1, 2] {
            let credentials = network.credentials(sender);
            let message = ViewChange::sign(&credentials, view(number), None, Vec::new());
            network.deliver(3, Message::ViewChange(message));
        }
    }
    assert_eq!(network.views()[3].0, 1_019_999);
    assert!(network.nodes[3].replica.size().items < 40);
}

#[test]
fn attack_26_a_node_two_views_behind_rejoins() {
    let mut network = Network::of(4);
    network.cut_off(3);
    network.order(1);
    for place in 0..3 {
        let view = view(network.views()[place].0);
        network.step(place, Input::Suspect { view });
    }
    network.run();
    for place in 0..3 {
        network.step(place, Input::Suspect { view: view(1) });
    }
    network.run();
    assert_eq!(network.views(), [(2, true), (2, true), (2, true), (0, true)]);
    network.heal();
    network.fire_all(Timer::Resend);
    network.run();
    network.sync(0, 3);
    // The next proposal finds it missing and brings the NEW-VIEW.
    network.order(2);
    assert_eq!(network.views(), [(2, true); 4]);
    assert_eq!(network.heights(), [2; 4]);
}

#[test]
fn a_node_behind_learns_the_view_from_its_own_view_change() {
    let mut network = Network::of(4);
    network.cut_off(3);
    for place in 0..3 {
        network.step(place, Input::Suspect { view: view(0) });
    }
    network.run();
    for place in 0..3 {
        network.step(place, Input::Suspect { view: view(1) });
    }
    network.run();
    network.fire_all(Timer::Resend);
    network.run();
    network.heal();
    network.step(3, Input::Suspect { view: view(0) });
    network.run();
    assert_eq!(network.views(), [(2, true); 4]);
}

#[test]
fn a_node_that_left_alone_gets_what_became_final_after_its_view_change_came() {
    let mut network = Network::of(4);
    network.step(3, Input::Suspect { view: view(0) });
    network.run();
    // All know that it left, and order a block without it.
    for place in 0..3 {
        network.cut.insert((place, 3));
    }
    network.order(1);
    assert_eq!(network.heights(), [1, 1, 1, 0]);
    network.heal();
    network.fire(3, Timer::Resend);
    network.run();
    assert_eq!(network.heights(), [1; 4]);
}

#[test]
fn messages_of_the_next_view_may_come_before_its_new_view() {
    let mut network = Network::of(4);
    network.work(1);
    network.queue.clear();
    network.fire_all(Timer::View);
    // Node 3 gets the NEW-VIEW last of all.
    let mut late = Vec::new();
    while let Some((_, to, message)) = network.queue.pop_front() {
        if to == 3 && message.name() == "new-view" {
            late.push(message);
        } else {
            network.deliver(to, message);
        }
    }
    assert_eq!(network.views()[3], (1, false));
    assert_eq!(network.heights(), [1, 1, 1, 0]);
    network.deliver(3, late.remove(0));
    assert_eq!(network.views()[3], (1, true));
    assert_eq!(network.heights(), [1, 1, 1, 1]);
}

/// A network whose replicas all left view 0, and their VIEW-CHANGEs.
fn left_view_0() -> (Network, Vec<ViewChange>) {
    let mut network = Network::of(4);
    network.work(1);
    run_without(&mut network, "commit");
    network.cut_off(1);
    network.fire_all(Timer::View);
    network.run();
    network.heal();
    assert_eq!(network.views(), [(1, false); 4]);
    let held = network.all().map(|place| {
        let replica = &network.nodes[place].replica;
        replica.view_changes[&id(place)].clone()
    });
    let held = held.collect();
    (network, held)
}

#[test]
fn attack_12_a_new_view_with_a_duplicated_view_change_is_refused_and_the_next_view_follows() {
    let (mut network, held) = left_view_0();
    let doubled = vec![held[0].clone(), held[2].clone(), held[2].clone()];
    let forged = NewView::sign(&network.credentials(1), view(1), doubled);
    assert_refused(&mut network, forged, NewViewError::NoQuorum);
}

#[test]
fn attack_12_a_new_view_with_too_few_view_changes_is_refused() {
    let (mut network, mut held) = left_view_0();
    held.truncate(2);
    let forged = NewView::sign(&network.credentials(1), view(1), held);
    assert_refused(&mut network, forged, NewViewError::NoQuorum);
}

#[test]
fn attack_12_a_new_view_that_omits_a_proposal_is_refused() {
    let (mut network, held) = left_view_0();
    let forged = resigned(&network, held, |new_view| new_view.proposals.clear());
    assert_refused(&mut network, forged, NewViewError::Proposals);
}

#[test]
fn attack_12_a_new_view_that_alters_a_proposal_is_refused() {
    for (digest, parent) in [(genesis(), None), (genesis(), Some(genesis()))] {
        let (mut network, held) = left_view_0();
        let credentials = network.credentials(1);
        let forged = resigned(&network, held, |new_view| {
            let old = &new_view.proposals[0];
            let parent = parent.unwrap_or(old.digest);
            // Signed by the primary, as it may sign anything.
            let (view, sequence) = (old.view, old.sequence);
            new_view.proposals[0] =
                SignedPrePrepare::sign(&credentials, view, sequence, digest, parent);
        });
        assert_refused(&mut network, forged, NewViewError::Proposals);
    }
}

#[test]
fn attack_12_a_new_view_that_proposes_at_another_sequence_is_refused() {
    let (mut network, held) = left_view_0();
    let credentials = network.credentials(1);
    let forged = resigned(&network, held, |new_view| {
        let old = new_view.proposals[0].clone();
        let moved = SignedPrePrepare::sign(&credentials, old.view, seq(2), old.digest, old.parent);
        new_view.proposals[0] = moved;
    });
    assert_refused(&mut network, forged, NewViewError::Proposals);
}

#[test]
fn early_votes_of_one_view_do_not_count_in_another() {
    let mut network = Network::of(4);
    let (digest, _) = block(genesis(), 1);
    for (number, sequence) in [(1, 1), (2, 2)] {
        let credentials = network.credentials(3);
        let vote = Vote::sign(&credentials, Phase::Commit, view(number), seq(sequence), digest);
        network.deliver(0, Message::Commit(vote));
    }
    let change = |sender| ViewChange::sign(&network.credentials(sender), view(2), None, vec![]);
    let changes = [0, 1, 2].map(change).to_vec();
    let new_view = NewView::sign(&network.credentials(2), view(2), changes);
    network.deliver(0, Message::NewView(new_view));
    let voted: Vec<_> = network.nodes[0].replica.slots.keys().copied().collect();
    assert_eq!(voted, [seq(2)], "the vote of view 2 counts, that of view 1 does not");
}

#[test]
fn attack_12_a_new_view_that_adds_a_proposal_is_refused() {
    let (mut network, held) = left_view_0();
    let forged = resigned(&network, held, |new_view| {
        let mut more = new_view.proposals[0].clone();
        more.sequence = seq(2);
        new_view.proposals.push(more);
    });
    assert_refused(&mut network, forged, NewViewError::Proposals);
}

#[test]
fn attack_12_a_new_view_with_a_forged_view_change_is_refused() {
    let (mut network, mut held) = left_view_0();
    // The primary empties what another replica said.
    held[2].prepared.clear();
    let forged = NewView::sign(&network.credentials(1), view(1), held);
    let signature = crate::message::ViewChangeError::Signature(id(2));
    assert_refused(&mut network, forged, NewViewError::ViewChange(id(2), signature));
}

#[test]
fn a_new_view_of_another_than_the_primary_is_dropped() {
    let (mut network, held) = left_view_0();
    let before = network.nodes[0].replica.clone();
    let forged = NewView::sign(&network.credentials(2), view(1), held.clone());
    network.deliver(0, Message::NewView(forged.clone()));
    // Under the primary's name, without its key.
    network.deliver(0, Message::NewView(NewView { sender: id(1), ..forged }));
    assert_eq!(network.nodes[0].replica, before);
}

/// A NEW-VIEW of the primary of view 1, changed and signed again.
fn resigned(
    network: &Network,
    held: Vec<ViewChange>,
    change: impl FnOnce(&mut NewView),
) -> NewView {
    use crate::credentials::Signed as _;
    let credentials = network.credentials(1);
    let mut new_view = NewView::sign(&credentials, view(1), held);
    assert_eq!(new_view.proposals.len(), 1);
    change(&mut new_view);
    new_view.signature = credentials.sign(&new_view.statement());
    new_view
}

fn assert_refused(network: &mut Network, forged: NewView, error: NewViewError) {
    network.cut_off(1);
    for place in [0, 2, 3] {
        network.deliver(place, Message::NewView(forged.clone()));
        let given = Evidence::InvalidNewView { new_view: Box::new(forged.clone()), error };
        assert_eq!(network.nodes[place].evidence, [given]);
    }
    assert_eq!(network.views()[2].0, 2);
    network.run();
    assert_eq!([network.heights()[0], network.heights()[2], network.heights()[3]], [1; 3]);
}
