//! The payloads of log records.
//!
//! - Block: height (4, little-endian), chain work (32, big-endian), then the block in Bitcoin's
//!   serialization. The place in the chain stands first because bodies may come in any order.
//! - Certified block: the length of the certificate (4, little-endian), the certificate, then as
//!   for a block.
//! - Certificate: block hash (32), then the certificate of that block, which came later than it.
//! - Undo: block hash (32), then for each spent output, in block order, its length (4,
//!   little-endian) and its bytes as the index stores it.

use pentad_primitives::encode::{Decode as _, Encode as _};
use pentad_primitives::{Block, BlockHash, BlockHeight, Utxo, Work};

use crate::log::{Record, RecordKind};
use crate::rows::{encode_utxo, utxo_from_bytes};

/// Bytes between certificate, if any, and block in the record of a block.
const PLACE_LEN: u32 = 36;
/// Bytes in front of the certificate in the payload of a certified block's record.
pub const CERTIFICATE_START: u32 = 4;

/// What the record of a block holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBlock {
    /// Distance from genesis.
    pub height: BlockHeight,
    /// Work of the chain up to and with the block.
    pub chain_work: Work,
    /// The block.
    pub block: Block,
    /// Bytes of the certificate in the record; 0: there is none.
    pub certificate_len: u32,
}

/// What a record holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contents {
    /// A block.
    Block(StoredBlock),
    /// The outputs that a block spends, in block order.
    Undo(BlockHash, Vec<Utxo>),
    /// The certificate of a block that was stored without it.
    Certificate(BlockHash, Vec<u8>),
}

/// Decodes a record.
///
/// # Errors
/// What is wrong with it.
pub fn contents(record: &Record) -> Result<Contents, String> {
    match record.kind {
        RecordKind::Block | RecordKind::CertifiedBlock => {
            block_from_record(record).map(Contents::Block)
        }
        RecordKind::Undo => {
            undo_from_bytes(&record.payload).map(|(block, spent)| Contents::Undo(block, spent))
        }
        RecordKind::Certificate => {
            let (block, certificate) = certificate_from_record(record)?;
            Ok(Contents::Certificate(block, certificate.to_vec()))
        }
    }
}

/// A block's record: kind and payload. An empty certificate is none.
pub fn block_record(
    block: &Block,
    height: BlockHeight,
    chain_work: &Work,
    certificate: &[u8],
) -> (RecordKind, Vec<u8>) {
    let room = block_start(0) as usize + CERTIFICATE_START as usize + certificate.len();
    let mut out = Vec::with_capacity(room + block.encoded_len());
    let kind = if certificate.is_empty() {
        RecordKind::Block
    } else {
        let length = u32::try_from(certificate.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(certificate);
        RecordKind::CertifiedBlock
    };
    out.extend_from_slice(&height.get().to_le_bytes());
    out.extend_from_slice(&chain_work.to_be_bytes());
    block.encode(&mut out);
    (kind, out)
}

/// Bytes in front of the block in the payload of a record whose certificate has this length.
pub const fn block_start(certificate_len: u32) -> u32 {
    match certificate_len {
        0 => PLACE_LEN,
        length => CERTIFICATE_START.saturating_add(length).saturating_add(PLACE_LEN),
    }
}

/// The inverse of [`block_record`].
pub fn block_from_record(record: &Record) -> Result<StoredBlock, String> {
    let (certificate, rest) = split_certificate(record)?;
    let (height, rest) = rest.split_first_chunk::<4>().ok_or_else(too_short)?;
    let (work, block) = rest.split_first_chunk::<32>().ok_or_else(too_short)?;
    Ok(StoredBlock {
        height: BlockHeight::new(u32::from_le_bytes(*height)),
        chain_work: Work::from_be_bytes(*work),
        block: Block::from_bytes(block).map_err(|error| error.to_string())?,
        certificate_len: u32::try_from(certificate.len()).map_err(|_| too_short())?,
    })
}

/// The block's own bytes.
pub fn block_bytes(mut record: Record) -> Result<Vec<u8>, String> {
    let (certificate, rest) = split_certificate(&record)?;
    if rest.len() < PLACE_LEN as usize {
        return Err(too_short());
    }
    let certificate_len = u32::try_from(certificate.len()).map_err(|_| too_short())?;
    record.payload.drain(..block_start(certificate_len) as usize);
    Ok(record.payload)
}

/// The certificate in a block's record, empty if there is none.
pub fn certificate_of_block(record: &Record) -> Result<Vec<u8>, String> {
    Ok(split_certificate(record)?.0.to_vec())
}

/// The payload of a certificate's own record.
pub fn certificate_to_bytes(block: &BlockHash, certificate: &[u8]) -> Vec<u8> {
    [block.as_bytes(), certificate].concat()
}

/// The inverse of [`certificate_to_bytes`]. Nobody writes an empty one.
pub fn certificate_from_record(record: &Record) -> Result<(BlockHash, &[u8]), String> {
    if record.kind != RecordKind::Certificate {
        return Err("another record in place of a certificate".to_owned());
    }
    match record.payload.split_first_chunk() {
        None | Some((_, [])) => Err("too short for a certificate".to_owned()),
        Some((block, certificate)) => Ok((BlockHash::from_bytes(*block), certificate)),
    }
}

/// The certificate, empty if there is none, and what stands behind it.
fn split_certificate(record: &Record) -> Result<(&[u8], &[u8]), String> {
    match record.kind {
        RecordKind::Block => Ok((&[], &record.payload)),
        RecordKind::CertifiedBlock => {
            let (length, rest) = record.payload.split_first_chunk().ok_or_else(too_short)?;
            let length = u32::from_le_bytes(*length) as usize;
            rest.split_at_checked(length).ok_or_else(too_short)
        }
        RecordKind::Undo => Err("undo data in place of a block".to_owned()),
        RecordKind::Certificate => Err("a certificate in place of a block".to_owned()),
    }
}

fn too_short() -> String {
    "too short for a block".to_owned()
}

/// The payload of an undo record.
pub fn undo_to_bytes(block: &BlockHash, spent: &[Utxo]) -> Vec<u8> {
    /// Bytes of an output that pays to a key hash, with the length in front.
    const USUAL_LEN: usize = 43;
    let mut out = Vec::with_capacity(32 + spent.len() * USUAL_LEN);
    out.extend_from_slice(block.as_bytes());
    for utxo in spent {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        encode_utxo(&utxo.output, utxo.height, utxo.from_coinbase, &mut out);
        let length = u32::try_from(out.len() - start - 4).expect("an output is within a block");
        out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    }
    out
}

/// The inverse of [`undo_to_bytes`].
pub fn undo_from_bytes(payload: &[u8]) -> Result<(BlockHash, Vec<Utxo>), String> {
    let malformed = || "malformed undo data".to_owned();
    let hash = undo_block(payload)?;
    let mut rest = payload.get(32..).ok_or_else(malformed)?;
    let mut spent = Vec::new();
    while let Some((length, tail)) = rest.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let (utxo, tail) = tail.split_at_checked(length).ok_or_else(malformed)?;
        spent.push(utxo_from_bytes(utxo).ok_or_else(malformed)?);
        rest = tail;
    }
    if rest.is_empty() { Ok((hash, spent)) } else { Err(malformed()) }
}

/// The block that an undo record belongs to.
pub fn undo_block(payload: &[u8]) -> Result<BlockHash, String> {
    let hash = payload.first_chunk().ok_or("too short for undo data")?;
    Ok(BlockHash::from_bytes(*hash))
}

#[cfg(test)]
mod tests {
    use pentad_primitives::{Amount, TxOut};

    use super::*;
    use crate::tests::sample::chain;

    #[test]
    fn golden_bytes_of_blocks() {
        let sampled = chain(2).0.remove(1);
        let plain = block_record(&sampled.block, sampled.height, &sampled.work, b"");
        let mut place = vec![1, 0, 0, 0];
        place.extend_from_slice(&[0; 31]);
        place.push(4);
        let block = sampled.block.to_bytes();
        assert_eq!(plain, (RecordKind::Block, [&place[..], &block].concat()));
        let certified = block_record(&sampled.block, sampled.height, &sampled.work, b"cert");
        let payload = [b"\x04\0\0\0cert", &place[..], &block].concat();
        assert_eq!(certified, (RecordKind::CertifiedBlock, payload));
        for ((kind, payload), certificate_len) in [(plain, 0), (certified, 4)] {
            let start = block_start(certificate_len) as usize;
            assert_eq!(payload[start..], block);
            let record = Record { kind, payload };
            assert_eq!(block_bytes(record.clone()), Ok(block.clone()));
            let found = certificate_of_block(&record).map(|it| it.len());
            assert_eq!(found, Ok(certificate_len as usize));
            assert!(certificate_from_record(&record).is_err(), "it is a block");
            let expected = StoredBlock {
                height: sampled.height,
                chain_work: sampled.work,
                block: sampled.block.clone(),
                certificate_len,
            };
            assert_eq!(block_from_record(&record), Ok(expected));
            for cut in 0..record.payload.len() {
                let payload = record.payload[..cut].to_vec();
                let record = Record { kind, payload };
                assert!(block_from_record(&record).is_err(), "cut at {cut}");
                assert_eq!(block_bytes(record).is_ok(), cut >= start, "cut at {cut}");
            }
        }
        for kind in [RecordKind::Undo, RecordKind::Certificate] {
            let other = Record { kind, payload: vec![0; 200] };
            assert!(block_from_record(&other).is_err(), "{kind:?}");
        }
    }

    #[test]
    fn golden_bytes_of_certificates() {
        let hash = BlockHash::from_bytes([9; 32]);
        let payload = certificate_to_bytes(&hash, b"cert");
        assert_eq!(payload, [&[9; 32], &b"cert"[..]].concat());
        let record = |length: usize| Record {
            kind: RecordKind::Certificate,
            payload: payload[..length].to_vec(),
        };
        assert_eq!(contents(&record(36)), Ok(Contents::Certificate(hash, b"cert".to_vec())));
        assert_eq!(contents(&record(33)), Ok(Contents::Certificate(hash, b"c".to_vec())));
        for cut in 0..=32 {
            assert!(contents(&record(cut)).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn golden_bytes_of_undo_data() {
        let output = TxOut {
            amount: Amount::from_units(0x0102).expect("small"),
            script_pubkey: vec![0x51].into(),
        };
        let utxo = Utxo { output, height: BlockHeight::new(7), from_coinbase: true };
        let hash = BlockHash::from_bytes([9; 32]);
        let payload = undo_to_bytes(&hash, &[utxo.clone(), utxo.clone()]);
        let one = b"\x0f\0\0\0\x07\0\0\0\x01\x02\x01\0\0\0\0\0\0\x01\x51";
        assert_eq!(payload, [&[9; 32], &one[..], one].concat());
        assert_eq!(undo_from_bytes(&payload), Ok((hash, vec![utxo.clone(), utxo])));
        for cut in (33..payload.len()).filter(|cut| *cut != 32 + one.len()) {
            assert!(undo_from_bytes(&payload[..cut]).is_err(), "cut at {cut}");
        }
    }
}
