//! The values that this node keeps for the overlay.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

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

/// Values by the distance of their keys from the own id: when room runs out, the farthest ones
/// go, which other nodes are more responsible for.
#[derive(Clone, Debug)]
pub struct ValueStore {
    own_id: NodeId,
    values: BTreeMap<Distance, Held>,
    bytes: usize,
}

#[derive(Clone, Debug)]
struct Held {
    value: Value,
    sequence: Option<u64>,
    bytes: usize,
    expires: Duration,
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
        Self { own_id, values: BTreeMap::new(), bytes: 0 }
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

    /// Keeps `value` under `key` from `now` on. `sequence` is set for a value whose signature
    /// covers its key: only such a value of at least that sequence replaces it.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn put(
        &mut self,
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
        let held = Held { value, sequence, bytes, expires: now.saturating_add(VALUE_LIFETIME) };
        let distance = key.distance(&self.own_id);
        match self.values.entry(distance) {
            Entry::Occupied(old) if old.get().expires > now && old.get().sequence > sequence => {
                return Err(StoreError::Outdated);
            }
            Entry::Occupied(mut old) => {
                self.bytes = self.bytes.saturating_sub(old.insert(held).bytes);
            }
            Entry::Vacant(vacant) => {
                vacant.insert(held);
            }
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.shrink();
        if self.values.contains_key(&distance) { Ok(()) } else { Err(StoreError::Full) }
    }

    /// Forgets what has expired at time `now`.
    pub fn expire(&mut self, now: Duration) {
        self.values.retain(|_, held| held.expires > now);
        self.bytes = self.values.values().map(|held| held.bytes).sum();
    }

    fn shrink(&mut self) {
        while self.values.len() > MAX_VALUES || self.bytes > MAX_VALUES_BYTES {
            let Some((_, farthest)) = self.values.pop_last() else {
                break;
            };
            self.bytes = self.bytes.saturating_sub(farthest.bytes);
        }
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
        store.put(&key, Value::Str("v1".to_owned()), None, NOW).expect("room");
        let end = NOW + VALUE_LIFETIME;
        assert!(store.get(&key, end - Duration::from_secs(1)).is_some());
        assert!(store.get(&key, end).is_none());
        store.expire(end);
        assert!(store.is_empty());
    }

    #[test]
    fn a_signed_value_yields_only_to_a_newer_one() {
        let (mut store, key) = (store(), NodeId::of_name(b"k1"));
        store.put(&key, blob(1), Some(5), NOW).expect("room");
        assert_eq!(store.put(&key, blob(2), None, NOW), Err(StoreError::Outdated));
        assert_eq!(store.put(&key, blob(2), Some(4), NOW), Err(StoreError::Outdated));
        assert_eq!(store.put(&key, blob(3), Some(6), NOW), Ok(()));
        assert_eq!(store.get(&key, NOW), Some(&blob(3)));
    }

    #[test]
    fn structures_and_giants_are_refused() {
        let (mut store, key) = (store(), NodeId::of_name(b"k1"));
        assert_eq!(store.put(&key, Value::Nil, None, NOW), Err(StoreError::Kind));
        assert_eq!(store.put(&key, Value::Array(vec![]), None, NOW), Err(StoreError::Kind));
        let giant = store.put(&key, blob(MAX_VALUE_BYTES), None, NOW);
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
            store.put(&key(n), blob(8_000), None, NOW).expect("closer than all before");
        }
        assert!(store.bytes <= MAX_VALUES_BYTES);
        assert!(store.get(&key(0), NOW).is_some());
        assert!(store.get(&key(count), NOW).is_none());
        assert_eq!(store.put(&key(count), blob(8_000), None, NOW), Err(StoreError::Full));
        store.put(&key(0), blob(1), None, NOW).expect("replaces");
        assert_eq!(store.bytes, store.values.values().map(|held| held.bytes).sum::<usize>());
    }
}
