//! What survives a restart: design 8 of "PBFT", attacks 15, 27 and 28.

use super::network::{K, Network, id, view};
use crate::event::{Input, Recipient, Timer};
use crate::message::{Message, ViewChange};
use crate::record::Record;

/// Everything that a node signed and sent, by what it must not contradict.
fn assert_no_contradiction(network: &Network) {
    for (place, node) in network.nodes.iter().enumerate() {
        let own = |m: &&Message| m.sender() == Some(id(place));
        let sent: Vec<&Message> =
            node.sent.iter().map(|(_, message)| message).filter(own).collect();
        for one in &sent {
            for other in &sent {
                let contradicts = match (one, other) {
                    (Message::Prepare(one), Message::Prepare(other))
                    | (Message::Commit(one), Message::Commit(other)) => {
                        (one.view, one.sequence) == (other.view, other.sequence) && one != other
                    }
                    (Message::PrePrepare(one), Message::PrePrepare(other)) => {
                        let (one, other) = (&one.signed, &other.signed);
                        (one.view, one.sequence) == (other.view, other.sequence) && one != other
                    }
                    (Message::ViewChange(one), Message::ViewChange(other)) => {
                        one.view == other.view && one != other
                    }
                    (Message::NewView(one), Message::NewView(other)) => {
                        one.view == other.view && one != other
                    }
                    _ => false,
                };
                assert!(!contradicts, "{place} sent {one:?} and {other:?}");
            }
        }
    }
}

#[test]
fn a_replica_killed_before_any_delivery_contradicts_nothing_and_goes_on() {
    for place in 0..4 {
        for moment in 0..30 {
            let mut network = Network::of(4);
            network.work(2);
            for _ in 0..moment {
                let Some((_, to, message)) = network.queue.pop_front() else {
                    break;
                };
                network.deliver(to, message);
            }
            network.restart(place);
            // The driver of a restarted primary makes another block than before.
            network.proposes = false;
            for _ in 0..4 {
                network.run();
                for node in 0..4 {
                    if network.nodes[node].asked.is_some() {
                        network.propose(node, 5);
                    }
                }
                network.fire_all(Timer::Resend);
            }
            network.run();
            assert_eq!(network.heights(), [2; 4], "killed {place} after {moment}");
            assert_no_contradiction(&network);
        }
    }
}

#[test]
fn a_replica_killed_in_a_view_change_says_the_same_bytes_and_stays_in_no_lower_view() {
    let mut network = Network::of(4);
    network.work(1);
    // All are prepared, nobody commits.
    while let Some((_, to, message)) = network.queue.pop_front() {
        if message.name() != "commit" {
            network.deliver(to, message);
        }
    }
    network.cut_off(1);
    network.fire_all(Timer::View);
    let said = |network: &Network| -> Vec<Vec<u8>> {
        let sent = network.nodes[2].sent.iter().filter(|(_, m)| m.name() == "view-change");
        sent.map(|(_, message)| message.to_bytes()).collect()
    };
    let before = said(&network);
    assert_eq!(before.len(), 1);
    network.restart(2);
    assert_eq!(network.views()[2], (1, false));
    // A COMMIT of the view that was left comes late: it counts for nothing.
    let late: Vec<_> = network.nodes[0]
        .sent
        .iter()
        .chain(&network.nodes[3].sent)
        .filter(|(_, message)| message.name() == "commit")
        .map(|(_, message)| message.clone())
        .collect();
    for message in late {
        network.deliver(2, message);
    }
    assert_eq!(network.heights()[2], 0);
    network.restart(2);
    assert!(said(&network).len() >= 3);
    assert!(said(&network).iter().all(|bytes| *bytes == before[0]));
    network.heal();
    for _ in 0..3 {
        network.fire_all(Timer::Resend);
        network.run();
    }
    assert_eq!(network.heights(), [1; 4]);
    assert_no_contradiction(&network);
}

#[test]
fn attack_27_everybody_restarts_at_once_and_no_final_block_is_lost() {
    for lost in ["none", "commit", "prepare", "new-view"] {
        let mut network = Network::of(4);
        network.order(1);
        network.work(2);
        while let Some((_, to, message)) = network.queue.pop_front() {
            // One replica may know what the others do not.
            if message.name() != lost || to == 2 {
                network.deliver(to, message);
            }
        }
        let known: Vec<_> = network.nodes[2].chain.iter().map(|block| block.digest).collect();
        for place in 0..4 {
            network.restart(place);
        }
        network.work(4);
        for _ in 0..6 {
            network.run();
            network.fire_all(Timer::Resend);
            network.run();
        }
        network.fire_all(Timer::View);
        network.run();
        for place in 0..4 {
            network.sync(2, place);
        }
        assert_eq!(network.heights(), [4; 4]);
        for (height, digest) in known.iter().enumerate() {
            assert_eq!(network.nodes[0].chain[height].digest, *digest);
        }
        assert_no_contradiction(&network);
    }
}

#[test]
fn a_primary_killed_after_its_new_view_was_written_sends_the_same_one() {
    let mut network = Network::of(4);
    network.proposes = false;
    network.work(1);
    for place in [0, 2, 3] {
        network.step(place, Input::Suspect { view: view(0) });
    }
    let changes: Vec<_> = network.queue.drain(..).collect();
    for (_, to, message) in changes {
        if to == 1 {
            network.deliver(1, message);
        }
    }
    assert_eq!(network.views()[1], (1, true));
    // The NEW-VIEW reached nobody; the others ask again and get what was written.
    network.queue.clear();
    network.restart(1);
    assert_eq!(network.views()[1], (1, true));
    for _ in 0..2 {
        network.fire_all(Timer::Resend);
        network.run();
    }
    assert_eq!(network.views(), [(1, true); 4]);
    assert_no_contradiction(&network);
}

#[test]
fn a_compacted_log_brings_back_the_same_replica_as_the_whole_one() {
    let mut network = Network::with_window(4, 4);
    let blocks = usize::try_from(K).unwrap() + 2;
    network.order(blocks);
    network.work(blocks + 3);
    // In flight: all prepared, some in a view that was left.
    while let Some((_, to, message)) = network.queue.pop_front() {
        if message.name() != "commit" {
            network.deliver(to, message);
        }
    }
    network.fire_all(Timer::View);
    while let Some((_, to, message)) = network.queue.pop_front() {
        if message.name() != "commit" {
            network.deliver(to, message);
        }
    }
    for place in 0..4 {
        network.restart(place);
        let whole = network.nodes[place].replica.clone();
        assert!(whole.status().in_flight.len() >= 3);
        network.nodes[place].log = whole.records();
        network.restart(place);
        let compacted = network.nodes[place].replica.clone();
        assert_eq!(whole.records(), compacted.records());
        assert_eq!(whole.status(), compacted.status());
    }
    for _ in 0..4 {
        network.fire_all(Timer::Resend);
        network.run();
    }
    assert_eq!(network.heights(), vec![blocks + 3; 4]);
}

#[test]
fn a_log_holds_all_and_no_more_than_a_restart_needs() {
    let mut network = Network::of(4);
    network.order(2);
    let kinds: Vec<_> = network.nodes[1]
        .log
        .iter()
        .map(|record| match record {
            Record::PrePrepare(_) => "pre-prepare",
            Record::Prepared(_) => "prepared",
            _ => "other",
        })
        .collect();
    assert_eq!(kinds, ["pre-prepare", "prepared", "pre-prepare", "prepared"]);
    assert!(network.nodes[1].replica.records().is_empty(), "all of it is final");
}

#[test]
fn attack_15_one_key_on_two_nodes_is_safe() {
    // Place 4 runs with the key of replica 0: each half has its own primary of view 0, and neither
    // sees its twin. Replica 2 is heard by both.
    let mut network = Network::of(4);
    network.add_twin(0);
    for (one, other) in [(0, 4), (0, 3), (1, 4), (1, 3)] {
        network.cut.insert((one, other));
        network.cut.insert((other, one));
    }
    network.work(3);
    for round in 0..40 {
        network.run();
        network.fire_all(Timer::Resend);
        network.run();
        if round % 3 == 2 {
            network.fire_all(Timer::View);
        }
        if round == 20 {
            network.cut.retain(|(one, other)| [*one, *other].contains(&4));
        }
        network.assert_agreement();
    }
    assert!(network.heights()[2] >= 3, "{:?}", network.heights());
}

#[test]
fn a_replica_that_is_told_of_a_lower_view_by_its_log_keeps_the_higher() {
    let mut network = Network::of(4);
    for number in [1, 2] {
        let own = ViewChange::sign(&network.credentials(0), view(number), None, Vec::new());
        network.nodes[0].log.insert(0, Record::ViewChange(own));
    }
    network.restart(0);
    assert_eq!(network.views()[0], (2, false));
    let last = network.nodes[0].sent.last().cloned();
    let Some((Recipient::All, Message::ViewChange(said))) = last else {
        panic!("it says again that it left: {last:?}");
    };
    assert_eq!(said.view, view(2));
}
