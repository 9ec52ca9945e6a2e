//! The signed endpoint record that a node stores in the overlay about itself.
//!
//! A node's id is hash160 of its compressed secp256k1 key, and the record carries that key: who
//! finds a record needs nobody's word that it belongs to the id. The Noise key in it says whom to
//! expect at the TCP endpoint; that the party there holds it, only the TCP handshake shows.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use pentad_crypto::{PublicKey, SecretKey, Signature, hash160};
use pentad_primitives::hash::sha256d;

use super::NodeId;
use super::msgpack::Value;

/// The only version of the record so far.
const VERSION: u8 = 1;
/// Separates these signatures from all others of the same key.
const DOMAIN: &[u8] = b"pentad endpoint record";
/// All fields before the signature.
const BODY_BYTES: usize = 1 + 8 + 16 + 2 + 32 + 8 + 33;

/// The first 8 bytes of the genesis block's hash, in internal byte order: which ledger a node
/// belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct NetworkId(pub [u8; 8]);

/// Where a node of a network accepts TCP links, and under which Noise key.
///
/// Encoding: version `01`, network id 8 bytes, IPv6 address 16 bytes (IPv4 mapped, RFC 4291
/// section 2.5.5.2), TCP port 2 bytes, Noise static key 32 bytes, sequence 8 bytes, node key 33
/// bytes, strict DER signature. Numbers are big-endian. Signed is the double SHA-256 of the ASCII
/// text `pentad endpoint record` and all fields before the signature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndpointRecord {
    pub network: NetworkId,
    pub endpoint: SocketAddr,
    /// X25519 public key of the node's links.
    pub noise_key: [u8; 32],
    /// Unix time of signing, in seconds: a later record replaces an earlier one.
    pub sequence: u64,
}

/// A record whose signature holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifiedRecord {
    /// The id of the node that signed it.
    pub node: NodeId,
    pub record: EndpointRecord,
}

/// Why a value is no endpoint record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecordError {
    #[error("an endpoint record is a byte string of version {VERSION}")]
    Format,
    #[error("the node key is not a point of the curve")]
    Key,
    #[error("the signature is not the node key's")]
    Signature,
}

/// The id of the node that signs with `key`.
pub fn node_id(key: &PublicKey) -> NodeId {
    NodeId::from_bytes(hash160(&key.to_bytes()))
}

/// The key under which the node `id` of `network` keeps its record:
/// sha1(network id ‖ node id).
pub fn record_key(network: NetworkId, id: &NodeId) -> NodeId {
    NodeId::of_name(&[network.0.as_slice(), &id.to_bytes()].concat())
}

impl EndpointRecord {
    /// The value to store, signed with the node's key.
    pub fn sign(&self, key: &SecretKey) -> Value {
        let mut bytes = self.body(&key.public_key());
        let digest = sha256d(&[DOMAIN, &bytes].concat());
        bytes.extend(key.sign(&digest).to_der());
        Value::Bin(bytes)
    }

    fn body(&self, key: &PublicKey) -> Vec<u8> {
        let ip = match self.endpoint.ip() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        let mut body = Vec::with_capacity(BODY_BYTES);
        body.push(VERSION);
        body.extend(self.network.0);
        body.extend(ip.octets());
        body.extend(self.endpoint.port().to_be_bytes());
        body.extend(self.noise_key);
        body.extend(self.sequence.to_be_bytes());
        body.extend(key.to_bytes());
        body
    }
}

impl VerifiedRecord {
    /// Reads a stored value and checks its signature.
    ///
    /// # Errors
    /// See [`RecordError`].
    pub fn from_value(value: &Value) -> Result<Self, RecordError> {
        let Value::Bin(bytes) = value else {
            return Err(RecordError::Format);
        };
        let (body, signature) = bytes.split_at_checked(BODY_BYTES).ok_or(RecordError::Format)?;
        let (record, key) = parse_body(body).ok_or(RecordError::Format)?;
        let key = PublicKey::from_bytes(&key).map_err(|_| RecordError::Key)?;
        let digest = sha256d(&[DOMAIN, body].concat());
        Signature::from_der_strict(signature)
            .ok()
            .filter(|signature| signature.verify(&key, &digest).is_ok())
            .ok_or(RecordError::Signature)?;
        Ok(Self { node: node_id(&key), record })
    }

    /// The key under which it belongs.
    pub fn key(&self) -> NodeId {
        record_key(self.record.network, &self.node)
    }
}

fn parse_body(mut rest: &[u8]) -> Option<(EndpointRecord, [u8; 33])> {
    let [version] = take(&mut rest)?;
    let network = NetworkId(take(&mut rest)?);
    let ip = Ipv6Addr::from_octets(take(&mut rest)?).to_canonical();
    let port = u16::from_be_bytes(take(&mut rest)?);
    let noise_key = take(&mut rest)?;
    let sequence = u64::from_be_bytes(take(&mut rest)?);
    let key = take(&mut rest)?;
    let endpoint = SocketAddr::new(ip, port);
    (version == VERSION).then_some((EndpointRecord { network, endpoint, noise_key, sequence }, key))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*head)
}

impl fmt::Display for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> EndpointRecord {
        EndpointRecord {
            network: NetworkId(*b"genesis!"),
            endpoint: ([203, 0, 113, 4], 5678).into(),
            noise_key: [9; 32],
            sequence: 1_800_000_000,
        }
    }

    fn key() -> SecretKey {
        SecretKey::from_bytes([5; 32]).expect("a scalar in range")
    }

    #[test]
    fn a_signed_record_names_its_node_and_its_key() {
        let verified = VerifiedRecord::from_value(&record().sign(&key())).expect("signed");
        assert_eq!(verified.record, record());
        assert_eq!(verified.node, node_id(&key().public_key()));
        assert_eq!(verified.key(), record_key(record().network, &verified.node));
    }

    /// The bytes in `docs/discovery.md`.
    #[test]
    fn golden() {
        let Value::Bin(bytes) = record().sign(&key()) else { panic!("a record is bytes") };
        let golden = [
            "0167656e657369732100000000000000000000ffffcb007104162e",
            "0909090909090909090909090909090909090909090909090909090909090909",
            "000000006b49d200",
            "0362c0a046dacce86ddd0343c6d3c7c79c2208ba0d9c9cf24a6d046d21d21f90f7",
            "3045022100a9a01799ccfb02e0dc5359ebf8ac9979f11e0af39d9137dde2398f56acfa0fb0",
            "022056afeb34ad1170634619d3904815ceb27259a04ace20838d8d7138c34a203c65",
        ];
        assert_eq!(hex::encode(bytes), golden.concat());
        let id = node_id(&key().public_key());
        assert_eq!(id.to_string(), "9d695474a303ac6d74d1796d3752f07895918bd2");
        let at = record_key(record().network, &id);
        assert_eq!(at.to_string(), "0f47ca38716196f586c85501a5ab7f3c168a8e8e");
    }

    #[test]
    fn every_flipped_byte_is_noticed() {
        let Value::Bin(bytes) = record().sign(&key()) else { panic!("a record is bytes") };
        for index in 0..bytes.len() {
            let mut forged = bytes.clone();
            forged[index] ^= 1;
            // A flip within the node key may give another point, which did not sign.
            assert!(VerifiedRecord::from_value(&Value::Bin(forged)).is_err(), "byte {index}");
        }
        for len in 0..bytes.len() {
            assert!(VerifiedRecord::from_value(&Value::Bin(bytes[..len].to_vec())).is_err());
        }
        assert_eq!(VerifiedRecord::from_value(&Value::Nil), Err(RecordError::Format));
    }
}
