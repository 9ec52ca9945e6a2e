//! A map that forgets.

use std::collections::HashMap;
use std::hash::Hash;

/// A map of at most `capacity` entries that drops those not used for longest, in two generations:
/// when the young one is full it becomes the old one, and the old one goes. Each operation is
/// O(1), so that a flood of keys costs its sender more than us.
#[derive(Clone, Debug)]
pub(crate) struct Aging<Key, V> {
    generation_max: usize,
    young: HashMap<Key, V>,
    old: HashMap<Key, V>,
}

impl<Key: Eq + Hash, V: Default> Aging<Key, V> {
    pub fn new(capacity: usize) -> Self {
        Self {
            generation_max: capacity.div_ceil(2).max(1),
            young: HashMap::new(),
            old: HashMap::new(),
        }
    }

    pub fn get(&self, key: &Key) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    /// The entry under `key`, made if there is none.
    pub fn entry(&mut self, key: Key) -> &mut V {
        if self.young.len() >= self.generation_max && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        let old = self.old.remove(&key);
        self.young.entry(key).or_insert_with(|| old.unwrap_or_default())
    }

    pub fn remove(&mut self, key: &Key) -> Option<V> {
        let young = self.young.remove(key);
        self.old.remove(key).or(young)
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_is_used_and_stays_bounded() {
        let mut map: Aging<u32, u32> = Aging::new(10);
        *map.entry(0) = 7;
        for key in 1..1_000 {
            map.entry(key);
            assert_eq!(*map.entry(0), 7);
            assert!(map.len() <= 10, "{}", map.len());
        }
        assert!(map.get(&1).is_none());
        assert_eq!(map.remove(&0), Some(7));
        assert!(map.get(&0).is_none());
    }
}
