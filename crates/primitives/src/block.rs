//! Blocks.

use crate::encode::{Decode, DecodeError, Encode, Reader, encode_list, list_len};
use crate::hash::{BlockHash, MerkleRoot, sha256d};
use crate::pow::CompactTarget;
use crate::transaction::Transaction;

/// The 80 bytes that are hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockHeader {
    /// Format version.
    pub version: i32,
    /// The parent.
    pub prev_block_hash: BlockHash,
    /// Root over the transaction ids.
    pub merkle_root: MerkleRoot,
    /// Unix seconds.
    pub time: u32,
    /// The target that the hash must meet.
    pub bits: CompactTarget,
    /// What the miner varies.
    pub nonce: u32,
}

impl BlockHeader {
    /// Length of the encoding in bytes.
    pub const LEN: usize = 80;

    /// Its hash.
    #[must_use]
    pub fn block_hash(&self) -> BlockHash {
        sha256d(&self.to_array()).into()
    }

    /// Its encoding.
    #[must_use]
    pub fn to_array(&self) -> [u8; Self::LEN] {
        let mut array = [0; Self::LEN];
        let fields = self
            .version
            .to_le_bytes()
            .into_iter()
            .chain(self.prev_block_hash.to_bytes())
            .chain(self.merkle_root.to_bytes())
            .chain(self.time.to_le_bytes())
            .chain(self.bits.0.to_le_bytes())
            .chain(self.nonce.to_le_bytes());
        for (target, byte) in array.iter_mut().zip(fields) {
            *target = byte;
        }
        array
    }
}

impl Encode for BlockHeader {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_array());
    }

    fn encoded_len(&self) -> usize {
        Self::LEN
    }
}

impl Decode for BlockHeader {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            version: reader.i32()?,
            prev_block_hash: BlockHash::from_bytes(reader.array()?),
            merkle_root: MerkleRoot::from_bytes(reader.array()?),
            time: reader.u32()?,
            bits: CompactTarget(reader.u32()?),
            nonce: reader.u32()?,
        })
    }
}

/// A header and its transactions, the coinbase first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Block {
    /// The header.
    pub header: BlockHeader,
    /// The transactions.
    pub transactions: Vec<Transaction>,
}

impl Block {
    /// Hash of its header.
    #[must_use]
    pub fn block_hash(&self) -> BlockHash {
        self.header.block_hash()
    }
}

impl Encode for Block {
    fn encode(&self, out: &mut Vec<u8>) {
        self.header.encode(out);
        encode_list(&self.transactions, out);
    }

    fn encoded_len(&self) -> usize {
        list_len(&self.transactions).saturating_add(BlockHeader::LEN)
    }
}

impl Decode for Block {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { header: BlockHeader::decode(reader)?, transactions: reader.list()? })
    }
}
