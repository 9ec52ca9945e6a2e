//! One node against datagrams made by hand.

use std::net::SocketAddr;
use std::time::Duration;

use super::overlay::NETWORK;
use crate::kademlia::datagram::{contact_list, pong};
use crate::kademlia::{
    Contact, Datagram, Dht, Input, NodeId, Outcome, Output, Request, RpcId, Settings, Ticket,
    Value, Wish,
};

const NOW: Duration = Duration::from_secs(1);

fn at(text: &str) -> SocketAddr {
    text.parse().expect("a literal endpoint")
}

fn id(byte: u8) -> NodeId {
    NodeId::from_bytes([byte; 20])
}

fn dht() -> Dht {
    let settings =
        Settings { own_id: id(0xaa), network: NETWORK, seed: [7; 32], remembered: vec![] };
    Dht::new(settings, Duration::ZERO)
}

fn datagram(from: SocketAddr, datagram: &Datagram) -> Input {
    Input::Datagram { from, bytes: datagram.encode() }
}

fn request(from: SocketAddr, request: Request) -> Input {
    datagram(from, &Datagram::Request { id: RpcId([3; 20]), request })
}

fn sent(outputs: &[Output]) -> Vec<(SocketAddr, Datagram)> {
    let datagram = |output: &Output| match output {
        Output::Send { to, bytes } => Some((*to, Datagram::decode(bytes).expect("our own"))),
        _ => None,
    };
    outputs.iter().filter_map(datagram).collect()
}

fn pings(outputs: &[Output]) -> Vec<(SocketAddr, RpcId)> {
    let ping = |(to, datagram): (SocketAddr, Datagram)| match datagram {
        Datagram::Request { id, request: Request::Ping { .. } } => Some((to, id)),
        _ => None,
    };
    sent(outputs).into_iter().filter_map(ping).collect()
}

/// Makes `contact` known: it pings, and answers the ping back.
fn befriend(dht: &mut Dht, contact: Contact, now: Duration) {
    let out = dht.step(now, request(contact.endpoint, Request::Ping { sender: contact.id }));
    for (to, rpc) in pings(&out) {
        assert_eq!(to, contact.endpoint);
        let reply = Datagram::Reply { id: rpc, result: pong(&contact.id) };
        dht.step(now, datagram(to, &reply));
    }
    assert!(dht.table().contains(&contact));
}

/// The first steps of a Python server: ping, then at once find_node, before it answers our ping.
#[test]
fn python_bootstrap() {
    let (mut dht, python) = (dht(), at("192.0.2.7:5000"));
    befriend(&mut dht, Contact { id: id(1), endpoint: at("192.0.3.1:1") }, NOW);
    let out = dht.step(NOW, request(python, Request::Ping { sender: id(2) }));
    let [(_, first), (_, second)] = &sent(&out)[..] else { panic!("two datagrams: {out:?}") };
    let Datagram::Request { id: rpc, request: Request::Ping { .. } } = first else {
        panic!("our ping goes first: {first:?}");
    };
    assert_eq!(*second, Datagram::Reply { id: RpcId([3; 20]), result: pong(&id(0xaa)) });
    assert_eq!(dht.table().len(), 1, "a ping alone makes no contact");

    let ask = Request::FindNode { sender: id(2), target: id(2) };
    let out = dht.step(NOW, request(python, ask));
    assert_eq!(sent(&out).len(), pings(&out).len(), "it waits for the proof");
    let out = dht.step(NOW, datagram(python, &Datagram::Reply { id: *rpc, result: pong(&id(2)) }));
    let expected = contact_list(&[Contact { id: id(1), endpoint: at("192.0.3.1:1") }]);
    assert!(
        sent(&out).contains(&(python, Datagram::Reply { id: RpcId([3; 20]), result: expected }))
    );
    let contact = Contact { id: id(2), endpoint: python };
    assert!(out.contains(&Output::Discovered(contact)));
    assert!(dht.table().contains(&contact));
}

/// Attack 42: whatever a forged source is made to ask, it receives at most three times as much.
#[test]
fn a_query_from_an_unproven_endpoint_is_not_amplified() {
    let mut dht = dht();
    for n in 1..=40 {
        let endpoint = ([198, 51, n, 1], 5678).into();
        befriend(&mut dht, Contact { id: NodeId::of_name(&[n]), endpoint }, NOW);
    }
    let victim_of = |n: u8| SocketAddr::from(([203, 0, 113, n], 9));
    let (key, value) = (id(0x33), Value::Bin(vec![1; 4_000]));
    dht.step(NOW, Input::Wish(Ticket(1), Wish::Store(key, value)));
    assert!(dht.values().get(&key, NOW).is_none(), "forty others are asked first");
    let requests = [
        Request::Ping { sender: id(1) },
        Request::FindNode { sender: id(1), target: id(0x33) },
        Request::FindValue { sender: id(1), key },
        Request::Stun,
    ];
    for (n, asked) in (0..).zip(&requests) {
        let victim = victim_of(n);
        let mut received = 0;
        for round in 0..50 {
            let now = NOW + Duration::from_secs(round * 7);
            let mut outputs = dht.step(now, Input::Tick);
            let input = request(victim, asked.clone());
            if let Input::Datagram { bytes, .. } = &input {
                received += bytes.len();
            }
            outputs.extend(dht.step(now, input));
            let sent: usize = outputs
                .iter()
                .map(|output| match output {
                    Output::Send { to, bytes } if *to == victim => bytes.len(),
                    _ => 0,
                })
                .sum();
            assert!(sent <= 3 * received, "{asked:?}: {sent} for {received}");
        }
    }
    // Rubbish earns nothing at all.
    let rubbish = Input::Datagram { from: victim_of(9), bytes: vec![0; 1_000] };
    assert_eq!(dht.step(NOW, rubbish), []);
}

/// A reply counts for the endpoint its request went to, not for the one it claims to come from.
#[test]
fn a_proof_cannot_be_made_for_somebody_else() {
    let (mut dht, attacker, victim) = (dht(), at("192.0.2.7:5000"), at("203.0.113.1:9"));
    let out = dht.step(NOW, request(attacker, Request::Ping { sender: id(2) }));
    let [(_, rpc)] = pings(&out)[..] else { panic!("one ping: {out:?}") };
    dht.step(NOW, datagram(victim, &Datagram::Reply { id: rpc, result: pong(&id(2)) }));
    assert!(!dht.table().contains_endpoint(victim));
    let ask = Request::FindNode { sender: id(2), target: id(3) };
    let out = dht.step(NOW, request(victim, ask));
    assert!(out.iter().all(|it| matches!(it, Output::Send { to, .. } if *to == victim)));
    assert_eq!(sent(&out).len(), pings(&out).len(), "only our ping: {out:?}");
}

#[test]
fn replies_with_unknown_ids_change_nothing() {
    let mut dht = dht();
    let reply = Datagram::Reply { id: RpcId([9; 20]), result: pong(&id(2)) };
    assert_eq!(dht.step(NOW, datagram(at("192.0.2.7:5000"), &reply)), []);
    assert!(dht.table().is_empty());
}

/// What third parties say about ids is hearsay: the contact enters under the id that it names
/// itself.
#[test]
fn a_named_contact_enters_under_its_own_id() {
    let mut dht = dht();
    let teller = Contact { id: id(1), endpoint: at("192.0.2.1:1") };
    befriend(&mut dht, teller, NOW);
    let out = dht.step(NOW, Input::Wish(Ticket(1), Wish::Contacts(id(0x77))));
    let Some((_, Datagram::Request { id: ask, .. })) = sent(&out).pop() else {
        panic!("a question: {out:?}");
    };
    let named = Contact { id: id(0x77), endpoint: at("192.0.2.2:2") };
    let inward = Contact { id: id(0x76), endpoint: at("127.0.0.1:22") };
    let lie = contact_list(&[named, inward]);
    let out = dht.step(NOW, datagram(teller.endpoint, &Datagram::Reply { id: ask, result: lie }));
    let [(to, Datagram::Request { id: ask, .. })] = sent(&out)[..] else {
        panic!("the loopback contact is not called: {out:?}");
    };
    assert_eq!(to, named.endpoint);
    let answer = Datagram::Reply { id: ask, result: contact_list(&[]) };
    let out = dht.step(NOW, datagram(to, &answer));
    assert!(!dht.table().contains(&named));
    let [(to, rpc)] = pings(&out)[..] else { panic!("one ping: {out:?}") };
    let out = dht.step(NOW, datagram(to, &Datagram::Reply { id: rpc, result: pong(&id(0x78)) }));
    assert!(out.contains(&Output::Discovered(Contact { id: id(0x78), ..named })));
    assert!(dht.table().contains(&Contact { id: id(0x78), ..named }));
}

#[test]
fn a_silent_contact_is_asked_once_more_and_leaves() {
    let mut dht = dht();
    let contact = Contact { id: id(1), endpoint: at("192.0.2.1:1") };
    befriend(&mut dht, contact, NOW);
    dht.step(NOW, Input::Wish(Ticket(1), Wish::Contacts(id(0x77))));
    let out = dht.step(NOW + Duration::from_secs(6), Input::Tick);
    assert!(out.contains(&Output::Done(Ticket(1), Outcome::Contacts(vec![]))));
    assert!(dht.table().contains(&contact), "one lost datagram is forgiven");
    dht.step(NOW + Duration::from_secs(12), Input::Tick);
    assert!(!dht.table().contains(&contact));
    // It is not forgotten: while nobody else is there it is greeted again and again.
    let out = dht.step(NOW + Duration::from_secs(80), Input::Tick);
    assert!(pings(&out).iter().any(|(to, _)| *to == contact.endpoint));
}

#[test]
fn a_node_is_no_contact_of_itself() {
    let (mut dht, own) = (dht(), at("192.0.2.9:5678"));
    let out = dht.step(NOW, Input::Bootstrap(vec![own]));
    for (_, datagram) in sent(&out) {
        let bytes = datagram.encode();
        for output in dht.step(NOW, Input::Datagram { from: own, bytes }) {
            if let Output::Send { bytes, .. } = output {
                dht.step(NOW, Input::Datagram { from: own, bytes });
            }
        }
    }
    assert!(dht.table().is_empty());
    assert_eq!(dht.step(NOW, Input::Bootstrap(vec![own])), [], "known to be ourselves");
}

#[test]
fn parked_requests_and_searches_are_bounded() {
    let mut dht = dht();
    for n in 0..100_000_u32 {
        let [_, a, b, c] = n.to_be_bytes();
        let ask = Request::FindNode { sender: NodeId::of_name(&n.to_be_bytes()), target: id(1) };
        dht.step(NOW, request(([30 + a, b, c, 1], 9).into(), ask));
    }
    let contact = Contact { id: id(1), endpoint: at("127.0.0.1:7") };
    befriend(&mut dht, contact, NOW);
    let wishes = (0..1_000).map(|n| Input::Wish(Ticket(n), Wish::Contacts(id(3))));
    let busy = wishes
        .flat_map(|wish| dht.step(NOW, wish))
        .filter(|output| matches!(output, Output::Done(_, Outcome::Busy)))
        .count();
    assert!(busy >= 1_000 - crate::kademlia::MAX_SEARCHES, "{busy}");
}

/// Forged senders, whose requests wait for a proof that never comes, leave room for a newcomer.
#[test]
fn a_flood_of_waiting_requests_does_not_keep_a_newcomer_out() {
    let mut dht = dht();
    befriend(&mut dht, Contact { id: id(1), endpoint: at("192.0.3.1:1") }, NOW);
    for forged in 0..2_000_u32 {
        let from = SocketAddr::from((forged.rotate_left(13).to_be_bytes(), 9));
        dht.step(NOW, request(from, Request::FindNode { sender: id(3), target: id(3) }));
    }
    let newcomer = at("198.51.100.7:5000");
    let out = dht.step(NOW, request(newcomer, Request::FindNode { sender: id(2), target: id(2) }));
    let [(to, rpc)] = pings(&out)[..] else { panic!("a ping: {out:?}") };
    let out = dht.step(NOW, datagram(to, &Datagram::Reply { id: rpc, result: pong(&id(2)) }));
    let answered = |(to, datagram): &(SocketAddr, Datagram)| {
        *to == newcomer && matches!(datagram, Datagram::Reply { id: RpcId([3, ..]), .. })
    };
    assert!(sent(&out).iter().any(answered), "{out:?}");
}

/// Somebody with many ids of one region, and one subnet, is not all that is left after a restart.
#[test]
fn a_restart_remembers_more_than_one_region_and_one_subnet() {
    let honest: Vec<SocketAddr> = (1..=20).map(|n| at(&format!("198.51.{n}.1:5678"))).collect();
    let others = (1..=200).map(|n| at(&format!("203.0.113.{n}:5678")));
    // As the file has them: in the order of their ids.
    let remembered: Vec<SocketAddr> = honest.iter().copied().chain(others).collect();
    let settings = Settings { own_id: id(0xaa), network: NETWORK, seed: [7; 32], remembered };
    let out = Dht::new(settings, Duration::ZERO).step(NOW, Input::Tick);
    let greeted: Vec<SocketAddr> = pings(&out).into_iter().map(|(to, _)| to).collect();
    let of_honest = greeted.iter().filter(|to| honest.contains(to)).count();
    assert!(of_honest >= 20, "{of_honest} of {} are honest", greeted.len());
    assert!(greeted.len() <= 32);
}
