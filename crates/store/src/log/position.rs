use std::fmt;

use super::record::SEGMENT_HEADER_LEN;
use super::segment::segment_name;
use crate::format::BLOCKS;

/// Where a record of the block log starts, or where the log ends. Positions order as records
/// were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPosition {
    /// Number of the segment file.
    pub segment: u32,
    /// Bytes from the start of that file.
    pub offset: u32,
}

impl LogPosition {
    /// Where the first record of a log stands.
    #[allow(clippy::cast_possible_truncation, reason = "a constant of 28")]
    pub const START: Self = Self { segment: 0, offset: SEGMENT_HEADER_LEN as u32 };

    /// The file, from the data directory on.
    #[must_use]
    pub fn file(self) -> String {
        format!("{BLOCKS}/{}", segment_name(self.segment))
    }

    /// Eight bytes that order like the position.
    #[must_use]
    pub fn to_be_bytes(self) -> [u8; 8] {
        ((u64::from(self.segment) << 32) | u64::from(self.offset)).to_be_bytes()
    }

    /// The inverse of [`Self::to_be_bytes`].
    #[must_use]
    pub fn from_be_bytes(bytes: [u8; 8]) -> Self {
        let [a, b, c, d, e, f, g, h] = bytes;
        Self { segment: u32::from_be_bytes([a, b, c, d]), offset: u32::from_be_bytes([e, f, g, h]) }
    }
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segment {} offset {}", self.segment, self.offset)
    }
}
