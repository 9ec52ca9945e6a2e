//! The one source of chance: a run is a function of its seed.

/// SplitMix64 (Steele, Lea, Flood 2014): small, quick, and the same on every machine.
#[derive(Debug)]
pub struct Rng(u64);

impl Rng {
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 where the bound is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next_u64() % bound }
    }

    /// An index below `length`.
    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("below a usize")
    }

    /// From `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True in `per_mille` of 1000 cases.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// One of `items`, which is not empty.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.index(items.len())]
    }

    /// `count` distinct numbers below `bound`, in random order.
    pub fn sample(&mut self, count: usize, bound: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..bound).collect();
        for place in 0..count.min(bound) {
            let other = place + self.index(bound - place);
            all.swap(place, other);
        }
        all.truncate(count);
        all
    }

    /// From none to `most` distinct numbers below `bound`, each count as likely as another, in
    /// random order.
    pub fn sample_up_to(&mut self, most: usize, bound: usize) -> Vec<usize> {
        let count = self.index(most + 1);
        self.sample(count, bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_of_a_seed_is_fixed() {
        let mut rng = Rng::new(1_234_567);
        // The reference values of SplitMix64 for this seed.
        assert_eq!(rng.next_u64(), 6_457_827_717_110_365_317);
        assert_eq!(rng.next_u64(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn samples_are_distinct() {
        let mut rng = Rng::new(3);
        for _ in 0..100 {
            let mut drawn = rng.sample(4, 7);
            drawn.sort_unstable();
            drawn.dedup();
            assert_eq!(drawn.len(), 4);
        }
    }
    #[test]
    fn how_many_says_nothing_of_which() {
        let mut rng = Rng::new(4);
        let mut drawn = [0; 4];
        let mut none = 0;
        for _ in 0..800 {
            match rng.sample_up_to(1, 4).as_slice() {
                [] => none += 1,
                [node] => drawn[*node] += 1,
                more => panic!("{more:?}"),
            }
        }
        assert!((350..450).contains(&none), "{none}");
        assert!(drawn.iter().all(|count| (70..130).contains(count)), "{drawn:?}");
    }
}
