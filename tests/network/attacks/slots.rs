//! Who gets the inbound slots.

use std::thread;

use pentad_tests::{Devnet, wait_for, wait_until};

use super::{MIB, Watch, assert_others_are_served};
use crate::stranger::{HANDSHAKE, Hello, Session};

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
