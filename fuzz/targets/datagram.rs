//! UDP: a datagram, its msgpack, the endpoint record in it; a node that gets it from a stranger.

#![no_main]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use pentad_wire::kademlia::{
    Datagram, Dht, Input, NetworkId, NodeId, Output, Settings, Value, VerifiedRecord, Wish,
};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(value) = Value::decode(bytes) {
        let mut again = Vec::new();
        value.encode(&mut again);
        // Not compared as values: a NaN is not itself.
        let decoded = Value::decode(&again).expect("its own encoding");
        let mut twice = Vec::new();
        decoded.encode(&mut twice);
        assert_eq!(again, twice);
        if let Ok(record) = VerifiedRecord::from_value(&value) {
            assert_eq!(record.key(), VerifiedRecord::from_value(&value).expect("as before").key());
        }
    }
    if let Ok(datagram) = Datagram::decode(bytes) {
        let again = datagram.encode();
        assert_eq!(Datagram::decode(&again).expect("its own encoding").encode(), again);
    }
    serve(bytes);
});

/// A node with a search under way, which must answer a stranger with little.
fn serve(bytes: &[u8]) {
    let settings = Settings {
        own_id: NodeId::of_name(b"own"),
        network: NetworkId(*b"genesis!"),
        seed: [7; 32],
        remembered: vec![],
    };
    let mut now = Duration::ZERO;
    let mut node = Dht::new(settings, now);
    let known = SocketAddr::from((Ipv4Addr::new(9, 9, 9, 9), 9));
    let stranger = SocketAddr::from((Ipv4Addr::new(8, 8, 8, 8), 8));
    let _ = node.step(now, Input::Bootstrap(vec![known]));
    let mut sent = Vec::new();
    for output in node.step(now, Input::Tick) {
        if let Output::Send { bytes, .. } = output {
            sent.push(bytes);
        }
    }
    let _ = node.step(
        now,
        Input::Wish(pentad_wire::kademlia::Ticket(1), Wish::Contacts(NodeId::of_name(b"x"))),
    );
    let mut answered = 0;
    for output in node.step(now, Input::Datagram { from: stranger, bytes: bytes.to_vec() }) {
        if let Output::Send { to, bytes } = output {
            answered += if to == stranger { bytes.len() } else { 0 };
        }
    }
    assert!(answered <= 3 * bytes.len(), "{answered} bytes for {}", bytes.len());
    // The same result as the answer to a call of this node.
    for request in sent {
        let mut reply = vec![1];
        reply.extend_from_slice(&request[1..21]);
        reply.extend_from_slice(bytes);
        let _ = node.step(now, Input::Datagram { from: known, bytes: reply });
    }
    now += Duration::from_secs(6);
    let _ = node.step(now, Input::Tick);
}
