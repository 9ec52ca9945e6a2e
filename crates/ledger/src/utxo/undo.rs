use pentad_primitives::encode::{CompactSize, Decode, DecodeError, Encode, Reader};
use pentad_primitives::{BlockHeight, TxOut, Utxo};

/// The outputs that a block's transactions spend, in the order of their inputs, coinbase aside:
/// what it takes to disconnect the block, and to check its signatures again.
///
/// Encoding: CompactSize count; then of each `height << 1 | from_coinbase` as CompactSize, and the
/// output in Bitcoin's encoding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockUndo {
    /// One entry per input.
    pub spent: Vec<Utxo>,
}

impl Encode for BlockUndo {
    fn encode(&self, out: &mut Vec<u8>) {
        CompactSize::of(self.spent.len()).encode(out);
        for utxo in &self.spent {
            origin(utxo).encode(out);
            utxo.output.encode(out);
        }
    }

    fn encoded_len(&self) -> usize {
        let entry =
            |utxo: &Utxo| origin(utxo).encoded_len().saturating_add(utxo.output.encoded_len());
        let count = CompactSize::of(self.spent.len()).encoded_len();
        self.spent.iter().map(entry).fold(count, usize::saturating_add)
    }
}

impl Decode for BlockUndo {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        // `list` bounds the count by the bytes that follow.
        let entries = reader.list::<Entry>()?;
        Ok(Self { spent: entries.into_iter().map(|Entry(utxo)| utxo).collect() })
    }
}

struct Entry(Utxo);

impl Decode for Entry {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let origin = CompactSize::decode(reader)?.get();
        let height = u32::try_from(origin >> 1).map_err(|_| DecodeError::CountTooLarge(origin))?;
        Ok(Self(Utxo {
            output: TxOut::decode(reader)?,
            height: BlockHeight::new(height),
            from_coinbase: origin & 1 == 1,
        }))
    }
}

/// Height and kind of the transaction that created an output.
fn origin(utxo: &Utxo) -> CompactSize {
    CompactSize::new(u64::from(utxo.height.get()) << 1 | u64::from(utxo.from_coinbase))
}
