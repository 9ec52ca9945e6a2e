//! Sections 4.2 and 4.3 of the paper.

use pentad_primitives::sha256d;

use super::network::{K, Network, block, genesis, id, seq, view};
use crate::event::{Input, Recipient, Timer};
use crate::message::{Message, Phase, Vote};
use crate::record::Record;

#[test]
fn replicas_order_blocks_whatever_their_number() {
    for replicas in 1..=10 {
        let mut network = Network::of(replicas);
        network.order(3);
        assert_eq!(network.heights(), vec![3; replicas]);
        assert!(network.views().iter().all(|view| *view == (0, true)));
        for node in &network.nodes {
            assert!(node.timers.is_empty() || replicas > 1, "a lone replica waits for nobody");
            assert!(node.chain.iter().all(|block| {
                let needed = network.quorum.quorum();
                block.certificate.signatures.len() == needed
            }));
        }
    }
}

#[test]
fn a_lone_replica_orders_at_once_and_sends_nothing() {
    let mut network = Network::of(1);
    network.work(5);
    assert_eq!(network.heights(), [5]);
    assert!(network.nodes[0].sent.is_empty());
}

#[test]
fn several_sequences_are_in_flight_and_execute_in_order() {
    let mut network = Network::with_window(4, 4);
    network.slow.insert(2, Vec::new());
    network.work(4);
    let proposed = network.nodes[0].sent.iter().filter(|(_, m)| m.name() == "pre-prepare").count();
    assert_eq!(proposed, 4, "the primary fills the window");
    network.run();
    assert_eq!(network.heights(), [4, 4, 0, 4]);
    // The slow ledger is given the second block only when it has the first.
    for height in 1..=4 {
        let (certificate, body) = network.slow.get_mut(&2).unwrap().pop().unwrap();
        assert!(network.slow[&2].is_empty(), "one execution at a time");
        network.execute(2, certificate, body);
        assert_eq!(network.nodes[2].chain.len(), height);
    }
}

#[test]
fn votes_may_come_before_the_proposal() {
    let mut network = Network::of(4);
    network.work(1);
    // Node 3 gets everything backwards.
    let mut kept = Vec::new();
    while let Some((from, to, message)) = network.queue.pop_front() {
        if to == 3 {
            kept.push(message);
        } else {
            network.deliver(to, message);
            assert!(from < 4);
        }
    }
    assert_eq!(network.heights(), [1, 1, 1, 0]);
    let kinds: Vec<_> = kept.iter().map(Message::name).collect();
    assert_eq!(kinds, ["pre-prepare", "prepare", "prepare", "commit", "commit", "commit"]);
    for message in kept.into_iter().rev() {
        network.deliver(3, message);
    }
    assert_eq!(network.heights(), [1, 1, 1, 1]);
}

#[test]
fn a_replica_that_gets_only_commits_fetches_the_block() {
    let mut network = Network::of(4);
    network.work(1);
    network.queue.retain(|(_, to, message)| *to != 3 || message.name() == "commit");
    while let Some((_, to, message)) = network.queue.pop_front() {
        if to != 3 || !["pre-prepare", "prepare"].contains(&message.name()) {
            network.deliver(to, message);
        }
    }
    assert_eq!(network.heights(), [1; 4]);
    assert!(network.nodes[3].sent.iter().any(|(_, message)| message.name() == "fetch-body"));
}

#[test]
fn duplicates_change_nothing() {
    let mut once = Network::of(4);
    once.order(2 * usize::try_from(K).unwrap());
    let mut twice = Network::of(4);
    twice.work(2 * usize::try_from(K).unwrap());
    while let Some((_, to, message)) = twice.queue.pop_front() {
        twice.deliver(to, message.clone());
        let state = twice.nodes[to].replica.clone();
        let log = twice.nodes[to].log.len();
        twice.deliver(to, message.clone());
        if twice.nodes[to].replica != state {
            // Only a late vote that comes again is remembered, for its sender may wait.
            assert!(["prepare", "commit", "pre-prepare", "checkpoint"].contains(&message.name()));
        }
        assert_eq!(twice.nodes[to].log.len(), log, "{} was written twice", message.name());
    }
    assert_eq!(once.heights(), twice.heights());
    for (one, two) in once.nodes.iter().zip(&twice.nodes) {
        assert!(two.evidence.is_empty());
        let own = |node: &super::network::Node| -> Vec<Message> {
            let to_all = node.sent.iter().filter(|(to, _)| *to == Recipient::All);
            to_all.map(|(_, message)| message.clone()).collect()
        };
        assert_eq!(own(one), own(two));
    }
}

#[test]
fn an_own_vote_counts_only_behind_what_was_written() {
    // The network holds every output of every step against the log; here the order itself.
    let mut network = Network::of(1);
    network.proposes = false;
    network.work(1);
    let (view, sequence, parent) = network.nodes[0].asked.unwrap();
    let (digest, body) = block(parent, 7);
    let proposal = Input::Proposal { view, sequence, digest, parent, body };
    let outputs = network.nodes[0].replica.step(proposal);
    let kinds: Vec<_> = outputs.iter().map(|output| format!("{output:?}")).collect();
    let starts = ["Persist(PrePrepare", "Persist(Prepared", "Execute"];
    assert_eq!(kinds.len(), starts.len(), "{kinds:?}");
    for (kind, start) in kinds.iter().zip(starts) {
        assert!(kind.starts_with(start), "{kind} is not {start}");
    }
}

#[test]
fn checkpoints_move_the_watermarks_and_cut_the_log() {
    let mut network = Network::of(4);
    let blocks = usize::try_from(3 * K).unwrap();
    network.order(blocks);
    for node in &network.nodes {
        let status = node.replica.status();
        assert_eq!(status.low_watermark, seq(3 * K));
        assert_eq!(status.high_watermark, seq(5 * K));
        assert!(node.log.len() <= 4, "{:?}", node.log);
        assert!(matches!(node.log[0], Record::StableCheckpoint(_)));
    }
}

#[test]
fn a_log_that_grew_large_is_rewritten_without_a_checkpoint() {
    let mut network = Network::of(4);
    network.order(1);
    assert!(network.nodes.iter().all(|node| node.log.len() == 2), "too early for a checkpoint");
    for node in &mut network.nodes {
        node.replica.log_bytes = 64 * 1024 * 1024;
    }
    network.order(2);
    assert!(network.nodes.iter().all(|node| node.log.is_empty()), "all of it is final");
    assert!(network.nodes.iter().all(|node| node.replica.log_bytes == 0));
    network.order(3);
    assert_eq!(network.heights(), [3; 4]);
}

#[test]
fn no_replica_goes_beyond_the_high_watermark() {
    let mut network = Network::of(4);
    let high = usize::try_from(2 * K).unwrap();
    network.work(high + 3);
    while let Some((_, to, message)) = network.queue.pop_front() {
        if message.name() != "checkpoint" {
            network.deliver(to, message);
        }
    }
    assert_eq!(network.heights(), vec![high; 4]);
    // What was lost is sent again, and the others go on.
    network.fire_all(Timer::Resend);
    network.run();
    assert_eq!(network.heights(), vec![high + 3; 4]);
}

#[test]
fn a_replica_whose_watermarks_lag_catches_up_by_its_own_checkpoint() {
    let mut network = Network::of(4);
    network.cut_off(3);
    network.order(usize::try_from(4 * K).unwrap());
    network.heal();
    network.sync(0, 3);
    network.run();
    assert_eq!(network.nodes[3].replica.status().low_watermark, seq(4 * K));
}

#[test]
fn the_view_timer_runs_only_while_there_is_something_to_wait_for() {
    let mut network = Network::of(4);
    assert!(network.nodes.iter().all(|node| node.timers.is_empty()));
    network.proposes = false;
    network.work(1);
    assert!(network.nodes.iter().all(|node| node.timers.contains_key(&Timer::View)));
    network.work(0);
    assert!(network.nodes.iter().all(|node| node.timers.is_empty()));
    // A proposal in flight is something to wait for, work or no work.
    network.work(1);
    network.propose(0, 0);
    network.work(0);
    let (_, to, message) = network.queue.pop_front().unwrap();
    network.deliver(to, message);
    assert!(network.nodes[to].timers.contains_key(&Timer::View));
    network.run();
    assert_eq!(network.heights(), [1; 4]);
    assert!(network.nodes.iter().all(|node| !node.timers.contains_key(&Timer::View)));
}

#[test]
fn resent_messages_are_the_same_bytes() {
    let mut network = Network::of(4);
    network.cut_off(0);
    network.work(1);
    let first = network.nodes[0].sent.clone();
    network.run();
    network.fire(0, Timer::Resend);
    let proposed = |sent: &[(Recipient, Message)]| -> Vec<Vec<u8>> {
        let proposals = sent.iter().filter(|(_, message)| message.name() == "pre-prepare");
        proposals.map(|(_, message)| message.to_bytes()).collect()
    };
    let again = proposed(&network.nodes[0].sent[first.len()..]);
    assert_eq!(again.len(), 3, "one for each backup that did not vote");
    assert!(again.iter().all(|bytes| *bytes == proposed(&first)[0]));
    network.heal();
    network.fire(0, Timer::Resend);
    network.run();
    assert_eq!(network.heights(), [1; 4]);
}

#[test]
fn a_block_executed_by_sync_in_flight_is_taken_as_it_is() {
    let mut network = Network::of(4);
    network.work(2);
    // Node 3 holds the proposal and waits for votes, then sync brings the block.
    let at = network.queue.iter().position(|(_, to, _)| *to == 3).unwrap();
    let (_, _, message) = network.queue.remove(at).unwrap();
    network.deliver(3, message);
    for other in 0..3 {
        network.cut.insert((other, 3));
    }
    network.run();
    assert_eq!(network.heights(), [2, 2, 2, 0]);
    network.sync(0, 3);
    let status = network.nodes[3].replica.status();
    assert_eq!((status.last_final, status.in_flight.len()), (seq(2), 0));
    network.heal();
    network.order(4);
    assert_eq!(network.heights(), [4; 4]);
}

#[test]
fn one_slow_vote_in_the_normal_case_sends_no_block_to_anyone() {
    let mut network = Network::of(4);
    network.order(6);
    for node in &network.nodes {
        let bulky = node.sent.iter().filter(|(_, m)| ["certified", "body"].contains(&m.name()));
        assert_eq!(bulky.count(), 0);
    }
}

#[test]
fn a_replica_that_missed_the_last_block_gets_it_with_the_next() {
    let mut network = Network::of(4);
    network.cut_off(3);
    network.order(1);
    network.heal();
    network.order(2);
    assert_eq!(network.heights(), [2, 2, 2, 0]);
    network.fire_all(Timer::Resend);
    network.run();
    network.fire_all(Timer::Resend);
    network.run();
    assert_eq!(network.heights(), [2; 4]);
}

#[test]
fn a_vote_says_whose_it_is_only_to_the_replica_it_is_for() {
    let mut network = Network::of(4);
    network.order(1);
    let before = network.nodes[2].replica.clone();
    // A message under this replica's own name, or a stranger's, is not for it to believe.
    for sender in [2, 4, 63] {
        let credentials = network.credentials(sender);
        let (digest, _) = block(genesis(), 1);
        let vote = Vote::sign(&credentials, Phase::Commit, view(0), seq(2), digest);
        assert_eq!(vote.sender, id(sender));
        network.deliver(2, Message::Commit(vote));
    }
    assert_eq!(network.nodes[2].replica, before);
}

/// A replica whose root came after a quorum had agreed without it still signs it: one whose
/// watermarks lag, because another is gone for good, counts on it.
#[test]
fn a_root_that_is_found_after_a_quorum_agreed_is_signed_for_those_who_lag() {
    let blocks = usize::try_from(2 * K).unwrap();
    let mut network = Network::of(4);
    network.withheld_root.insert(2);
    network.cut_off(3);
    network.order(blocks);
    network.sync(0, 3);
    network.run();
    network.cut.remove(&(3, 2));
    network.fire(3, Timer::Resend);
    network.run();
    let low = |network: &Network, place: usize| network.nodes[place].replica.status().low_watermark;
    assert_eq!((low(&network, 2), low(&network, 3)), (seq(2 * K), seq(0)));
    let last = network.nodes[0].chain.last().unwrap().digest;
    let root = sha256d(last.as_bytes());
    network.step(2, Input::Root { sequence: seq(2 * K), digest: last, root });
    network.heal();
    network.cut_off(1);
    network.order(blocks + 1);
    for _ in 0..3 {
        network.fire_all(Timer::Resend);
        network.run();
    }
    assert_eq!(network.heights(), [blocks + 1, blocks, blocks + 1, blocks + 1]);
}
