use proptest::prelude::*;

use crate::kademlia::msgpack::{MAX_DEPTH, Value};
use crate::kademlia::{Datagram, NodeId, Request, RpcId};

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Nil),
        any::<bool>().prop_map(Value::Bool),
        any::<u64>().prop_map(Value::Uint),
        // Integers of every width.
        (any::<u64>(), 0..64_u32).prop_map(|(n, shift)| Value::Uint(n >> shift)),
        (i64::MIN..0, 0..63_u32).prop_map(|(n, shift)| Value::Int((n >> shift).min(-1))),
        any::<f64>()
            .prop_filter("NaN is not equal to itself", |x| !x.is_nan())
            .prop_map(Value::Float),
        ".{0,40}".prop_map(Value::Str),
        proptest::collection::vec(any::<u8>(), 0..300).prop_map(Value::Bin),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(MAX_DEPTH.into(), 64, 20, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..20).prop_map(Value::Array),
            proptest::collection::vec((inner.clone(), inner), 0..20).prop_map(Value::Map),
        ]
    })
}

fn id() -> impl Strategy<Value = NodeId> {
    any::<[u8; 20]>().prop_map(NodeId::from_bytes)
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        id().prop_map(|sender| Request::Ping { sender }),
        (id(), id()).prop_map(|(sender, target)| Request::FindNode { sender, target }),
        (id(), id()).prop_map(|(sender, key)| Request::FindValue { sender, key }),
        (id(), id(), scalar()).prop_map(|(sender, key, value)| Request::Store {
            sender,
            key,
            value
        }),
        Just(Request::Stun),
    ]
}

fn datagram() -> impl Strategy<Value = Datagram> {
    let rpc = || any::<[u8; 20]>().prop_map(RpcId);
    prop_oneof![
        (rpc(), request()).prop_map(|(id, request)| Datagram::Request { id, request }),
        (rpc(), value()).prop_map(|(id, result)| Datagram::Reply { id, result }),
    ]
}

proptest! {
    #[test]
    fn values_round_trip(value in value()) {
        let mut bytes = Vec::new();
        value.encode(&mut bytes);
        prop_assert_eq!(Value::decode(&bytes), Ok(value));
    }

    #[test]
    fn datagrams_round_trip(datagram in datagram()) {
        let bytes = datagram.encode();
        prop_assume!(bytes.len() <= crate::kademlia::MAX_DATAGRAM_BYTES);
        prop_assert_eq!(Datagram::decode(&bytes), Ok(datagram));
    }

    /// What decodes from any bytes encodes to something that decodes to the same.
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(value) = Value::decode(&bytes) {
            let mut again = Vec::new();
            value.encode(&mut again);
            // As text, since a NaN is not equal to itself.
            let decoded = Value::decode(&again).map(|value| format!("{value:?}"));
            prop_assert_eq!(decoded, Ok(format!("{value:?}")));
            prop_assert!(again.len() <= bytes.len() * 2, "an f32 becomes an f64, no more");
        }
        drop(Datagram::decode(&bytes));
    }

    #[test]
    fn damaged_datagrams_are_survived(
        datagram in datagram(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut bytes = datagram.encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        drop(Datagram::decode(&bytes));
        bytes.truncate(at);
        prop_assert_ne!(Datagram::decode(&bytes), Ok(datagram));
    }

    #[test]
    fn distance_is_a_metric(a in id(), b in id(), c in id()) {
        prop_assert_eq!(a.distance(&b), b.distance(&a));
        prop_assert_eq!(a.distance(&a).leading_zeros(), 160);
        // XOR is unidirectional: one point only at each distance.
        prop_assert_eq!(a.distance(&b) == a.distance(&c), b == c);
    }
}
