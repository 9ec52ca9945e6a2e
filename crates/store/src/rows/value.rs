use pentad_primitives::encode::{Decode as _, Encode as _};
use pentad_primitives::{BlockHeader, BlockHeight, TxOut, Utxo, Work};

use crate::log::LogPosition;

/// What the index knows about a stored block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockEntry {
    /// The header.
    pub header: BlockHeader,
    /// Distance from genesis.
    pub height: BlockHeight,
    /// Work of the chain up to and with this block.
    pub chain_work: Work,
    /// Its record in the block log.
    pub body: LogPosition,
    /// Bytes of the certificate in that record; 0: there is none.
    pub certificate_len: u32,
    /// The record of its certificate, where that came later than the block.
    pub certificate: Option<LogPosition>,
    /// Its undo record, once the block has been connected: then it is valid.
    pub undo: Option<LogPosition>,
    /// Found invalid on top of its parent.
    pub is_invalid: bool,
}

/// Where a transaction of the main chain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxEntry {
    /// Height of its block.
    pub height: BlockHeight,
    /// Bytes from the start of the serialized block.
    pub start: u32,
    /// Its own bytes.
    pub length: u32,
}

/// Appends height (4), from a coinbase (1), output.
pub fn encode_utxo(output: &TxOut, height: BlockHeight, from_coinbase: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(&height.get().to_le_bytes());
    out.push(u8::from(from_coinbase));
    output.encode(out);
}

/// The inverse of [`encode_utxo`].
#[must_use]
pub fn utxo_from_bytes(bytes: &[u8]) -> Option<Utxo> {
    let (height, rest) = bytes.split_first_chunk()?;
    let (coinbase, output) = rest.split_first()?;
    Some(Utxo {
        output: TxOut::from_bytes(output).ok()?,
        height: BlockHeight::new(u32::from_le_bytes(*height)),
        from_coinbase: *coinbase != 0,
    })
}

impl TxEntry {
    /// Height, start, length: four bytes each.
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        [self.height.get(), self.start, self.length].map(u32::to_le_bytes).concat()
    }

    /// The inverse of [`Self::to_bytes`].
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; 12] = bytes.try_into().ok()?;
        let number = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
        Some(Self { height: BlockHeight::new(number(0)?), start: number(4)?, length: number(8)? })
    }
}

impl BlockEntry {
    /// Is a certificate stored that makes the block final, in its record or in one of its own?
    #[must_use]
    pub const fn has_certificate(&self) -> bool {
        self.certificate_len > 0 || self.certificate.is_some()
    }

    /// Header (80), height (4), work (32, big-endian), body and undo positions (8 each,
    /// big-endian, zero for none), validity (1); where there is a certificate in the block's
    /// record its length (4), where there is one in a record of its own that position (8,
    /// big-endian).
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = self.header.to_bytes();
        out.extend_from_slice(&self.height.get().to_le_bytes());
        out.extend_from_slice(&self.chain_work.to_be_bytes());
        out.extend_from_slice(&self.body.to_be_bytes());
        out.extend_from_slice(&self.undo.map_or([0; 8], LogPosition::to_be_bytes));
        out.push(u8::from(self.is_invalid));
        if self.certificate_len > 0 {
            out.extend_from_slice(&self.certificate_len.to_le_bytes());
        }
        if let Some(position) = self.certificate {
            out.extend_from_slice(&position.to_be_bytes());
        }
        out
    }

    /// The inverse of [`Self::to_bytes`].
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (header, rest) = bytes.split_at_checked(BlockHeader::LEN)?;
        let (height, rest) = rest.split_first_chunk()?;
        let (work, rest) = rest.split_first_chunk()?;
        let (body, rest) = rest.split_first_chunk()?;
        let (undo, rest) = rest.split_first_chunk()?;
        let (is_invalid, rest) = rest.split_first()?;
        let (length, position) = rest.split_at_checked(rest.len() % 8)?;
        let certificate_len = match length {
            [] => 0,
            length => u32::from_le_bytes(length.try_into().ok()?),
        };
        let certificate = match position {
            [] => None,
            position => Some(LogPosition::from_be_bytes(position.try_into().ok()?)),
        };
        Some(Self {
            header: BlockHeader::from_bytes(header).ok()?,
            height: BlockHeight::new(u32::from_le_bytes(*height)),
            chain_work: Work::from_be_bytes(*work),
            body: LogPosition::from_be_bytes(*body),
            certificate_len,
            certificate,
            undo: (*undo != [0; 8]).then(|| LogPosition::from_be_bytes(*undo)),
            is_invalid: *is_invalid != 0,
        })
    }
}
