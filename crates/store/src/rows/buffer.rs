use std::ops::Range;

/// A change of the index: the row comes into being when a block is connected and goes when it
/// is disconnected, or the other way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row<'a> {
    /// Present after the block only: key, value.
    Added(&'a [u8], &'a [u8]),
    /// Present before the block only: key, value.
    Removed(&'a [u8], &'a [u8]),
}

/// Rows in the order in which they were pushed, their bytes in one buffer: a block has tens of
/// thousands.
#[derive(Debug, Default)]
pub struct Rows {
    bytes: Vec<u8>,
    places: Vec<Place>,
}

/// Where a row's key and value lie. Two rows may share a value.
#[derive(Clone, Copy, Debug)]
struct Place {
    key_start: u32,
    value_start: u32,
    value_len: u32,
    key_len: u16,
    is_added: bool,
}

/// A value in the buffer, for the rows that have it.
#[derive(Clone, Copy, Debug)]
pub struct Value {
    start: u32,
    length: u32,
}

fn small(length: usize) -> u32 {
    u32::try_from(length).expect("the rows between two commits take less than 4 GiB")
}

impl Rows {
    /// No rows yet, and room for some.
    #[must_use]
    pub fn with_capacity(rows: usize, bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), places: Vec::with_capacity(rows) }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Is there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Bytes in memory.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + self.places.capacity() * size_of::<Place>()
    }

    /// Puts a value into the buffer; `encode` appends it.
    pub fn value(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> Value {
        let start = self.bytes.len();
        encode(&mut self.bytes);
        Value { start: small(start), length: small(self.bytes.len() - start) }
    }

    /// Adds a row of a value that is in the buffer; the parts of its key are put together.
    ///
    /// # Panics
    /// On keys of 64 KiB, which no table has.
    pub fn push(&mut self, is_added: bool, key: &[&[u8]], value: Value) {
        let start = self.bytes.len();
        key.iter().for_each(|part| self.bytes.extend_from_slice(part));
        let key_len = u16::try_from(self.bytes.len() - start).expect("keys are short");
        let Value { start: value_start, length: value_len } = value;
        let key_start = small(start);
        self.places.push(Place { key_start, value_start, value_len, key_len, is_added });
    }

    /// The row at `index`.
    #[must_use]
    pub fn row(&self, index: usize) -> Row<'_> {
        let place = self.places[index];
        let key = self.slice(place.key_start, u32::from(place.key_len));
        let value = self.slice(place.value_start, place.value_len);
        if place.is_added { Row::Added(key, value) } else { Row::Removed(key, value) }
    }

    fn slice(&self, start: u32, length: u32) -> &[u8] {
        let start = start as usize;
        let range: Range<usize> = start..start + length as usize;
        &self.bytes[range]
    }

    /// All rows, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Row<'_>> + ExactSizeIterator {
        (0..self.len()).map(|index| self.row(index))
    }
}

impl<'a> Row<'a> {
    /// Its key.
    #[must_use]
    pub const fn key(self) -> &'a [u8] {
        match self {
            Self::Added(key, _) | Self::Removed(key, _) => key,
        }
    }
}
