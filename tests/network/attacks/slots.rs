//! Who gets the inbound slots.

use std::thread;

use pentad_tests::{Devnet, buf_curl, wait_for, wait_until};
use serde_json::json;

use super::{MIB, Watch, assert_others_are_served};
use crate::coins::create_wallet;
use crate::pbft::pay;
use crate::stranger::{BLOCK, CONSENSUS_MESSAGE, HANDSHAKE, Hello, Session};

const INBOUND_MAX: usize = 64;

/// Takes as many slots of a node as there are.
fn fill(hello: &Hello, to: &str) -> Vec<Session> {
    let mut inside = Vec::new();
    wait_until("all slots are taken", || {
        inside.extend(hello.again().connect(to).and_then(Session::joined));
        inside.len() >= INBOUND_MAX
    });
    inside
}

/// Attack 44: at a restart others are faster, and take all slots; this node goes to whom it knows.
#[test]
fn attack_44_inbound_slots_filled_at_a_restart_leave_outbound_honest() {
    let devnet = Devnet::up(2);
    let hello = Hello::of(&devnet, 2);
    let to = devnet.node(2).p2p();
    devnet.stop(2);
    let attacker = thread::spawn({
        let to = to.clone();
        move || fill(&hello, &to)
    });
    devnet.restart();
    let inside = attacker.join().expect("no panic");
    let watch = Watch::on(&devnet.node(2));
    assert_others_are_served(&devnet);
    watch.assert_grown_less_than(128 * MIB);
    drop(inside);
}

/// Attack 44: somebody holds all slots from one subnet; a newcomer from elsewhere gets in.
#[test]
fn attack_44_a_newcomer_gets_in_when_all_slots_are_taken() {
    let devnet = Devnet::up(2);
    let hello = Hello::of(&devnet, 1);
    let to = devnet.node(1).p2p();
    let _inside = fill(&hello, &to);
    let newcomer = hello.again().from([127, 9, 9, 1]);
    let mut session = wait_for("the newcomer gets in", || {
        newcomer.connect(&to).and_then(Session::joined).map_err(|error| error.to_string())
    });
    session.wait_for(HANDSHAKE).expect("it stays");
    assert_others_are_served(&devnet);
}

/// Whoever only says that it takes part in consensus is sent no proposals, however many they are.
#[test]
fn a_stranger_that_says_consensus_gets_no_messages_of_validators() {
    let devnet = Devnet::up_pbft(4);
    let alice = devnet.genesis_address();
    let bob = create_wallet(&devnet, 2, "bob");
    let node = devnet.node(1);
    let hello = Hello { capabilities: vec!["consensus"], ..Hello::of(&devnet, 1) };
    let sessions = (0..8).map(|_| hello.again().connect(&node.p2p()).and_then(Session::joined));
    let mut sessions: Vec<Session> = sessions.map(|session| session.expect("a peer")).collect();
    wait_until("the validators are told apart from the strangers", || {
        let reply = buf_curl(&node, "pentad.peer.v1.PeerService/ListPeers", &json!({}));
        let peers = reply.json["peers"].as_array().cloned().unwrap_or_default();
        let replicas = peers.iter().filter(|peer| peer["consensus"] == true).count();
        peers.len() == 3 + sessions.len() && replicas == 3
    });
    pay(&devnet, 1, &alice, &bob, "1");
    for session in &mut sessions {
        loop {
            let frame = session.receive().expect("it is a peer like any other");
            assert_ne!(frame.kind, CONSENSUS_MESSAGE);
            if frame.kind == BLOCK {
                break;
            }
        }
    }
}
