//! Connections, frames and what they cost.

use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;

use pentad_tests::{Devnet, wait_until};

use super::{MIB, Watch, assert_others_are_served, metric};
use crate::stranger::{
    ANNOUNCEMENTS, BLOCK, BULK, CONSENSUS, HANDSHAKE, Hello, Session, announced, bytes, connect,
    number,
};

/// A stranger that has become a peer.
fn joined(stranger: &Hello, to: &str) -> Session {
    stranger.connect(to).and_then(Session::joined).expect("a peer")
}

/// Attack 35.
#[test]
fn attack_35_lengths_over_the_limit_end_the_link_before_anything_is_allocated() {
    let devnet = Devnet::up(2);
    let to = devnet.node(1).p2p();
    let hello = Hello::of(&devnet, 1);
    let watch = Watch::on(&devnet.node(1));
    for class in [CONSENSUS, ANNOUNCEMENTS, BULK] {
        for length in [u32::MAX, 9 << 20] {
            for kind in [BLOCK, HANDSHAKE, 0, 200] {
                let stranger = hello.again();
                let mut session = joined(&stranger, &to);
                session.send_bytes(class, &announced(kind, length)).expect("sent");
                assert_eq!(session.end(), None, "closed without a word");
                wait_until("it is banned", || {
                    let again = stranger.connect(&to);
                    again.is_ok_and(|mut it| it.end().as_deref() == Some("BANNED"))
                });
            }
        }
    }
    watch.assert_grown_less_than(16 * MIB);
    assert_others_are_served(&devnet);
}

/// Many links that each begin the largest frame and never finish it.
#[test]
fn attack_35_frames_that_are_never_finished_are_bounded_together() {
    let devnet = Devnet::up(2);
    let to = devnet.node(1).p2p();
    let hello = Hello::of(&devnet, 1);
    let watch = Watch::on(&devnet.node(1));
    let begun = [announced(BLOCK, 8 << 20), vec![0; (8 << 20) - 1]].concat();
    let mut sessions = Vec::new();
    for _ in 0..40 {
        let mut session = joined(&hello.again(), &to);
        // Those that hold most for longest are closed, perhaps this one in the middle.
        if session.send_bytes(BULK, &begun).is_ok() {
            sessions.push(session);
        }
    }
    wait_until("what is held is bounded", || watch.grown() < 160 * MIB);
    assert_others_are_served(&devnet);
    drop(sessions);
}

/// Attack 46.
#[test]
fn attack_46_whatever_comes_before_the_handshake_the_accept_loop_lives() {
    let devnet = Devnet::up(2);
    let to = devnet.node(1).p2p();
    let watch = Watch::on(&devnet.node(1));
    let local = Ipv4Addr::LOCALHOST.into();
    // Half-open connections: one says nothing, one a part of a message.
    let half_open: Vec<_> = (0..40)
        .map(|number| {
            let mut stream = connect(local, &to).expect("open");
            stream.write_all(&[0, 32][..number % 2 * 2]).expect("sent");
            stream
        })
        .collect();
    let garbage: [&[u8]; 5] =
        [b"GET / HTTP/1.1\r\n\r\n", &[0xff; 5000], &[0; 300], &[0, 96, 7], &[]];
    for round in 0..20 {
        let mut stream = connect(local, &to).expect("open");
        // It may be closed before all is sent.
        drop(stream.write_all(garbage[round % garbage.len()]));
        drop(stream.shutdown(std::net::Shutdown::Write));
        let mut rest = Vec::new();
        // The end, by a farewell of TCP or without.
        drop(stream.read_to_end(&mut rest));
    }
    for stream in half_open {
        let mut rest = Vec::new();
        let mut stream = stream;
        drop(stream.read_to_end(&mut rest));
        assert!(rest.len() <= 200, "closed in time");
    }
    watch.assert_grown_less_than(16 * MIB);
    assert_others_are_served(&devnet);
}

/// Attack 46.
#[test]
fn attack_46_another_network_and_malformed_handshakes_are_refused() {
    let devnet = Devnet::up(2);
    let node = devnet.node(1);
    let hello = Hello::of(&devnet, 1);
    let other = Hello { network: "other".to_owned(), ..hello.again() };
    let mut session = other.connect(&node.p2p()).expect("open");
    assert_eq!(session.end().as_deref(), Some("WRONG_NETWORK"));
    let other = Hello { genesis: vec![7; 32], ..hello.again() };
    let mut session = other.connect(&node.p2p()).expect("open");
    assert_eq!(session.end().as_deref(), Some("WRONG_GENESIS"));

    let long = Hello { network: "x".repeat(5000), ..hello.again() };
    let short = Hello { genesis: vec![7; 31], ..hello.again() };
    let odd = [vec![0xff; 100], bytes(1, b"unfinished")[..4].to_vec(), number(9, 70_000)];
    let payloads = [vec![long.payload(0), short.payload(0)], odd.to_vec()].concat();
    for payload in payloads {
        let mut session = hello.again().open(&node.p2p()).expect("noise");
        session.send(CONSENSUS, HANDSHAKE, &payload).expect("sent");
        assert_eq!(session.end(), None, "closed without a word");
    }
    // What is bad before the handshake is over bans nobody.
    let mut session = hello.open(&node.p2p()).expect("noise");
    session.send(CONSENSUS, HANDSHAKE, &[0xff]).expect("sent");
    session.end();
    let session = joined(&hello, &node.p2p());
    assert_eq!(metric(&node, "pentad_peer_bans_total"), 0);
    drop(session);
    assert_others_are_served(&devnet);
}

/// Attack 46: a storm of connections, and of whole handshakes, is turned away unread.
#[test]
fn attack_46_a_storm_of_connections_is_turned_away() {
    let devnet = Devnet::up(2);
    let node = devnet.node(1);
    let hello = Hello::of(&devnet, 1);
    let watch = Watch::on(&node);
    let turned_away = || metric(&node, "pentad_peer_connections_turned_away_total");
    let mut connections = 0_u32;
    while turned_away() < 100 {
        connections += 50;
        assert!(connections < 50_000, "nothing is turned away");
        for _ in 0..50 {
            drop(hello.again().connect(&node.p2p()));
        }
    }
    watch.assert_grown_less_than(32 * MIB);
    assert_others_are_served(&devnet);
    wait_until("a newcomer is welcome", || {
        hello.again().connect(&node.p2p()).and_then(Session::joined).is_ok()
    });
}
