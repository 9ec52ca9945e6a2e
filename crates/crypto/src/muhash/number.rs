//! Numbers modulo the prime 2^3072 − 1103717.
//!
//! A number may be given as itself or, where that fits into 3072 bits, with the modulus added:
//! products need no comparison then. [`Number::to_bytes`] gives the one below the modulus.

use ruint::Uint;

/// Bytes of a number.
pub(super) const NUMBER_LEN: usize = 384;
const LIMBS: usize = 48;
/// Distance of the modulus from 2^3072: what a carry out of the highest limb is worth.
const DISTANCE: u64 = 1_103_717;

/// Limbs of 64 bits, the lowest first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Number([u64; LIMBS]);

impl Number {
    pub(super) const ONE: Self = {
        let mut limbs = [0; LIMBS];
        limbs[0] = 1;
        Self(limbs)
    };

    /// Any 384 bytes, little-endian.
    pub(super) fn from_bytes(bytes: &[u8; NUMBER_LEN]) -> Self {
        let mut limbs = [0; LIMBS];
        for (limb, bytes) in limbs.iter_mut().zip(bytes.as_chunks().0) {
            *limb = u64::from_le_bytes(*bytes);
        }
        Self(limbs)
    }

    /// Below the modulus, little-endian.
    pub(super) fn to_bytes(self) -> [u8; NUMBER_LEN] {
        let mut bytes = [0; NUMBER_LEN];
        for (bytes, limb) in bytes.as_chunks_mut().0.iter_mut().zip(self.reduced().0) {
            *bytes = limb.to_le_bytes();
        }
        bytes
    }

    pub(super) fn times(&self, other: &Self) -> Self {
        let mut product = [0; 2 * LIMBS];
        for (place, factor) in self.0.iter().enumerate() {
            let mut above = product.iter_mut();
            if let Some(below) = place.checked_sub(1) {
                above.nth(below);
            }
            let mut carry = 0;
            for (limb, into) in other.0.iter().zip(above.by_ref()) {
                (*into, carry) = factor.carrying_mul_add(*limb, *into, carry);
            }
            if let Some(into) = above.next() {
                *into = carry;
            }
        }
        let (low, high) = product.split_at(LIMBS);
        let mut limbs = [0; LIMBS];
        let mut carry = 0;
        for ((limb, low), high) in limbs.iter_mut().zip(low).zip(high) {
            (*limb, carry) = high.carrying_mul_add(DISTANCE, *low, carry);
        }
        Self(limbs).plus_carry(carry)
    }

    /// Adds a carry out of the highest limb.
    fn plus_carry(mut self, mut carry: u64) -> Self {
        // A second carry leaves so small a number that there is no third.
        while carry > 0 {
            let (mut low, mut high) = carry.carrying_mul(DISTANCE, 0);
            let mut overflow = false;
            for limb in &mut self.0 {
                (*limb, overflow) = limb.carrying_add(low, overflow);
                (low, high) = (high, 0);
            }
            carry = overflow.into();
        }
        self
    }

    /// The one whose product with this is one; none of zero.
    pub(super) fn inverse(&self) -> Option<Self> {
        let modulus = Uint::<3072, LIMBS>::MAX.wrapping_sub(Uint::from(DISTANCE - 1));
        let inverse = Uint::from_limbs(self.reduced().0).inv_mod(modulus)?;
        Some(Self(inverse.into_limbs()))
    }

    fn reduced(self) -> Self {
        // What is not below the modulus overflows 3072 bits when the distance is added.
        let mut sum = self;
        let (mut low, mut overflow) = (DISTANCE, false);
        for limb in &mut sum.0 {
            (*limb, overflow) = limb.carrying_add(low, overflow);
            low = 0;
        }
        if overflow { sum } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Oracle = Uint<3072, LIMBS>;

    fn modulus() -> Oracle {
        Oracle::MAX.wrapping_sub(Oracle::from(DISTANCE - 1))
    }

    fn bytes(number: Oracle) -> [u8; NUMBER_LEN] {
        number.to_le_bytes()
    }

    /// Numbers around every carry there is, and some of no special kind.
    fn samples() -> Vec<Oracle> {
        let one = Oracle::ONE;
        let (top, limb) = (Oracle::ONE.wrapping_shl(3071), Oracle::from(u64::MAX));
        let mut samples = vec![
            Oracle::ZERO,
            one,
            Oracle::MAX,
            Oracle::MAX.wrapping_sub(one),
            modulus(),
            modulus().wrapping_sub(one),
            modulus().wrapping_add(one),
            Oracle::from(DISTANCE),
            limb,
            top,
            top.wrapping_sub(one),
            limb.wrapping_shl(3008),
            Oracle::MAX.wrapping_shr(64),
        ];
        let mut seed = modulus() / Oracle::from(3);
        for _ in 0..12 {
            seed = seed.mul_mod(Oracle::from(0x9e37_79b9_7f4a_7c15_u64), modulus());
            samples.push(seed);
        }
        samples
    }

    #[test]
    fn products_and_inverses_are_those_of_ruint() {
        for one in samples() {
            let number = Number::from_bytes(&bytes(one));
            assert_eq!(number.to_bytes(), bytes(one.reduce_mod(modulus())), "{one}");
            for other in samples() {
                let product = number.times(&Number::from_bytes(&bytes(other)));
                assert_eq!(
                    product.to_bytes(),
                    bytes(one.mul_mod(other, modulus())),
                    "{one} times {other}"
                );
            }
            match number.inverse() {
                None => assert_eq!(one.reduce_mod(modulus()), Oracle::ZERO),
                Some(inverse) => {
                    assert_eq!(number.times(&inverse).to_bytes(), Number::ONE.to_bytes());
                }
            }
        }
    }
}
