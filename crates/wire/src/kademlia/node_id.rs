//! Identifiers of the Kademlia key space and the XOR metric on them.

use std::fmt;
use std::str::FromStr;

use sha1::{Digest, Sha1};

/// A point of the 160-bit key space: the id of a node, or the key of a value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId {
    /// The 128 most significant bits.
    high: u128,
    low: u32,
}

/// XOR of two ids, read as a big-endian number (Maymounkov & Mazières 2002, section 2.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Distance(NodeId);

/// The text is not 40 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a node id is 40 hex digits")]
pub struct ParseNodeIdError;

impl NodeId {
    /// Bytes of an id.
    pub const LEN: usize = 20;
    /// Bits of an id, which is also the largest depth of a bucket.
    pub const BITS: u32 = 160;

    /// The id with exactly these bytes, most significant first.
    pub fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        let append = |bits: u128, byte: &u8| (bits << 8) | u128::from(*byte);
        let (high, low) = bytes.split_at(16);
        let low = low.iter().fold(0, |bits, byte| (bits << 8) | u32::from(*byte));
        Self { high: high.iter().fold(0, append), low }
    }

    /// The bytes, most significant first.
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let parts = self.high.to_be_bytes().into_iter().chain(self.low.to_be_bytes());
        bytes.iter_mut().zip(parts).for_each(|(byte, part)| *byte = part);
        bytes
    }

    /// The key under which a value named `name` is stored: its SHA-1, as the Python package does.
    pub fn of_name(name: &[u8]) -> Self {
        Self::from_bytes(Sha1::digest(name).into())
    }

    /// XOR distance; symmetric, and zero only for equal ids.
    pub fn distance(&self, other: &Self) -> Distance {
        Distance(Self { high: self.high ^ other.high, low: self.low ^ other.low })
    }

    /// How many leading bits the two ids share, 0 to 160.
    pub fn common_prefix(&self, other: &Self) -> u32 {
        self.distance(other).leading_zeros()
    }

    /// The id whose first `bits` bits are those of `prefix` and whose others are those of `self`.
    pub fn with_prefix(&self, prefix: &Self, bits: u32) -> Self {
        let high = u128::MAX.checked_shr(bits).unwrap_or(0);
        let low = u32::MAX.checked_shr(bits.saturating_sub(128)).unwrap_or(0);
        Self {
            high: (prefix.high & !high) | (self.high & high),
            low: (prefix.low & !low) | (self.low & low),
        }
    }

    /// The id with the bit at `index` set, counted from the most significant.
    pub fn with_bit(&self, index: u32) -> Self {
        let ones = Self { high: u128::MAX, low: u32::MAX };
        // All bits up to the index from `ones`, but those before it from `self`.
        self.with_prefix(&ones, index.saturating_add(1)).with_prefix(self, index)
    }
}

impl Distance {
    /// Leading zero bits, 0 to 160: the length of the prefix that the two ids share.
    pub fn leading_zeros(&self) -> u32 {
        match self.0.high.leading_zeros() {
            128 => self.0.low.leading_zeros().saturating_add(128),
            zeros => zeros,
        }
    }
}

impl TryFrom<&[u8]> for NodeId {
    type Error = std::array::TryFromSliceError;

    fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
        bytes.try_into().map(Self::from_bytes)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for NodeId {
    type Err = ParseNodeIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; Self::LEN];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| ParseNodeIdError)?;
        Ok(Self::from_bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_and_bits() {
        let zero = NodeId::from_bytes([0; 20]);
        let ones = NodeId::from_bytes([0xff; 20]);
        assert_eq!(zero.common_prefix(&zero), 160);
        assert_eq!(zero.common_prefix(&ones), 0);
        for bits in 0..=160 {
            let mixed = zero.with_prefix(&ones, bits);
            assert_eq!(mixed.common_prefix(&ones), bits);
        }
        for index in 0..160 {
            let bit = zero.with_bit(index);
            assert_eq!(bit.common_prefix(&zero), index);
            assert_eq!(bit.to_bytes().iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
            assert_eq!(ones.with_bit(index), ones);
        }
    }

    #[test]
    fn order_is_that_of_the_bytes() {
        let mut bytes: Vec<[u8; 20]> =
            (0..100_u8).map(|n| NodeId::of_name(&[n]).to_bytes()).collect();
        let mut ids: Vec<NodeId> = bytes.iter().copied().map(NodeId::from_bytes).collect();
        bytes.sort_unstable();
        ids.sort_unstable();
        assert_eq!(bytes, ids.iter().map(NodeId::to_bytes).collect::<Vec<_>>());
    }

    #[test]
    fn text_round_trip() {
        let id = NodeId::of_name(b"k1");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("11".parse::<NodeId>(), Err(ParseNodeIdError));
    }
}
