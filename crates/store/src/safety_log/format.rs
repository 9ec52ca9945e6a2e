//! What a safety log looks like on disk.
//!
//! ```text
//! header, 56 bytes                      batch, 20 bytes + payload
//!   0  8  magic "PENTADSL"                0  4  magic "PNSB"
//!   8  4  format version                  4  8  number of the batch
//!  12  8  salt                           12  4  length of the payload
//!  20 32  owner                          16  4  CRC32C of salt, bytes 4..16 and the payload
//!  52  4  CRC32C of bytes 0..52        payload: for each record its length (4) and its bytes
//! ```
//!
//! Integers are little-endian. The salt is drawn when the log is begun and kept when it is
//! compacted: bytes that came from another replica cannot pose as a batch. Batches are numbered
//! from 1 without a gap; a compacted log begins with the number that is due.

/// Version of this layout; a log of another version is refused.
pub const FORMAT_VERSION: u32 = 1;
/// Bytes of the header.
pub const HEADER_LEN: usize = 56;
/// Bytes in front of a payload.
pub const BATCH_HEADER_LEN: usize = 20;

const MAGIC: [u8; 8] = *b"PENTADSL";
/// First bytes of every batch, searched for behind a damaged place.
pub const BATCH_MAGIC: [u8; 4] = *b"PNSB";

/// The head of a safety log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Mixed into every checksum; tells one log from another.
    pub salt: u64,
    /// Whose log it is.
    pub owner: [u8; 32],
}

/// Why a header cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderProblem {
    /// Magic or checksum is wrong.
    Damaged,
    /// Written by another version of this layout.
    Version(u32),
}

impl Header {
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        out[12..20].copy_from_slice(&self.salt.to_le_bytes());
        out[20..52].copy_from_slice(&self.owner);
        let crc = crc32c::crc32c(&out[..52]);
        out[52..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    pub fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Self, HeaderProblem> {
        if bytes[..8] != MAGIC || u32_at(bytes, 52) != crc32c::crc32c(&bytes[..52]) {
            return Err(HeaderProblem::Damaged);
        }
        match u32_at(bytes, 8) {
            FORMAT_VERSION => {}
            other => return Err(HeaderProblem::Version(other)),
        }
        let owner = bytes[20..52].try_into().expect("32 bytes");
        Ok(Self { salt: u64_at(bytes, 12), owner })
    }
}

/// A batch as it stands in the file; `None` when it is too long.
pub fn encode_batch(number: u64, salt: u64, records: &[Vec<u8>]) -> Option<Vec<u8>> {
    let length: usize = records.iter().map(|record| 4 + record.len()).sum();
    let length = u32::try_from(length).ok()?;
    let mut out = Vec::with_capacity(BATCH_HEADER_LEN + length as usize);
    out.extend_from_slice(&[0; BATCH_HEADER_LEN]);
    for record in records {
        let length = u32::try_from(record.len()).ok()?;
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(record);
    }
    seal(&mut out, number, salt, length);
    Some(out)
}

/// Writes the header in front of a batch's payload, for which there is room.
pub(crate) fn seal(batch: &mut [u8], number: u64, salt: u64, length: u32) {
    batch[..4].copy_from_slice(&BATCH_MAGIC);
    batch[4..12].copy_from_slice(&number.to_le_bytes());
    batch[12..16].copy_from_slice(&length.to_le_bytes());
    let crc = checksum(salt, &batch[4..16], &batch[BATCH_HEADER_LEN..]);
    batch[16..20].copy_from_slice(&crc.to_le_bytes());
}

/// A whole batch.
#[derive(Debug, PartialEq, Eq)]
pub struct Batch {
    pub number: u64,
    pub records: Vec<Vec<u8>>,
    /// Bytes that it takes in the file.
    pub length: usize,
}

/// The batch that `bytes` begin with; `None` when there is none or it is not whole.
pub fn decode_batch(bytes: &[u8], salt: u64) -> Option<Batch> {
    let (head, rest) = bytes.split_at_checked(BATCH_HEADER_LEN)?;
    if head[..4] != BATCH_MAGIC {
        return None;
    }
    let payload = rest.get(..u32_at(head, 12) as usize)?;
    if checksum(salt, &head[4..16], payload) != u32_at(head, 16) {
        return None;
    }
    let mut records = Vec::new();
    let mut rest = payload;
    while let Some((length, tail)) = rest.split_first_chunk() {
        let (record, tail) = tail.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        records.push(record.to_vec());
        rest = tail;
    }
    let length = BATCH_HEADER_LEN + payload.len();
    rest.is_empty().then_some(Batch { number: u64_at(head, 4), records, length })
}

fn checksum(salt: u64, head: &[u8], payload: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&salt.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(crc, head), payload)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        let header = Header { salt: 0x0807_0605_0403_0201, owner: [0xab; 32] }.encode();
        assert_eq!(header[..20], *b"PENTADSL\x01\0\0\0\x01\x02\x03\x04\x05\x06\x07\x08");
        assert_eq!(header[20..52], [0xab; 32]);
        assert_eq!(header[52..], 0x5156_a1dc_u32.to_le_bytes());
        let records = [b"abc".to_vec(), Vec::new()];
        let batch = encode_batch(7, 0x0807_0605_0403_0201, &records).expect("short");
        assert_eq!(batch[..16], *b"PNSB\x07\0\0\0\0\0\0\0\x0b\0\0\0");
        assert_eq!(batch[16..20], 0x664e_9f49_u32.to_le_bytes());
        assert_eq!(batch[20..], *b"\x03\0\0\0abc\0\0\0\0");
    }

    #[test]
    fn a_batch_comes_back_whole_and_alone() {
        let records = vec![vec![1; 300], Vec::new(), vec![2]];
        let bytes = encode_batch(9, 5, &records).expect("short");
        let length = bytes.len();
        let mut followed = bytes.clone();
        followed.extend_from_slice(b"anything");
        let batch = decode_batch(&followed, 5).expect("whole");
        assert_eq!(batch, Batch { number: 9, records, length });
        for cut in 0..length {
            assert_eq!(decode_batch(&bytes[..cut], 5), None, "cut at {cut}");
        }
        assert_eq!(decode_batch(&bytes, 6), None, "of another log");
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let header = Header { salt: 3, owner: [4; 32] }.encode();
        for bit in 0..HEADER_LEN * 8 {
            let mut damaged = header;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&damaged), Err(HeaderProblem::Damaged), "bit {bit}");
        }
        let bytes = encode_batch(1, 3, &[b"a vote".to_vec(), b"another".to_vec()]).expect("short");
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_batch(&damaged, 3), None, "bit {bit}");
        }
    }
}
