//! Bitcoin's encoding: little-endian integers, compact sizes, length-prefixed lists.
//!
//! Decoding allocates nothing by an untrusted count: a list grows as its elements arrive.

use thiserror::Error;

use crate::amount::AmountError;

/// Why bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The bytes end too early.
    #[error("the bytes end in the middle of a value")]
    UnexpectedEnd,
    /// Bytes are left over.
    #[error("{0} bytes are left over")]
    TrailingBytes(usize),
    /// A compact size that has a shorter form.
    #[error("a compact size is not in its shortest form")]
    NonMinimalCompactSize,
    /// A count that the bytes that follow cannot hold.
    #[error("a count of {0} is more than the bytes that follow can hold")]
    CountTooLarge(u64),
    /// An output above 21 million coins.
    #[error("invalid amount: {0}")]
    Amount(#[from] AmountError),
}

/// What has a fixed encoding.
pub trait Encode {
    /// Appends the encoding to `out`.
    fn encode(&self, out: &mut Vec<u8>);

    /// Length of the encoding in bytes.
    fn encoded_len(&self) -> usize;

    /// The encoding.
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.encoded_len());
        self.encode(&mut out);
        out
    }
}

/// Memory that a list takes on the word of its count alone: enough for those of most transactions,
/// which then have no room to spare; more is taken as elements come.
const RESERVED_BYTES: usize = 1024;

/// What can be read back.
pub trait Decode: Sized {
    /// Reads one value and leaves the rest.
    ///
    /// # Errors
    /// When the bytes are not an encoding of it.
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;

    /// Reads exactly one value.
    ///
    /// # Errors
    /// When the bytes are not exactly one encoding of it.
    fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let value = Self::decode(&mut reader)?;
        match reader.remaining() {
            0 => Ok(value),
            left => Err(DecodeError::TrailingBytes(left)),
        }
    }
}

/// A cursor over bytes.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    /// At the start of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Bytes not yet read.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(DecodeError::UnexpectedEnd)?;
        self.bytes = rest;
        Ok(taken)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.bytes.split_first_chunk().ok_or(DecodeError::UnexpectedEnd)?;
        self.bytes = rest;
        Ok(*taken)
    }

    /// One byte.
    ///
    /// # Errors
    /// At the end.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(u8::from_le_bytes)
    }

    /// Two bytes, little-endian.
    ///
    /// # Errors
    /// At the end.
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_le_bytes)
    }

    /// Four bytes, little-endian.
    ///
    /// # Errors
    /// At the end.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_le_bytes)
    }

    /// Four bytes, little-endian, signed.
    ///
    /// # Errors
    /// At the end.
    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        self.array().map(i32::from_le_bytes)
    }

    /// Eight bytes, little-endian.
    ///
    /// # Errors
    /// At the end.
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_le_bytes)
    }

    /// A list with its count in front.
    ///
    /// # Errors
    /// When an element is malformed, or the rest cannot hold so many.
    pub fn list<T: Decode>(&mut self) -> Result<Vec<T>, DecodeError> {
        let count = CompactSize::decode(self)?.get();
        // No element is shorter than a byte, so a count above the rest is a lie.
        let fits = usize::try_from(count).is_ok_and(|count| count <= self.remaining());
        if !fits {
            return Err(DecodeError::CountTooLarge(count));
        }
        let room = RESERVED_BYTES.checked_div(size_of::<T>()).unwrap_or(0);
        let mut list = Vec::with_capacity(usize::try_from(count).unwrap_or(room).min(room));
        for _ in 0..count {
            list.push(T::decode(self)?);
        }
        Ok(list)
    }
}

/// Bitcoin's variable-length count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactSize(u64);

impl CompactSize {
    /// Of a number.
    #[must_use]
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// Of a length in memory.
    #[must_use]
    pub const fn of(length: usize) -> Self {
        Self(length as u64)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// Length of the compact size of `length`, in bytes.
#[must_use]
pub fn compact_size_len(length: usize) -> usize {
    CompactSize::of(length).encoded_len()
}

impl Encode for CompactSize {
    fn encode(&self, out: &mut Vec<u8>) {
        let bytes = self.0.to_le_bytes();
        let (marker, width) = match self.0 {
            0..=0xfc => (None, 1),
            0xfd..=0xffff => (Some(0xfd), 2),
            0x1_0000..=0xffff_ffff => (Some(0xfe), 4),
            _ => (Some(0xff), 8),
        };
        out.extend(marker);
        out.extend(bytes.iter().take(width));
    }

    fn encoded_len(&self) -> usize {
        match self.0 {
            0..=0xfc => 1,
            0xfd..=0xffff => 3,
            0x1_0000..=0xffff_ffff => 5,
            _ => 9,
        }
    }
}

impl Decode for CompactSize {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (value, least) = match reader.u8()? {
            0xfd => (u64::from(reader.u16()?), 0xfd),
            0xfe => (u64::from(reader.u32()?), 0x1_0000),
            0xff => (reader.u64()?, 0x1_0000_0000),
            short => (u64::from(short), 0),
        };
        if value < least {
            return Err(DecodeError::NonMinimalCompactSize);
        }
        Ok(Self(value))
    }
}

/// Appends a list with its count in front.
pub(crate) fn encode_list<T: Encode>(list: &[T], out: &mut Vec<u8>) {
    CompactSize::of(list.len()).encode(out);
    for element in list {
        element.encode(out);
    }
}

/// Length of a list with its count in front.
pub(crate) fn list_len<T: Encode>(list: &[T]) -> usize {
    list.iter().map(Encode::encoded_len).fold(compact_size_len(list.len()), usize::saturating_add)
}
