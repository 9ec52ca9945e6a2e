//! Compact blocks: a block by short ids of its transactions, put together again from those that the
//! receiver has (the idea is BIP152's).
//!
//! What is put together is checked against the header's merkle root, so a short id that fits
//! another transaction, or a sender that lies, costs a whole block's transfer and nothing else.

mod drafts;
mod siphash;

use bytes::Bytes;
use pentad_primitives::encode::{CompactSize, Decode as _, Encode as _};
use pentad_primitives::hash::{sha256, sha256d};
use pentad_primitives::merkle::root_checked;
use pentad_primitives::{Block, BlockHash, BlockHeader, Txid};

use siphash::siphash24;

pub use drafts::{Drafts, Step};

/// The capability that a node announces that takes compact blocks.
pub const CAPABILITY: &str = "compact";
/// Bytes of a short id on the wire.
pub const SHORT_ID_LEN: usize = 6;
/// Most transactions of a compact block: more, of 60 bytes each, fit into no block of 4 MB.
pub const TRANSACTIONS_MAX: usize = 70_000;
/// Most transactions that are asked for; with more of them missing the whole block is.
pub const MISSING_MAX: usize = 5_000;

/// A block of which the receiver is thought to have the transactions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactBlock {
    /// In Bitcoin's serialization.
    pub header: [u8; BlockHeader::LEN],
    /// Makes the short ids of this block unlike those of others.
    pub nonce: u64,
    /// The first transaction.
    pub coinbase: Bytes,
    /// Of all others, in their order.
    pub short_ids: Vec<ShortId>,
    /// The commit certificate; empty: none.
    pub certificate: Bytes,
}

/// 48 bits that stand for a transaction within one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShortId(u64);

/// Makes short ids.
#[derive(Clone, Copy, Debug)]
pub struct ShortIds([u64; 2]);

impl ShortId {
    /// From its bytes on the wire, the lowest first.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; SHORT_ID_LEN]) -> Self {
        let [a, b, c, d, e, f] = bytes;
        Self(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]))
    }

    /// Its bytes on the wire.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; SHORT_ID_LEN] {
        let [a, b, c, d, e, f, _, _] = self.0.to_le_bytes();
        [a, b, c, d, e, f]
    }
}

impl ShortIds {
    /// Those of one block: SipHash-2-4 under the first 16 bytes of sha256(header ‖ nonce), both the
    /// nonce and the halves of the key with the lowest byte first.
    #[must_use]
    pub fn new(header: &[u8; BlockHeader::LEN], nonce: u64) -> Self {
        let digest = sha256(&[header.as_slice(), &nonce.to_le_bytes()].concat());
        let (halves, _) = digest.as_chunks::<8>();
        let half = |index: usize| halves.get(index).map_or(0, |half| u64::from_le_bytes(*half));
        Self([half(0), half(1)])
    }

    /// The lowest 48 bits of the hash of an id in internal order.
    #[must_use]
    pub fn of(&self, txid: &Txid) -> ShortId {
        ShortId(siphash24(self.0, txid.as_bytes()) & 0xffff_ffff_ffff)
    }
}

impl CompactBlock {
    /// Of a block in Bitcoin's serialization; none if it is no such block, or has a coinbase only.
    #[must_use]
    pub fn of(block: &[u8], certificate: Bytes, nonce: u64) -> Option<Self> {
        let Block { header, transactions } = Block::from_bytes(block).ok()?;
        let header = header.to_array();
        let (coinbase, others) = transactions.split_first()?;
        let ids = ShortIds::new(&header, nonce);
        let short_ids: Vec<ShortId> = others.iter().map(|other| ids.of(&other.txid())).collect();
        if short_ids.is_empty() || short_ids.len() > TRANSACTIONS_MAX {
            return None;
        }
        let coinbase = coinbase.to_bytes().into();
        Some(Self { header, nonce, coinbase, short_ids, certificate })
    }

    /// Hash of the header.
    #[must_use]
    pub fn hash(&self) -> BlockHash {
        sha256d(&self.header).into()
    }
}

/// The block of these transactions under this header; none if they are not those that the header
/// means.
#[must_use]
pub fn assemble(header: &[u8; BlockHeader::LEN], transactions: &[Bytes]) -> Option<Bytes> {
    let decoded = BlockHeader::from_bytes(header).ok()?;
    let txids: Vec<Txid> = transactions.iter().map(|bytes| sha256d(bytes).into()).collect();
    if root_checked(&txids).ok()? != decoded.merkle_root {
        return None;
    }
    let length = transactions.iter().map(Bytes::len).fold(BlockHeader::LEN, usize::saturating_add);
    let mut block = Vec::with_capacity(length.saturating_add(9));
    block.extend_from_slice(header);
    CompactSize::of(transactions.len()).encode(&mut block);
    transactions.iter().for_each(|bytes| block.extend_from_slice(bytes));
    Some(block.into())
}

/// The transactions at these places of a block, in Bitcoin serialization; none if there is no such
/// place.
#[must_use]
pub fn transactions_at(block: &[u8], places: &[u32]) -> Option<Vec<Bytes>> {
    let transactions = Block::from_bytes(block).ok()?.transactions;
    let at = |place: &u32| {
        let transaction = transactions.get(usize::try_from(*place).ok()?)?;
        Some(Bytes::from(transaction.to_bytes()))
    };
    places.iter().map(at).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use pentad_primitives::merkle::root;
    use pentad_primitives::{CompactTarget, OutPoint, Script, Transaction, TxIn};

    use super::*;

    pub(crate) fn transaction(salt: u32) -> Transaction {
        let previous_output = OutPoint { txid: Txid::from_bytes([1; 32]), vout: salt };
        let script_sig = Script::from(salt.to_le_bytes().repeat(30));
        let input = TxIn { previous_output, script_sig, sequence: 0 };
        Transaction { version: 1, inputs: vec![input], outputs: Vec::new(), lock_time: 0 }
    }

    /// A block of transactions `0..count`; the first stands for the coinbase.
    pub(crate) fn block(count: u32) -> Block {
        let transactions: Vec<Transaction> = (0..count).map(transaction).collect();
        let txids: Vec<Txid> = transactions.iter().map(Transaction::txid).collect();
        let header = BlockHeader {
            version: 1,
            prev_block_hash: BlockHash::from_bytes([3; 32]),
            merkle_root: root(&txids),
            time: 4,
            bits: CompactTarget(5),
            nonce: 6,
        };
        Block { header, transactions }
    }

    #[test]
    fn a_block_and_its_parts_make_the_same_block() {
        for count in [2, 3, 300] {
            let block = block(count);
            let bytes = block.to_bytes();
            let compact = CompactBlock::of(&bytes, Bytes::new(), 7).expect("compact");
            assert_eq!(compact.hash(), block.block_hash());
            let parts: Vec<Bytes> =
                block.transactions.iter().map(|it| it.to_bytes().into()).collect();
            assert_eq!(compact.coinbase, parts[0]);
            assert_eq!(assemble(&compact.header, &parts), Some(bytes.clone().into()));
            let places: Vec<u32> = (0..count).rev().collect();
            let mut reversed = transactions_at(&bytes, &places).expect("all are there");
            assert_eq!(assemble(&compact.header, &reversed).is_some(), count == 1);
            reversed.reverse();
            assert_eq!(reversed, parts);
            assert_eq!(transactions_at(&bytes, &[count]), None);
        }
        assert_eq!(CompactBlock::of(&block(1).to_bytes(), Bytes::new(), 7), None, "coinbase only");
        assert_eq!(CompactBlock::of(b"no block", Bytes::new(), 7), None);
    }

    /// Attack 40: CVE-2012-2459, a repeated tail has the same merkle root.
    #[test]
    fn a_repeated_tail_is_no_block() {
        let block = block(3);
        let mut parts: Vec<Bytes> =
            block.transactions.iter().map(|it| it.to_bytes().into()).collect();
        let header = block.header.to_array();
        assert!(assemble(&header, &parts).is_some());
        parts.push(parts[2].clone());
        assert_eq!(assemble(&header, &parts), None);
        assert_eq!(assemble(&header, &[]), None);
    }

    #[test]
    fn short_ids_depend_on_header_and_nonce() {
        let header = block(3).header.to_array();
        let txid = transaction(1).txid();
        let of = |header: &[u8; 80], nonce| ShortIds::new(header, nonce).of(&txid);
        assert_eq!(of(&header, 1), of(&header, 1));
        assert_ne!(of(&header, 1), of(&header, 2));
        assert_ne!(of(&header, 1), of(&[7; 80], 1));
        let id = of(&header, 1);
        assert_eq!(ShortId::from_bytes(id.to_bytes()), id);
    }
}
