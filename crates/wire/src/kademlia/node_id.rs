//! Identifiers of the Kademlia key space and the XOR metric on them.

use std::fmt;
use std::str::FromStr;

use sha1::{Digest, Sha1};

/// A point of the 160-bit key space: the id of a node, or the key of a value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId([u8; NodeId::LEN]);

/// XOR of two ids, read as a big-endian number (Maymounkov & Mazières 2002, section 2.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Distance([u8; NodeId::LEN]);

/// The text is not 40 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a node id is 40 hex digits")]
pub struct ParseNodeIdError;

impl NodeId {
    /// Bytes of an id.
    pub const LEN: usize = 20;
    /// Bits of an id, which is also the largest depth of a bucket.
    pub const BITS: u8 = 160;

    /// The id with exactly these bytes, most significant first.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes, most significant first.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// The key under which a value named `name` is stored: its SHA-1, as the Python package does.
    pub fn of_name(name: &[u8]) -> Self {
        Self(Sha1::digest(name).into())
    }

    /// XOR distance; symmetric, and zero only for equal ids.
    pub fn distance(&self, other: &Self) -> Distance {
        let mut xor = self.0;
        for (byte, with) in xor.iter_mut().zip(other.0) {
            *byte ^= with;
        }
        Distance(xor)
    }

    /// How many leading bits the two ids share, 0 to 160.
    pub fn common_prefix(&self, other: &Self) -> u8 {
        self.distance(other).leading_zeros()
    }

    /// The bit at `index`, counted from the most significant; false beyond the last.
    pub fn bit(&self, index: u8) -> bool {
        let byte = self.0.get(usize::from(index >> 3)).copied().unwrap_or(0);
        byte & (0x80 >> (index & 7)) != 0
    }

    /// The id whose first `bits` bits are those of `prefix` and whose others are those of `self`.
    pub fn with_prefix(&self, prefix: &Self, bits: u8) -> Self {
        let mut id = self.0;
        let mut left = bits;
        for (byte, from) in id.iter_mut().zip(prefix.0) {
            let mask = !0xff_u8.checked_shr(u32::from(left.min(8))).unwrap_or(0);
            *byte = (from & mask) | (*byte & !mask);
            left = left.saturating_sub(8);
        }
        Self(id)
    }

    /// The id with the bit at `index` set.
    pub fn with_bit(mut self, index: u8) -> Self {
        if let Some(byte) = self.0.get_mut(usize::from(index >> 3)) {
            *byte |= 0x80 >> (index & 7);
        }
        self
    }
}

impl Distance {
    /// Leading zero bits, 0 to 160: the length of the prefix that the two ids share.
    pub fn leading_zeros(&self) -> u8 {
        let mut zeros = 0_u8;
        for byte in self.0 {
            // At most 20 × 8 = 160, which fits.
            zeros = zeros.saturating_add(byte.leading_zeros().try_into().unwrap_or(0));
            if byte != 0 {
                break;
            }
        }
        zeros
    }
}

impl TryFrom<&[u8]> for NodeId {
    type Error = std::array::TryFromSliceError;

    fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
        bytes.try_into().map(Self)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
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
        Ok(Self(bytes))
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
            assert_eq!(mixed.common_prefix(&ones), bits, "{bits}");
            assert_eq!(mixed.bit(bits), false);
            assert_eq!(bits > 0, mixed.bit(0));
        }
        assert!(zero.with_bit(9).bit(9));
        assert_eq!(zero.with_bit(9).common_prefix(&zero), 9);
    }

    #[test]
    fn text_round_trip() {
        let id = NodeId::of_name(b"k1");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("11".parse::<NodeId>(), Err(ParseNodeIdError));
    }
}
