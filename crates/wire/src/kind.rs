//! What a frame holds.

use crate::class::{CERTIFICATE_MAX, LARGEST_PAYLOAD};

/// The message in a frame: a type of package `pentad.wire.v1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `Handshake`: who the sender is and where it stands.
    Handshake,
    /// `GetBlocks`: asks for blocks by hash.
    GetBlocks,
    /// `Transactions`: whole transactions.
    Transactions,
    /// `Block`: one block.
    Block,
    /// `GetHeaders`: asks for headers by locator.
    GetHeaders,
    /// `Headers`: consecutive headers.
    Headers,
    /// `Inventory`: ids of transactions.
    Inventory,
    /// `GetTransactions`: asks for transactions by id.
    GetTransactions,
    /// `Goodbye`: why the link ends.
    Goodbye,
    /// `Consensus`: a message between replicas.
    Consensus,
    /// `CompactBlock`: a block by short ids.
    CompactBlock,
    /// `GetBlockTransactions`: asks for transactions of a block.
    GetBlockTransactions,
    /// `BlockTransactions`: transactions of a block.
    BlockTransactions,
    /// `Certificate`: what makes a block final.
    Certificate,
}

impl Kind {
    /// Every kind, in the order of the numbers.
    pub const ALL: [Self; 14] = [
        Self::Handshake,
        Self::GetBlocks,
        Self::Transactions,
        Self::Block,
        Self::GetHeaders,
        Self::Headers,
        Self::Inventory,
        Self::GetTransactions,
        Self::Goodbye,
        Self::Consensus,
        Self::CompactBlock,
        Self::GetBlockTransactions,
        Self::BlockTransactions,
        Self::Certificate,
    ];

    /// The kind's number on the wire.
    #[must_use]
    pub const fn to_byte(self) -> u8 {
        match self {
            Self::Handshake => 1,
            Self::GetBlocks => 2,
            Self::Transactions => 3,
            Self::Block => 4,
            Self::GetHeaders => 5,
            Self::Headers => 6,
            Self::Inventory => 7,
            Self::GetTransactions => 8,
            Self::Goodbye => 9,
            Self::Consensus => 10,
            Self::CompactBlock => 11,
            Self::GetBlockTransactions => 12,
            Self::BlockTransactions => 13,
            Self::Certificate => 14,
        }
    }

    /// The kind of a number; `None` for those of later versions.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Handshake),
            2 => Some(Self::GetBlocks),
            3 => Some(Self::Transactions),
            4 => Some(Self::Block),
            5 => Some(Self::GetHeaders),
            6 => Some(Self::Headers),
            7 => Some(Self::Inventory),
            8 => Some(Self::GetTransactions),
            9 => Some(Self::Goodbye),
            10 => Some(Self::Consensus),
            11 => Some(Self::CompactBlock),
            12 => Some(Self::GetBlockTransactions),
            13 => Some(Self::BlockTransactions),
            14 => Some(Self::Certificate),
            _ => None,
        }
    }

    /// Most bytes of a payload of this kind, checked before anything is allocated for it.
    ///
    /// A repeated field costs a decoder many times its bytes on the wire where its entries are
    /// empty; so the limits of lists are close to what an honest sender fills.
    #[must_use]
    pub const fn payload_max(self) -> usize {
        match self {
            // About 250 bytes; leaves room for capabilities of later versions.
            Self::Handshake | Self::Goodbye => 4 << 10,
            // 128 hashes of 34 bytes with tag and length, or 101 of a locator.
            Self::GetBlocks | Self::GetHeaders => 8 << 10,
            // At least five transactions of the largest size (100 kB).
            Self::Transactions => 512 << 10,
            // A block or a proposal of 8 MiB, a certificate.
            Self::Block | Self::Consensus | Self::BlockTransactions => LARGEST_PAYLOAD,
            // 70,000 short ids, a coinbase, a certificate.
            Self::CompactBlock => 640 << 10,
            // 5000 places of three bytes, packed or each with its tag.
            Self::GetBlockTransactions => 24 << 10,
            // A certificate, the encoding.
            Self::Certificate => CERTIFICATE_MAX + (1 << 10),
            // 2000 headers of 82 bytes with tag and length, and a certificate.
            Self::Headers => 176 << 10,
            // 1000 ids of 34 bytes with tag and length.
            Self::Inventory | Self::GetTransactions => 40 << 10,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_one_to_one() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_byte(kind.to_byte()), Some(kind));
        }
        let known = (0..=u8::MAX).filter(|byte| Kind::from_byte(*byte).is_some()).count();
        assert_eq!(known, Kind::ALL.len());
        assert_eq!(Kind::from_byte(0), None, "kind 0 is never sent");
    }
}
