//! The payloads of log records.
//!
//! - Block: height (4, little-endian), chain work (32, big-endian), then the block in Bitcoin's
//!   serialization. The place in the chain stands first because bodies may come in any order.
//! - Undo: block hash (32), then for each spent output, in block order, its length (4,
//!   little-endian) and its bytes as the index stores it.

use pentad_primitives::encode::{Decode as _, Encode as _};
use pentad_primitives::{Block, BlockHash, BlockHeight, Utxo, Work};

use crate::rows::{utxo_from_bytes, utxo_to_bytes};

/// Bytes in front of the block in a block record.
pub const BLOCK_PREFIX_LEN: u32 = 36;

/// The payload of a block record.
pub fn block_to_bytes(block: &Block, height: BlockHeight, chain_work: &Work) -> Vec<u8> {
    let mut out = Vec::with_capacity(BLOCK_PREFIX_LEN as usize + block.encoded_len());
    out.extend_from_slice(&height.get().to_le_bytes());
    out.extend_from_slice(&chain_work.to_be_bytes());
    block.encode(&mut out);
    out
}

/// The block's own bytes.
pub fn block_bytes(payload: &[u8]) -> Result<&[u8], String> {
    payload.get(BLOCK_PREFIX_LEN as usize..).ok_or_else(|| "too short for a block".to_owned())
}

/// The inverse of [`block_to_bytes`].
pub fn block_from_bytes(payload: &[u8]) -> Result<(BlockHeight, Work, Block), String> {
    let block = Block::from_bytes(block_bytes(payload)?).map_err(|error| error.to_string())?;
    let place = payload.split_first_chunk::<4>().and_then(|(height, rest)| {
        let work = rest.first_chunk::<32>()?;
        let height = BlockHeight::new(u32::from_le_bytes(*height));
        Some((height, Work::from_be_bytes(*work)))
    });
    let (height, work) = place.ok_or("too short for a block")?;
    Ok((height, work, block))
}

/// The payload of an undo record.
pub fn undo_to_bytes(block: &BlockHash, spent: &[Utxo]) -> Vec<u8> {
    let mut out = block.as_bytes().to_vec();
    for utxo in spent {
        let bytes = utxo_to_bytes(utxo);
        let length = u32::try_from(bytes.len()).expect("an output is smaller than its block");
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&bytes);
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
    fn golden_bytes() {
        let sampled = chain(2).0.remove(1);
        let payload = block_to_bytes(&sampled.block, sampled.height, &sampled.work);
        let mut expected = vec![1, 0, 0, 0];
        expected.extend_from_slice(&[0; 31]);
        expected.push(4);
        assert_eq!(payload[..36], expected);
        assert_eq!(payload[36..], sampled.block.to_bytes());
        let (height, work, block) = block_from_bytes(&payload).expect("its own bytes");
        assert_eq!((height, work, block), (sampled.height, sampled.work, sampled.block));

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
