//! The UDP side.

use std::net::UdpSocket;
use std::time::Duration;

use pentad_tests::Devnet;

use super::{MIB, Watch, assert_others_are_served};

/// A Kademlia request of procedure `name` with ids for arguments.
fn request(number: u32, name: &str, ids: u8) -> Vec<u8> {
    let mut datagram = vec![0; 21];
    datagram[1..5].copy_from_slice(&number.to_be_bytes());
    let length = u8::try_from(name.len()).expect("short");
    datagram.extend([0x92, 0xa0 | length]);
    datagram.extend(name.as_bytes());
    datagram.push(0x90 | ids);
    for id in 0..ids {
        datagram.extend([0xc4, 20]);
        datagram.extend([id; 20]);
    }
    datagram
}

/// What comes until nothing has come for a second.
fn received(socket: &UdpSocket) -> usize {
    socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout");
    let mut buffer = [0; 10_000];
    let mut bytes = 0;
    while let Ok(length) = socket.recv(&mut buffer) {
        bytes += length;
    }
    bytes
}

/// Attack 42: whoever does not answer, and may be somebody else, is sent little.
#[test]
fn attack_42_an_unproven_endpoint_gets_at_most_three_times_what_it_sent() {
    let devnet = Devnet::up(2);
    let watch = Watch::on(&devnet.node(1));
    for (name, ids) in [("ping", 1), ("find_node", 2), ("find_value", 2), ("stun", 0)] {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.connect(devnet.node(1).p2p()).expect("connected");
        let mut sent = 0;
        for number in 0..50 {
            let datagram = request(number, name, ids);
            sent += socket.send(&datagram).expect("sent");
        }
        let received = received(&socket);
        assert!(received > 0, "{name}: not even a ping");
        assert!(received <= 3 * sent, "{name}: {received} bytes for {sent}");
    }
    watch.assert_grown_less_than(16 * MIB);
    assert_others_are_served(&devnet);
}

/// Datagrams of every shape and many senders.
#[test]
fn attack_42_garbage_and_many_endpoints_take_no_memory() {
    let devnet = Devnet::up(2);
    let watch = Watch::on(&devnet.node(1));
    for round in 0..200_u32 {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.connect(devnet.node(1).p2p()).expect("connected");
        for number in 0..50 {
            let mut datagram = request(round * 50 + number, "find_node", 2);
            match number % 5 {
                0 => datagram[0] = 1,
                1 => datagram.truncate(usize::try_from(number).expect("small")),
                2 => datagram.extend([0xdd, 0xff, 0xff, 0xff, 0xff]),
                3 => datagram.resize(60_000, 0x91),
                _ => {}
            }
            // A closed port of the other side is reported on a later send.
            drop(socket.send(&datagram));
        }
    }
    watch.assert_grown_less_than(32 * MIB);
    assert_others_are_served(&devnet);
}
