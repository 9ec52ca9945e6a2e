//! A set of ids that forgets the oldest.

use std::collections::BTreeSet;

/// Remembers the last ids it was shown: at least as many as its generation holds, at most twice
/// as many.
///
/// It keeps the first eight bytes of an id, which is a hash. Two of one's own making that agree in
/// them can be found, and gain nothing; one that agrees with somebody else's cannot.
#[derive(Clone, Debug)]
pub struct Recent {
    generation_max: usize,
    young: BTreeSet<u64>,
    old: BTreeSet<u64>,
}

impl Recent {
    /// Remembers at least `generation_max` ids.
    #[must_use]
    pub const fn new(generation_max: usize) -> Self {
        Self { generation_max, young: BTreeSet::new(), old: BTreeSet::new() }
    }

    /// True if it was not there.
    pub fn insert(&mut self, id: &[u8; 32]) -> bool {
        let short = shorten(id);
        let new = !self.old.contains(&short) && self.young.insert(short);
        if self.young.len() > self.generation_max {
            self.old = std::mem::take(&mut self.young);
        }
        new
    }

    /// Whether it is there.
    #[must_use]
    pub fn contains(&self, id: &[u8; 32]) -> bool {
        let short = shorten(id);
        self.young.contains(&short) || self.old.contains(&short)
    }

    /// True if it was there.
    pub fn remove(&mut self, id: &[u8; 32]) -> bool {
        let short = shorten(id);
        // Both: it may be in either.
        self.young.remove(&short) | self.old.remove(&short)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}

fn shorten(id: &[u8; 32]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *id;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> [u8; 32] {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&number.to_be_bytes());
        id
    }

    #[test]
    fn it_forgets_the_oldest_and_stays_bounded() {
        let mut recent = Recent::new(100);
        for number in 0..1000 {
            assert!(recent.insert(&id(number)));
            assert!(recent.young.len() + recent.old.len() <= 201);
        }
        assert!((900..1000).all(|number| recent.contains(&id(number))));
        assert!((0..700).all(|number| !recent.contains(&id(number))));
        assert!(!recent.insert(&id(999)));
        assert!(recent.remove(&id(999)) && !recent.contains(&id(999)));
    }
}
