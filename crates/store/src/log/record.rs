//! What one record and one segment header look like on disk.
//!
//! ```text
//! segment header, 28 bytes            record, 17 bytes + payload
//!   0  8  magic "PENTADBL"              0  4  magic "PNTR"
//!   8  4  format version                4  1  kind
//!  12  4  segment number                5  4  length of the payload
//!  16  8  salt                          9  4  bytes of this segment known to be durable
//!  24  4  CRC32C of bytes 0..24        13  4  CRC32C of salt, bytes 4..13 and the payload
//! ```
//!
//! Integers are little-endian. The salt is drawn for each segment: bytes that came from a peer
//! cannot pose as a record, because their author does not know it.

/// Version of this layout; a log of another version is refused.
pub const FORMAT_VERSION: u32 = 1;
/// Bytes of a segment header.
pub const SEGMENT_HEADER_LEN: usize = 28;
/// Bytes in front of a payload.
pub const RECORD_HEADER_LEN: usize = 17;
/// Longest payload: a block of the largest limit a spec may set, and its undo data, fit many
/// times over, while a damaged length cannot ask for memory without end.
pub const PAYLOAD_LEN_MAX: u32 = 64 * 1024 * 1024;

const SEGMENT_MAGIC: [u8; 8] = *b"PENTADBL";
/// First bytes of every record, searched for behind a damaged place.
pub const RECORD_MAGIC: [u8; 4] = *b"PNTR";

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordKind {
    /// A block in Bitcoin's serialization.
    Block,
    /// What a block spent: its presence says that the block is valid on top of its parent.
    Undo,
    /// A block with the certificate that makes it final.
    CertifiedBlock,
    /// The certificate that makes a block final which was stored without it.
    Certificate,
}

impl RecordKind {
    const fn code(self) -> u8 {
        match self {
            Self::Block => 1,
            Self::Undo => 2,
            Self::CertifiedBlock => 3,
            Self::Certificate => 4,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Block),
            2 => Some(Self::Undo),
            3 => Some(Self::CertifiedBlock),
            4 => Some(Self::Certificate),
            _ => None,
        }
    }
}

/// The head of a segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Number of the segment, as in its file name.
    pub number: u32,
    /// Mixed into every checksum of the segment.
    pub salt: u64,
}

/// Why a segment header cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentHeaderProblem {
    /// Magic, checksum or number is wrong.
    Damaged,
    /// Written by another version of this layout.
    Version(u32),
}

impl SegmentHeader {
    /// The header's bytes.
    pub fn encode(self) -> [u8; SEGMENT_HEADER_LEN] {
        let mut out = [0; SEGMENT_HEADER_LEN];
        out[..8].copy_from_slice(&SEGMENT_MAGIC);
        out[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&self.number.to_le_bytes());
        out[16..24].copy_from_slice(&self.salt.to_le_bytes());
        let crc = crc32c::crc32c(&out[..24]);
        out[24..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads the header of segment `number`.
    pub fn decode(
        bytes: &[u8; SEGMENT_HEADER_LEN],
        number: u32,
    ) -> Result<Self, SegmentHeaderProblem> {
        if bytes[..8] != SEGMENT_MAGIC || u32_at(bytes, 24) != crc32c::crc32c(&bytes[..24]) {
            return Err(SegmentHeaderProblem::Damaged);
        }
        match u32_at(bytes, 8) {
            FORMAT_VERSION => {}
            other => return Err(SegmentHeaderProblem::Version(other)),
        }
        if u32_at(bytes, 12) != number {
            return Err(SegmentHeaderProblem::Damaged);
        }
        let salt = u64::from_le_bytes(bytes[16..24].try_into().expect("eight bytes"));
        Ok(Self { number, salt })
    }
}

/// The head of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// What the payload is.
    pub kind: RecordKind,
    /// Bytes of the payload.
    pub length: u32,
    /// Bytes of the segment that had been fsynced when this record was written: damage below
    /// is no torn tail.
    pub durable: u32,
    crc: u32,
}

impl RecordHeader {
    /// The bytes of a whole record; `None` when the payload is too long.
    pub fn encode_record(
        kind: RecordKind,
        durable: u32,
        salt: u64,
        payload: &[u8],
    ) -> Option<Vec<u8>> {
        let length =
            u32::try_from(payload.len()).ok().filter(|length| *length <= PAYLOAD_LEN_MAX)?;
        let mut out = Vec::with_capacity(RECORD_HEADER_LEN + payload.len());
        out.extend_from_slice(&RECORD_MAGIC);
        out.push(kind.code());
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&durable.to_le_bytes());
        let crc = checksum(salt, &out[4..13], payload);
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(payload);
        Some(out)
    }

    /// Reads a header; `None` when it cannot be one.
    pub fn decode(bytes: &[u8; RECORD_HEADER_LEN]) -> Option<Self> {
        let length = u32_at(bytes, 5);
        if bytes[..4] != RECORD_MAGIC || length > PAYLOAD_LEN_MAX {
            return None;
        }
        let kind = RecordKind::from_code(bytes[4])?;
        Some(Self { kind, length, durable: u32_at(bytes, 9), crc: u32_at(bytes, 13) })
    }

    /// Whether `payload` is the one this header was written for.
    pub fn matches(&self, salt: u64, payload: &[u8]) -> bool {
        let mut head = [0; 9];
        head[0] = self.kind.code();
        head[1..5].copy_from_slice(&self.length.to_le_bytes());
        head[5..].copy_from_slice(&self.durable.to_le_bytes());
        payload.len() == self.length as usize && checksum(salt, &head, payload) == self.crc
    }
}

fn checksum(salt: u64, head: &[u8], payload: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&salt.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(crc, head), payload)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        let header = SegmentHeader { number: 3, salt: 0x0807_0605_0403_0201 };
        let bytes = header.encode();
        assert_eq!(bytes[..16], *b"PENTADBL\x01\0\0\0\x03\0\0\0");
        // The salt; CRC32C of all before.
        assert_eq!(bytes[16..24], *b"\x01\x02\x03\x04\x05\x06\x07\x08");
        assert_eq!(bytes[24..], *b"\x24\xa8\x25\x04");
        // Last in each: CRC32C over the salt (zeros), kind, length, durable and payload.
        for (kind, expected) in [
            (RecordKind::Block, b"PNTR\x01\x03\0\0\0\x1c\0\0\0\x55\xb2\x73\x10"),
            (RecordKind::Undo, b"PNTR\x02\x03\0\0\0\x1c\0\0\0\x05\xce\xe1\x43"),
            (RecordKind::CertifiedBlock, b"PNTR\x03\x03\0\0\0\x1c\0\0\0\x35\x1a\x90\x72"),
            (RecordKind::Certificate, b"PNTR\x04\x03\0\0\0\x1c\0\0\0\xa5\x36\xc5\xe4"),
        ] {
            let record = RecordHeader::encode_record(kind, 28, 0, b"abc").expect("short");
            assert_eq!(record[..17], *expected, "{kind:?}");
            assert_eq!(record[17..], *b"abc");
        }
        let kinds = [
            RecordKind::Block,
            RecordKind::Undo,
            RecordKind::CertifiedBlock,
            RecordKind::Certificate,
        ];
        assert_eq!(kinds.map(RecordKind::code), [1, 2, 3, 4]);
        assert_eq!([1, 2, 3, 4].map(RecordKind::from_code), kinds.map(Some));
        assert_eq!([0, 5, 255].map(RecordKind::from_code), [None; 3]);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let record =
            RecordHeader::encode_record(RecordKind::Block, 28, 7, b"block").expect("short");
        for bit in 0..record.len() * 8 {
            let mut damaged = record.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let (head, payload) = damaged.split_at(RECORD_HEADER_LEN);
            let header = RecordHeader::decode(head.try_into().expect("seventeen bytes"));
            assert!(!header.is_some_and(|header| header.matches(7, payload)), "bit {bit}");
        }
    }

    #[test]
    fn a_record_of_another_segment_does_not_match() {
        let record =
            RecordHeader::encode_record(RecordKind::Block, 28, 7, b"block").expect("short");
        let (head, payload) = record.split_at(RECORD_HEADER_LEN);
        let header = RecordHeader::decode(head.try_into().expect("seventeen bytes"));
        assert!(header.is_some_and(|header| header.matches(7, payload)));
        assert!(!header.is_some_and(|header| header.matches(8, payload)));
    }
}
