//! The values that this node keeps for the overlay.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use super::contact::Subnet;
use super::msgpack::Value;
use super::node_id::Distance;
use super::{MAX_VALUE_BYTES, NodeId};

/// How long a value lives after it was last stored: a week, as in the Python package. Its
/// publisher stores it again in time; nobody else prolongs it.
pub const VALUE_LIFETIME: Duration = Duration::from_secs(604_800);
/// Values kept at once.
pub const MAX_VALUES: usize = 8_192;
/// Bytes of all values together.
pub const MAX_VALUES_BYTES: usize = 4 << 20;

/// What a value counts for beside its bytes, so that many small ones weigh like few large ones:
/// both bounds are reached at once.
const VALUE_WEIGHT: usize = MAX_VALUES_BYTES / MAX_VALUES;

/// Values by the distance of their keys from the own id. When room runs out, the source of the most
/// loses its farthest ones, which other nodes are more responsible for.
#[derive(Clone, Debug)]
pub struct ValueStore {
    own_id: NodeId,
    values: BTreeMap<Distance, Held>,
    bytes: usize,
    /// What each source has here, by weight.
    shares: HashMap<Source, usize>,
}

#[derive(Clone, Debug)]
struct Held {
    source: Source,
    value: Value,
    sequence: Option<u64>,
    bytes: usize,
    expires: Duration,
}

/// Who stored a value, as far as shares go: one global subnet, or one endpoint of this machine or
/// site. None: this node itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Source(Option<Result<Subnet, SocketAddr>>);

impl Source {
    /// This node itself.
    pub const OWN: Self = Self(None);

    /// The node at `endpoint`.
    pub fn of(endpoint: SocketAddr) -> Self {
        Self(Some(Subnet::of(endpoint.ip()).ok_or(endpoint)))
    }
}

/// Why a value is not kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StoreError {
    #[error("a value is a boolean, a number, a string or bytes")]
    Kind,
    #[error("{0} bytes are more than {MAX_VALUE_BYTES}")]
    TooLarge(usize),
    #[error("a newer signed value stands under this key")]
    Outdated,
    #[error("the store is full of values closer to this node")]
    Full,
}

impl ValueStore {
    /// An empty store.
    pub fn new(own_id: NodeId) -> Self {
        Self { own_id, values: BTreeMap::new(), bytes: 0, shares: HashMap::new() }
    }

    /// Number of values, expired ones included until [`Self::expire`].
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether no value is kept.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The value under `key` at time `now`.
    pub fn get(&self, key: &NodeId, now: Duration) -> Option<&Value> {
        let held = self.values.get(&key.distance(&self.own_id))?;
        (held.expires > now).then_some(&held.value)
    }

    /// Keeps `value` under `key` from `now` on, on the account of `source`. `sequence` is set for
    /// a value whose signature covers its key: only such a value of at least that sequence replaces
    /// it.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn put(
        &mut self,
        source: Source,
        key: &NodeId,
        value: Value,
        sequence: Option<u64>,
        now: Duration,
    ) -> Result<(), StoreError> {
        if matches!(value, Value::Nil | Value::Array(_) | Value::Map(_)) {
            return Err(StoreError::Kind);
        }
        let bytes = encoded_len(&value);
        if bytes > MAX_VALUE_BYTES {
            return Err(StoreError::TooLarge(bytes));
        }
        let expires = now.saturating_add(VALUE_LIFETIME);
        let held = Held { source, value, sequence, bytes, expires };
        let distance = key.distance(&self.own_id);
        let old = self.values.get(&distance);
        if old.is_some_and(|old| old.expires > now && old.sequence > sequence) {
            return Err(StoreError::Outdated);
        }
        self.remove(&distance);
        self.bytes = self.bytes.saturating_add(bytes);
        let share = self.shares.entry(source).or_default();
        *share = share.saturating_add(held.weight());
        self.values.insert(distance, held);
        self.shrink();
        if self.values.contains_key(&distance) { Ok(()) } else { Err(StoreError::Full) }
    }

    /// Forgets what has expired at time `now`.
    pub fn expire(&mut self, now: Duration) {
        let expired = self.values.iter().filter(|(_, held)| held.expires <= now);
        let expired: Vec<Distance> = expired.map(|(distance, _)| *distance).collect();
        expired.iter().for_each(|distance| self.remove(distance));
    }

    fn shrink(&mut self) {
        while self.values.len() > MAX_VALUES || self.bytes > MAX_VALUES_BYTES {
            let heaviest = self.shares.iter().max_by_key(|(_, weight)| **weight);
            let heaviest = heaviest.map(|(source, _)| *source);
            let mut farthest_first = self.values.iter().rev();
            let farthest = farthest_first.find(|(_, held)| Some(held.source) == heaviest);
            let Some(farthest) = farthest.map(|(distance, _)| *distance) else {
                break;
            };
            self.remove(&farthest);
        }
    }

    fn remove(&mut self, distance: &Distance) {
        let Some(held) = self.values.remove(distance) else {
            return;
        };
        self.bytes = self.bytes.saturating_sub(held.bytes);
        if let Some(share) = self.shares.get_mut(&held.source) {
            *share = share.saturating_sub(held.weight());
            if *share == 0 {
                self.shares.remove(&held.source);
            }
        }
    }
}

impl Held {
    const fn weight(&self) -> usize {
        self.bytes.saturating_add(VALUE_WEIGHT)
    }
}

fn encoded_len(value: &Value) -> usize {
    let mut bytes = Vec::new();
    value.encode(&mut bytes);
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_000);

    fn store() -> ValueStore {
        ValueStore::new(NodeId::from_bytes([0; 20]))
    }

    fn blob(bytes: usize) -> Value {
        Value::Bin(vec![7; bytes])
    }

    #[test]
    fn values_expire() {
        let (mut store, key) = (store(), NodeId::of_name(b"k1"));
        store.put(Source::OWN, &key, Value::Str("v1".to_owned()), None, NOW).expect("room");
        let end = NOW + VALUE_LIFETIME;
        assert!(store.get(&key, end - Duration::from_secs(1)).is_some());
        assert!(store.get(&key, end).is_none());
        store.expire(end);
        assert!(store.is_empty());
    }

    #[test]
    fn a_signed_value_yields_only_to_a_newer_one() {
        let (mut store, key) = (store(), NodeId::of_name(b"k1"));
        store.put(Source::OWN, &key, blob(1), Some(5), NOW).expect("room");
        assert_eq!(store.put(Source::OWN, &key, blob(2), None, NOW), Err(StoreError::Outdated));
        assert_eq!(store.put(Source::OWN, &key, blob(2), Some(4), NOW), Err(StoreError::Outdated));
        assert_eq!(store.put(Source::OWN, &key, blob(3), Some(6), NOW), Ok(()));
        assert_eq!(store.get(&key, NOW), Some(&blob(3)));
    }

    /// Somebody who stores without end, as close to this node as he likes, pushes out only his own.
    #[test]
    fn a_flood_from_one_source_leaves_the_values_of_others() {
        let mut store = store();
        let far = |n: u8| NodeId::from_bytes([0x80 | n; 20]);
        for n in 0..100 {
            let source = Source::of(([198, 51, n, 1], 5678).into());
            store.put(source, &far(n), blob(200), None, NOW).expect("room");
        }
        for n in 0..20_000_u32 {
            let mut key = [0; 20];
            key[16..].copy_from_slice(&n.to_be_bytes());
            let [_, _, port_high, port_low] = n.to_be_bytes();
            let port = u16::from_be_bytes([port_high, port_low]) | 1;
            let source = Source::of(([203, 0, 113, port_low], port).into());
            let key = NodeId::from_bytes(key);
            store.put(source, &key, blob(2_000), None, NOW).ok();
        }
        let left = (0..100).filter(|n| store.get(&far(*n), NOW).is_some()).count();
        assert_eq!(left, 100);
        assert!(store.bytes <= MAX_VALUES_BYTES && store.len() <= MAX_VALUES);
    }

    #[test]
    fn structures_and_giants_are_refused() {
        let (mut store, key) = (store(), NodeId::of_name(b"k1"));
        assert_eq!(store.put(Source::OWN, &key, Value::Nil, None, NOW), Err(StoreError::Kind));
        assert_eq!(
            store.put(Source::OWN, &key, Value::Array(vec![]), None, NOW),
            Err(StoreError::Kind)
        );
        let giant = store.put(Source::OWN, &key, blob(MAX_VALUE_BYTES), None, NOW);
        assert_eq!(giant, Err(StoreError::TooLarge(MAX_VALUE_BYTES + 3)));
    }

    #[test]
    fn a_full_store_keeps_the_closest() {
        let mut store = store();
        let key = |n: u16| {
            let mut bytes = [0; 20];
            bytes[..2].copy_from_slice(&n.to_be_bytes());
            NodeId::from_bytes(bytes)
        };
        let count = u16::try_from(MAX_VALUES_BYTES / 8_003).expect("fits");
        for n in (0..=count).rev() {
            store
                .put(Source::OWN, &key(n), blob(8_000), None, NOW)
                .expect("closer than all before");
        }
        assert!(store.bytes <= MAX_VALUES_BYTES);
        assert!(store.get(&key(0), NOW).is_some());
        assert!(store.get(&key(count), NOW).is_none());
        assert_eq!(
            store.put(Source::OWN, &key(count), blob(8_000), None, NOW),
            Err(StoreError::Full)
        );
        store.put(Source::OWN, &key(0), blob(1), None, NOW).expect("replaces");
        assert_eq!(store.bytes, store.values.values().map(|held| held.bytes).sum::<usize>());
    }
}
