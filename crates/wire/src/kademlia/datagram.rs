//! Datagrams of rpcudp 5 as PyPI `kademlia` 2.2 uses it:
//! `type (00 request, 01 reply) | 20 random bytes | msgpack`.
//!
//! A request is `[name, [arguments]]`; a reply is the bare result, told apart only by the request
//! that its id names.

use std::net::{IpAddr, SocketAddr};

use super::msgpack::{self, Value};
use super::{Contact, K, NodeId};

/// Type byte and id in front of every body.
const HEADER_BYTES: usize = 21;
/// A body of the Python package is at most 8192 bytes.
pub const MAX_DATAGRAM_BYTES: usize = HEADER_BYTES + 8192;
/// The largest value that fits a `store` request, and so a `find_value` reply.
pub const MAX_VALUE_BYTES: usize = 8192 - 64;

const REQUEST: u8 = 0x00;
const REPLY: u8 = 0x01;

/// The random bytes that tie a reply to its request. Unguessable: whoever repeats them has seen
/// what was sent to an endpoint.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RpcId(pub [u8; 20]);

/// One UDP payload.
#[derive(Clone, PartialEq, Debug)]
pub enum Datagram {
    /// Somebody wants something.
    Request { id: RpcId, request: Request },
    /// The bare result of the request with this id.
    Reply { id: RpcId, result: Value },
}

/// What one node asks of another. `sender` is the id that the asking node claims.
#[derive(Clone, PartialEq, Debug)]
pub enum Request {
    /// What is your id?
    Ping { sender: NodeId },
    /// Which contacts are closest to `target`?
    FindNode { sender: NodeId, target: NodeId },
    /// What is stored under `key`, or else which contacts are closest to it?
    FindValue { sender: NodeId, key: NodeId },
    /// Keep `value` under `key`.
    Store { sender: NodeId, key: NodeId, value: Value },
    /// From which endpoint do I seem to send?
    Stun,
}

/// What a `find_node` or `find_value` brought.
#[derive(Clone, PartialEq, Debug)]
pub enum Found {
    /// Contacts, closest first as far as the answering node says.
    Contacts(Vec<Contact>),
    /// The value under the key.
    Value(Value),
}

/// Why bytes are no datagram of the protocol. Such bytes get no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DatagramError {
    #[error("{0} bytes are too few")]
    TooShort(usize),
    #[error("{0} bytes are more than {MAX_DATAGRAM_BYTES}")]
    TooLong(usize),
    #[error("unknown type byte {0:#04x}")]
    UnknownType(u8),
    #[error("body: {0}")]
    Msgpack(#[from] msgpack::DecodeError),
    #[error("a request is [name, [arguments]]")]
    NotARequest,
    #[error("no procedure of that name")]
    UnknownProcedure,
    #[error("arguments do not fit the procedure")]
    Arguments,
}

impl Datagram {
    /// The UDP payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Request { id, request } => {
                out.push(REQUEST);
                out.extend(id.0);
                request.to_value().encode(&mut out);
            }
            Self::Reply { id, result } => {
                out.push(REPLY);
                out.extend(id.0);
                result.encode(&mut out);
            }
        }
        out
    }

    /// The id of the request that a payload answers, without reading the rest of it.
    pub(super) fn reply_id(bytes: &[u8]) -> Option<RpcId> {
        match bytes.split_first_chunk::<HEADER_BYTES>()? {
            ([REPLY, id @ ..], _) => Some(RpcId(*id)),
            _ => None,
        }
    }

    /// Reads a UDP payload.
    ///
    /// # Errors
    /// See [`DatagramError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DatagramError> {
        if bytes.len() > MAX_DATAGRAM_BYTES {
            return Err(DatagramError::TooLong(bytes.len()));
        }
        let too_short = DatagramError::TooShort(bytes.len());
        let Some((&[kind], rest)) = bytes.split_first_chunk() else {
            return Err(too_short);
        };
        let Some((id, body)) = rest.split_first_chunk::<20>() else {
            return Err(too_short);
        };
        if body.is_empty() {
            return Err(too_short);
        }
        let id = RpcId(*id);
        match kind {
            REQUEST => {
                Ok(Self::Request { id, request: Request::from_value(Value::decode(body)?)? })
            }
            REPLY => Ok(Self::Reply { id, result: Value::decode(body)? }),
            other => Err(DatagramError::UnknownType(other)),
        }
    }
}

impl Request {
    /// The id that the sender claims; `stun` names none.
    pub fn sender(&self) -> Option<NodeId> {
        match self {
            Self::Ping { sender }
            | Self::FindNode { sender, .. }
            | Self::FindValue { sender, .. }
            | Self::Store { sender, .. } => Some(*sender),
            Self::Stun => None,
        }
    }

    fn to_value(&self) -> Value {
        let (name, arguments) = match self {
            Self::Ping { sender } => ("ping", vec![id(sender)]),
            Self::FindNode { sender, target } => ("find_node", vec![id(sender), id(target)]),
            Self::FindValue { sender, key } => ("find_value", vec![id(sender), id(key)]),
            Self::Store { sender, key, value } => {
                ("store", vec![id(sender), id(key), value.clone()])
            }
            Self::Stun => ("stun", vec![]),
        };
        Value::Array(vec![Value::Str(name.to_owned()), Value::Array(arguments)])
    }

    fn from_value(body: Value) -> Result<Self, DatagramError> {
        let [Value::Str(name), Value::Array(arguments)] = items(body)? else {
            return Err(DatagramError::NotARequest);
        };
        let request = match name.as_str() {
            "ping" => <[Value; 1]>::try_from(arguments)
                .ok()
                .and_then(|[sender]| Some(Self::Ping { sender: node_id(&sender)? })),
            "find_node" => <[Value; 2]>::try_from(arguments).ok().and_then(|[sender, target]| {
                Some(Self::FindNode { sender: node_id(&sender)?, target: node_id(&target)? })
            }),
            "find_value" => <[Value; 2]>::try_from(arguments).ok().and_then(|[sender, key]| {
                Some(Self::FindValue { sender: node_id(&sender)?, key: node_id(&key)? })
            }),
            "store" => <[Value; 3]>::try_from(arguments).ok().and_then(|[sender, key, value]| {
                Some(Self::Store { sender: node_id(&sender)?, key: node_id(&key)?, value })
            }),
            "stun" => arguments.is_empty().then_some(Self::Stun),
            _ => return Err(DatagramError::UnknownProcedure),
        };
        request.ok_or(DatagramError::Arguments)
    }
}

/// The reply to `ping`: the own id.
pub fn pong(own: &NodeId) -> Value {
    id(own)
}

/// The reply to `find_node`, and to `find_value` without the value.
pub fn contact_list(contacts: &[Contact]) -> Value {
    Value::Array(contacts.iter().map(contact).collect())
}

/// The reply to `find_value` with the value.
pub fn value_found(value: Value) -> Value {
    Value::Map(vec![(Value::Str("value".to_owned()), value)])
}

/// The reply to `stun`: where the request came from.
pub fn endpoint_seen(endpoint: SocketAddr) -> Value {
    Value::Array(vec![Value::Str(endpoint.ip().to_string()), Value::Uint(endpoint.port().into())])
}

/// Reads a reply to `ping`; none if it is no id.
pub fn parse_pong(result: &Value) -> Option<NodeId> {
    node_id(result)
}

/// Reads a reply to `find_node` or `find_value`; none if it is neither a list nor a value.
/// Entries that are no contact are left out, and no more than [`K`] are taken.
pub fn parse_found(result: Value) -> Option<Found> {
    match result {
        // The Python package reads nil as an empty list.
        Value::Nil => Some(Found::Contacts(Vec::new())),
        Value::Array(entries) => {
            Some(Found::Contacts(entries.into_iter().filter_map(parse_contact).take(K).collect()))
        }
        Value::Map(entries) => entries
            .into_iter()
            .find(|(key, _)| matches!(key, Value::Str(name) if name == "value"))
            .map(|(_, value)| Found::Value(value)),
        _ => None,
    }
}

fn id(id: &NodeId) -> Value {
    Value::Bin(id.to_bytes().to_vec())
}

fn contact(contact: &Contact) -> Value {
    Value::Array(vec![
        id(&contact.id),
        Value::Str(contact.endpoint.ip().to_string()),
        Value::Uint(contact.endpoint.port().into()),
    ])
}

fn node_id(value: &Value) -> Option<NodeId> {
    match value {
        Value::Bin(bytes) => NodeId::try_from(bytes.as_slice()).ok(),
        _ => None,
    }
}

fn parse_contact(entry: Value) -> Option<Contact> {
    let [id, Value::Str(ip), Value::Uint(port)] = items(entry).ok()? else {
        return None;
    };
    let ip: IpAddr = ip.parse().ok()?;
    let port = u16::try_from(port).ok()?;
    Some(Contact { id: node_id(&id)?, endpoint: SocketAddr::new(ip.to_canonical(), port) })
}

/// The items of an array of exactly `N`.
fn items<const N: usize>(value: Value) -> Result<[Value; N], DatagramError> {
    match value {
        Value::Array(items) => items.try_into().map_err(|_| DatagramError::NotARequest),
        _ => Err(DatagramError::NotARequest),
    }
}
