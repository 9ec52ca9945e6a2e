//! Bytes recorded from PyPI kademlia 2.2.3 over rpcudp 5.0.1.

use std::net::SocketAddr;

use crate::kademlia::datagram::{Datagram, DatagramError, Found, Request, RpcId, value_found};
use crate::kademlia::datagram::{contact_list, endpoint_seen, parse_found, parse_pong, pong};
use crate::kademlia::msgpack::{DecodeError, Value};
use crate::kademlia::{Contact, NodeId};

fn bytes(hex: &str) -> Vec<u8> {
    hex::decode(hex.replace(' ', "")).expect("hex digits")
}

fn id(byte: u8) -> NodeId {
    NodeId::from_bytes([byte; 20])
}

fn rpc(hex: &str) -> RpcId {
    RpcId(bytes(hex).try_into().expect("20 bytes"))
}

fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

fn text(text: &str) -> Value {
    Value::Str(text.to_owned())
}

/// Both directions: the datagram encodes to the bytes, the bytes decode to the datagram.
fn check(datagram: &Datagram, golden: &str) {
    assert_eq!(hex::encode(datagram.encode()), golden.replace(' ', ""));
    assert_eq!(Datagram::decode(&bytes(golden)).as_ref(), Ok(datagram));
}

fn check_request(request: Request, rpc_id: &str, golden: &str) {
    check(&Datagram::Request { id: rpc(rpc_id), request }, golden);
}

fn check_reply(result: Value, rpc_id: &str, golden: &str) {
    check(&Datagram::Reply { id: rpc(rpc_id), result }, golden);
}

const ELEVENS: &str = "1111111111111111111111111111111111111111";
const THREES: &str = "3333333333333333333333333333333333333333";
const KEY: &str = "a2ab1959c1c3bfa295b0fc90199378272db76b45";

#[test]
fn ping() {
    let rpc_id = "f7e731c33b77a2183abbbc460aefc6a59d4b5893";
    let golden = format!("00 {rpc_id} 92 a470696e67 91 c414 {ELEVENS}");
    check_request(Request::Ping { sender: id(0x11) }, rpc_id, &golden);
    let answer = pong(&id(0xaa));
    assert_eq!(parse_pong(&answer), Some(id(0xaa)));
    check_reply(answer, rpc_id, &format!("01 {rpc_id} c414 {}", "aa".repeat(20)));
}

#[test]
fn find_node() {
    let rpc_id = "e4b725d0aeea063449c33e083f5f6700a962d690";
    let golden = format!("00 {rpc_id} 92 a966696e645f6e6f6465 92 c414 {THREES} c414 {THREES}");
    check_request(Request::FindNode { sender: id(0x33), target: id(0x33) }, rpc_id, &golden);
    let contact = Contact { id: id(0x11), endpoint: local(18469) };
    let answer = contact_list(&[contact]);
    assert_eq!(parse_found(answer.clone()), Some(Found::Contacts(vec![contact])));
    let golden = format!("01 {rpc_id} 91 93 c414 {ELEVENS} a93132372e302e302e31 cd4825");
    check_reply(answer, rpc_id, &golden);
    check_reply(contact_list(&[]), rpc_id, &format!("01 {rpc_id} 90"));
}

#[test]
fn store() {
    let rpc_id = "510984e03ce4576802c474b8892cfe327c805ed1";
    let golden = format!("00 {rpc_id} 92 a573746f7265 93 c414 {ELEVENS} c414 {KEY} a27631");
    let key = NodeId::of_name(b"k1");
    check_request(Request::Store { sender: id(0x11), key, value: text("v1") }, rpc_id, &golden);
    check_reply(Value::Bool(true), rpc_id, &format!("01 {rpc_id} c3"));
}

#[test]
fn find_value() {
    let rpc_id = "a389be264c43c19e4cf951572dcc207820584ef4";
    let golden = format!("00 {rpc_id} 92 aa66696e645f76616c7565 92 c414 {THREES} c414 {KEY}");
    let key = NodeId::of_name(b"k1");
    check_request(Request::FindValue { sender: id(0x33), key }, rpc_id, &golden);
    let answer = value_found(text("v1"));
    assert_eq!(parse_found(answer.clone()), Some(Found::Value(text("v1"))));
    check_reply(answer, rpc_id, &format!("01 {rpc_id} 81 a576616c7565 a27631"));
}

#[test]
fn stun() {
    let rpc_id = "22cef1cc244c5f51fc231ac379b7fc3328a0903a";
    check_request(Request::Stun, rpc_id, &format!("00 {rpc_id} 92 a47374756e 90"));
    let golden = format!("01 {rpc_id} 92 a93132372e302e302e31 cd4826");
    check_reply(endpoint_seen(local(18470)), rpc_id, &golden);
}

#[test]
fn a_store_request_of_the_largest_value_fits() {
    let value = Value::Bin(vec![1; super::super::MAX_VALUE_BYTES - 3]);
    let request = Request::Store { sender: id(1), key: id(2), value: value.clone() };
    let datagram = Datagram::Request { id: RpcId([0; 20]), request };
    assert_eq!(Datagram::decode(&datagram.encode()), Ok(datagram));
    let reply = Datagram::Reply { id: RpcId([0; 20]), result: value_found(value) };
    assert_eq!(Datagram::decode(&reply.encode()), Ok(reply));
}

#[test]
fn replies_of_odd_peers() {
    let entry = |ip: Value, port: Value| Value::Array(vec![pong(&id(7)), ip, port]);
    let good = entry(text("127.0.0.1"), Value::Uint(9));
    let mapped = entry(text("::ffff:127.0.0.1"), Value::Uint(9));
    let contact = Contact { id: id(7), endpoint: local(9) };
    for odd in [
        Value::Nil,
        Value::Array(vec![]),
        entry(text("localhost"), Value::Uint(9)),
        entry(Value::Nil, Value::Nil),
        entry(text("127.0.0.1"), Value::Uint(65_536)),
        entry(text("127.0.0.1"), Value::Int(-1)),
        Value::Array(vec![text("not bytes"), text("127.0.0.1"), Value::Uint(9)]),
    ] {
        let reply = Value::Array(vec![odd, good.clone(), mapped.clone()]);
        assert_eq!(parse_found(reply), Some(Found::Contacts(vec![contact, contact])));
    }
    assert_eq!(parse_found(Value::Nil), Some(Found::Contacts(vec![])));
    let many = Value::Array(vec![good; 1_000]);
    assert_eq!(parse_found(many), Some(Found::Contacts(vec![contact; 20])));
    assert_eq!(parse_found(Value::Bool(true)), None);
    assert_eq!(parse_found(Value::Map(vec![(Value::Nil, Value::Nil)])), None);
    assert_eq!(parse_pong(&text("text")), None);
    assert_eq!(parse_pong(&Value::Bin(vec![0; 19])), None);
}

#[test]
fn malformed_datagrams() {
    let with_body = |body: &str| bytes(&format!("00{}{body}", "05".repeat(20)));
    let decode = |body: &str| Datagram::decode(&with_body(body));
    assert_eq!(Datagram::decode(&[]), Err(DatagramError::TooShort(0)));
    assert_eq!(decode(""), Err(DatagramError::TooShort(21)));
    assert_eq!(Datagram::decode(&[0; 8_214]), Err(DatagramError::TooLong(8_214)));
    assert_eq!(Datagram::decode(&[2; 30]), Err(DatagramError::UnknownType(2)));
    assert_eq!(decode("80"), Err(DatagramError::NotARequest));
    assert_eq!(decode("92a470696e6790c0"), Err(DecodeError::TrailingBytes(1).into()));
    assert_eq!(decode("92a470696e6790"), Err(DatagramError::Arguments));
    assert_eq!(decode("92a470696e67a0"), Err(DatagramError::NotARequest));
    assert_eq!(decode("92a470756e6790"), Err(DatagramError::UnknownProcedure));
    // An id as a str, which raises in Python too.
    let id_as_str = format!("92a470696e6791b4{ELEVENS}");
    assert_eq!(decode(&id_as_str), Err(DatagramError::Arguments));
    assert_eq!(decode("d80000"), Err(DecodeError::Unsupported(0xd8).into()));
    assert_eq!(decode("ddffffffff"), Err(DecodeError::Truncated.into()));
    assert_eq!(decode("dfffffffff00"), Err(DecodeError::Truncated.into()));
    assert_eq!(decode("c6ffffffff00"), Err(DecodeError::Truncated.into()));
    assert_eq!(decode("9191919191c0"), Err(DecodeError::TooDeep.into()));
    assert_eq!(decode("a2c328"), Err(DecodeError::InvalidUtf8.into()));
}
