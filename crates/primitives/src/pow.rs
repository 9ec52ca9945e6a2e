//! Proof of work: targets, their compact form, and work.

use std::fmt;
use std::ops::RangeInclusive;

use pentad_sha256_pair::{INITIAL, PADDING, sha256d_ends};
use ruint::aliases::U256;
use sha2::block_api::compress256;
use thiserror::Error;

use crate::block::BlockHeader;
use crate::hash::BlockHash;

/// Mantissa of the compact form; bit 23 is a sign.
const MANTISSA_MASK: u32 = 0x007f_ffff;
const SIGN_BIT: u32 = 0x0080_0000;
/// Bytes of a mantissa.
const MANTISSA_BYTES: u32 = 3;

/// The compact form of a target as it stands in a header (`bits`); it may not be a valid one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CompactTarget(pub u32);

impl fmt::Display for CompactTarget {
    /// Eight hex digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Debug for CompactTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a compact target is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TargetError {
    /// The sign bit is set.
    #[error("compact target {0} is negative")]
    Negative(CompactTarget),
    /// Above 256 bits.
    #[error("compact target {0} is above 256 bits")]
    Overflow(CompactTarget),
    /// No hash can meet it.
    #[error("compact target {0} is zero")]
    Zero(CompactTarget),
}

/// The largest hash, read as a little-endian number, that is enough work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target(U256);

impl Target {
    /// The easiest.
    pub const MAX: Self = Self(U256::MAX);

    /// Expands the compact form.
    ///
    /// # Errors
    /// When it is negative, zero or above 256 bits.
    pub fn from_compact(bits: CompactTarget) -> Result<Self, TargetError> {
        let exponent = bits.0 >> 24;
        let mantissa = bits.0 & MANTISSA_MASK;
        if mantissa != 0 && bits.0 & SIGN_BIT != 0 {
            return Err(TargetError::Negative(bits));
        }
        let shift = exponent.abs_diff(MANTISSA_BYTES).saturating_mul(8);
        let target = if exponent <= MANTISSA_BYTES {
            U256::from(mantissa.checked_shr(shift).unwrap_or(0))
        } else {
            // 34 bytes of exponent at the most: a shift of 248 bits.
            usize::try_from(shift)
                .ok()
                .and_then(|shift| U256::from(mantissa).checked_shl(shift))
                .ok_or(TargetError::Overflow(bits))?
        };
        if target.is_zero() {
            return Err(TargetError::Zero(bits));
        }
        Ok(Self(target))
    }

    /// The compact form, rounded down to its 23 bits of precision.
    #[must_use]
    pub fn to_compact(self) -> CompactTarget {
        let mut size = u32::try_from(self.0.byte_len()).unwrap_or(32);
        let shift = size.abs_diff(MANTISSA_BYTES).saturating_mul(8) as usize;
        let shifted = if size <= MANTISSA_BYTES {
            self.0.wrapping_shl(shift)
        } else {
            self.0.wrapping_shr(shift)
        };
        let mut mantissa = shifted.wrapping_to::<u32>();
        // A set top bit would read as a sign.
        if mantissa & SIGN_BIT != 0 {
            mantissa >>= 8;
            size = size.saturating_add(1);
        }
        CompactTarget(mantissa | size << 24)
    }

    /// From 32 bytes, the most significant first.
    #[must_use]
    pub fn from_be_bytes(bytes: [u8; 32]) -> Self {
        Self(U256::from_be_bytes(bytes))
    }

    /// As 32 bytes, the most significant first.
    #[must_use]
    pub fn to_be_bytes(self) -> [u8; 32] {
        self.0.to_be_bytes()
    }

    /// The hash is enough work.
    #[must_use]
    pub fn is_met_by(&self, hash: &BlockHash) -> bool {
        U256::from_le_bytes(hash.to_bytes()) <= self.0
    }
}

impl fmt::Display for Target {
    /// 64 hex digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:064x}", self.0)
    }
}

/// Expected number of hashes; of a block or summed over a chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Work(U256);

impl Work {
    /// None.
    pub const ZERO: Self = Self(U256::ZERO);

    /// Of one block: 2²⁵⁶ / (target + 1).
    #[must_use]
    pub fn from_target(target: &Target) -> Self {
        // 2²⁵⁶ does not fit, so it is (2²⁵⁶ - target - 1) / (target + 1) + 1.
        target
            .0
            .checked_add(U256::ONE)
            .and_then(|divisor| (!target.0).checked_div(divisor)?.checked_add(U256::ONE))
            .map_or(Self(U256::ONE), Self)
    }

    /// The sum; saturates where no chain can get.
    #[must_use]
    pub fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The sum, where it is below 2²⁵⁶.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference, where it is not negative.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// From 32 bytes, the most significant first.
    #[must_use]
    pub fn from_be_bytes(bytes: [u8; 32]) -> Self {
        Self(U256::from_be_bytes(bytes))
    }

    /// As 32 bytes, the most significant first.
    #[must_use]
    pub fn to_be_bytes(self) -> [u8; 32] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for Work {
    /// 64 hex digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:064x}", self.0)
    }
}

/// Bits of a header.
const HEADER_BITS: u32 = 640;

/// Hashes one header with many nonces in two compressions each: the first 64 of its 80 bytes are
/// compressed once.
#[derive(Clone, Debug)]
pub struct HeaderHasher {
    midstate: [u32; 8],
    /// The end of the merkle root, time and bits: words of the second block.
    tail: [u32; 3],
}

impl HeaderHasher {
    /// For all nonces of this header.
    #[must_use]
    pub fn new(header: &BlockHeader) -> Self {
        let bytes = header.to_array();
        let mut midstate = INITIAL;
        let (blocks, rest) = bytes.as_chunks();
        compress256(&mut midstate, blocks);
        let words: &[[u8; 4]] = rest.as_chunks().0;
        let tail = words.first_chunk().copied().unwrap_or_default();
        Self { midstate, tail: tail.map(u32::from_be_bytes) }
    }

    /// The header's hash with this nonce.
    #[must_use]
    pub fn hash(&self, nonce: u32) -> BlockHash {
        let [hash, _] = self.words([nonce; 2]);
        BlockHash::from_bytes(big_endian(&hash))
    }

    /// The first of these nonces whose hash meets the target.
    #[must_use]
    pub fn find(&self, mut nonces: RangeInclusive<u32>, target: &Target) -> Option<u32> {
        let [top, ..] = *target.to_be_bytes().as_chunks::<4>().0 else { return None };
        let top = u32::from_be_bytes(top);
        let is_met = |words: &[u32; 8]| {
            // The hash is a little-endian number: its last word says nearly always that it is
            // too large.
            let [.., last] = words;
            last.swap_bytes() <= top && target.is_met_by(&BlockHash::from_bytes(big_endian(words)))
        };
        while let Some(first) = nonces.next() {
            // Of an odd number of nonces the last one is tried twice.
            let second = nonces.next().unwrap_or(first);
            let [first_hash, second_hash] = self.words([first, second]);
            if is_met(&first_hash) {
                return Some(first);
            }
            if is_met(&second_hash) {
                return Some(second);
            }
        }
        None
    }

    /// The hashes with two nonces: two at once take little longer than one.
    fn words(&self, nonces: [u32; 2]) -> [[u32; 8]; 2] {
        let [a, b, c] = self.tail;
        let ends = nonces.map(|nonce| {
            [a, b, c, nonce.swap_bytes(), PADDING, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, HEADER_BITS]
        });
        sha256d_ends(&self.midstate, &ends)
    }
}

fn big_endian(words: &[u32; 8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (to, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
        *to = word.to_be_bytes();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::MerkleRoot;

    fn target(bits: u32) -> Result<Target, TargetError> {
        Target::from_compact(CompactTarget(bits))
    }

    #[test]
    fn compact_targets_of_bitcoin_core() {
        // arith_uint256_tests.cpp, bignum_SetCompact.
        for zero in [0, 0x0012_3456, 0x0100_3456, 0x0200_0056, 0x0300_0000, 0x0400_0000] {
            assert!(matches!(target(zero), Err(TargetError::Zero(_))), "{zero:08x}");
        }
        for negative in [0x01fe_dcba, 0x0492_3456] {
            assert!(matches!(target(negative), Err(TargetError::Negative(_))), "{negative:08x}");
        }
        assert!(matches!(target(0xff12_3456), Err(TargetError::Overflow(_))));
        assert!(matches!(target(0x2300_0001), Err(TargetError::Overflow(_))));
        for (bits, hex, back) in [
            (0x0112_3456, "12", 0x0112_0000),
            (0x0212_3456, "1234", 0x0212_3400),
            (0x0312_3456, "123456", 0x0312_3456),
            (0x0412_3456, "12345600", 0x0412_3456),
            (0x0500_9234, "92340000", 0x0500_9234),
        ] {
            let target = target(bits).unwrap();
            assert_eq!(target.to_string(), format!("{hex:0>64}"));
            assert_eq!(target.to_compact().0, back);
        }
    }

    #[test]
    fn work_of_the_extremes() {
        assert_eq!(Work::from_target(&Target::MAX), Work(U256::ONE));
        assert_eq!(
            Work::from_target(&target(0x1d00_ffff).unwrap()),
            Work(U256::from(0x1_0001_0001_u64))
        );
        let hardest = Target::from_be_bytes(U256::ONE.to_be_bytes());
        assert_eq!(Work::from_target(&hardest), Work(U256::ONE << 255));
    }

    #[test]
    fn hasher_agrees_with_the_header() {
        let mut header = BlockHeader {
            version: 2,
            prev_block_hash: BlockHash::from_bytes([7; 32]),
            merkle_root: MerkleRoot::from_bytes([9; 32]),
            time: 1_700_000_000,
            bits: CompactTarget(0x207f_ffff),
            nonce: 0,
        };
        let hasher = HeaderHasher::new(&header);
        for nonce in [0, 1, 0xdead_beef, u32::MAX] {
            header.nonce = nonce;
            assert_eq!(hasher.hash(nonce), header.block_hash());
        }
    }

    #[test]
    fn the_nonce_found_is_the_first_that_meets_the_target() {
        let header = BlockHeader {
            version: 1,
            prev_block_hash: BlockHash::ZERO,
            merkle_root: MerkleRoot::ZERO,
            time: 1_800_000_000,
            bits: CompactTarget(0x1f00_ffff),
            nonce: 0,
        };
        let hasher = HeaderHasher::new(&header);
        // The word that is looked at first is equal, less or more; some hashes need the others.
        for bits in [0x1f00_ffff, 0x207f_ffff, 0x2000_0001, 0x2100_ffff] {
            let target = target(bits).unwrap();
            let expected = (5..=1 << 20).find(|&nonce| target.is_met_by(&hasher.hash(nonce)));
            assert!(expected.is_some());
            assert_eq!(hasher.find(5..=1 << 20, &target), expected);
        }
        assert_eq!(hasher.find(0..=100, &Target::from_be_bytes([0; 32])), None);
        // Pairs begin and end anywhere.
        let met = |nonce: &u32| target(0x207f_ffff).unwrap().is_met_by(&hasher.hash(*nonce));
        for (first, last) in (0..6).flat_map(|first| (first..9).map(move |last| (first, last))) {
            let expected = (first..=last).find(met);
            assert_eq!(hasher.find(first..=last, &target(0x207f_ffff).unwrap()), expected);
        }
        assert_eq!(hasher.find(u32::MAX..=u32::MAX, &Target::MAX), Some(u32::MAX));
    }
}
