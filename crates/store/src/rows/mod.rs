//! Keys and values of the index, and what a block changes in it: pure functions.
//!
//! | table | key behind the table's byte | value |
//! |---|---|---|
//! | `b` blocks | block hash | [`BlockEntry`]: header, height, work, places in the log |
//! | `n` main chain | height | block hash |
//! | `t` transactions | txid | [`TxEntry`]: height, place in the block |
//! | `u` UTXOs | txid, vout | [`Utxo`] |
//! | `a` UTXOs by script | script, txid, vout | [`Utxo`] |
//! | `h` history by script | script, height, index in the block | txid |
//! | `s` state | a name | see `index` |
//!
//! Numbers in keys are big-endian, so that keys order like what they stand for; a script is
//! preceded by its length in one byte. Values are little-endian, as Bitcoin writes them.

mod key;
mod value;

use std::collections::BTreeSet;

use pentad_primitives::encode::{Encode as _, compact_size_len};
use pentad_primitives::{
    Block, BlockHash, BlockHeader, BlockHeight, OutPoint, Transaction, TxOut, Utxo,
};
use thiserror::Error;

use crate::engine::Pair;

pub use key::{
    block_key, height_key, outpoint_of_key, outpoint_suffix, script_key, transaction_key, utxo_key,
};
pub use value::{BlockEntry, TxEntry, utxo_from_bytes, utxo_to_bytes};

/// The tables, by the first byte of their keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Table {
    /// Every stored block.
    Block = b'b',
    /// The main chain.
    Height = b'n',
    /// Transactions of the main chain.
    Transaction = b't',
    /// Unspent outputs.
    Utxo = b'u',
    /// Unspent outputs by script.
    ScriptUtxo = b'a',
    /// Transactions that touch a script.
    ScriptHistory = b'h',
    /// The index's own notes.
    State = b's',
}

/// First byte of a data output's script (OP_RETURN): never unspent, never spent.
const OP_RETURN: u8 = 0x6a;

/// A change of the index: the row comes into being when a block is connected and goes when it
/// is disconnected, or the other way round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// Present after the block only.
    Added(Pair),
    /// Present before the block only.
    Removed(Pair),
}

/// Undo data that does not belong to its block.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("block {block} spends {inputs} outputs, its undo data holds {spent}")]
pub struct UndoMismatch {
    /// The block.
    pub block: BlockHash,
    /// Inputs it has, the coinbase's apart.
    pub inputs: usize,
    /// Outputs in the undo data.
    pub spent: usize,
}

/// A value that does not decode: the index is damaged.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("malformed value in table '{}' of the index", char::from(*.0 as u8))]
pub struct MalformedRow(pub Table);

/// Everything that connecting `block` at `height` changes, in order; `spent` are the outputs
/// that its inputs spend, in block order. Disconnecting is the same rows backwards.
///
/// # Errors
/// When `spent` has not one output for each input.
pub fn rows(block: &Block, height: BlockHeight, spent: &[Utxo]) -> Result<Vec<Row>, UndoMismatch> {
    let hash = block.block_hash();
    let inputs = block.transactions.iter().filter(|tx| !tx.is_coinbase());
    let inputs = inputs.map(|tx| tx.inputs.len()).sum::<usize>();
    if inputs != spent.len() {
        return Err(UndoMismatch { block: hash, inputs, spent: spent.len() });
    }
    let mut rows = vec![Row::Added((height_key(height), hash.as_bytes().to_vec()))];
    let mut start = BlockHeader::LEN + compact_size_len(block.transactions.len());
    let mut spent = spent.iter();
    for (index, tx) in (0_u32..).zip(&block.transactions) {
        let length = tx.encoded_len();
        transaction_rows(tx, height, index, start, length, &mut spent, &mut rows);
        start += length;
    }
    Ok(rows)
}

fn transaction_rows<'a>(
    tx: &'a Transaction,
    height: BlockHeight,
    index: u32,
    start: usize,
    length: usize,
    spent: &mut impl Iterator<Item = &'a Utxo>,
    rows: &mut Vec<Row>,
) {
    let txid = tx.txid();
    let is_coinbase = tx.is_coinbase();
    let mut scripts = BTreeSet::new();
    let small = |length: usize| u32::try_from(length).expect("a block is smaller than 4 GiB");
    let entry = TxEntry { height, start: small(start), length: small(length) };
    rows.push(Row::Added((transaction_key(&txid), entry.to_bytes())));
    if !is_coinbase {
        for (input, utxo) in tx.inputs.iter().zip(spent) {
            scripts.insert(&utxo.output.script_pubkey);
            rows.extend(utxo_pairs(&input.previous_output, utxo).map(Row::Removed));
        }
    }
    for (vout, output) in (0_u32..).zip(&tx.outputs) {
        if is_data_output(output) {
            continue;
        }
        scripts.insert(&output.script_pubkey);
        let utxo = Utxo { output: output.clone(), height, from_coinbase: is_coinbase };
        rows.extend(utxo_pairs(&OutPoint { txid, vout }, &utxo).map(Row::Added));
    }
    for script in scripts {
        if let Some(mut key) = script_key(Table::ScriptHistory, script) {
            key.extend_from_slice(&height.get().to_be_bytes());
            key.extend_from_slice(&index.to_be_bytes());
            rows.push(Row::Added((key, txid.as_bytes().to_vec())));
        }
    }
}

/// The rows of one unspent output: by outpoint and by script.
fn utxo_pairs(outpoint: &OutPoint, utxo: &Utxo) -> impl Iterator<Item = Pair> {
    let value = utxo_to_bytes(utxo);
    let by_script = script_key(Table::ScriptUtxo, &utxo.output.script_pubkey).map(|mut key| {
        key.extend_from_slice(&outpoint_suffix(outpoint));
        (key, value.clone())
    });
    [Some((utxo_key(outpoint), value)), by_script].into_iter().flatten()
}

fn is_data_output(output: &TxOut) -> bool {
    output.script_pubkey.as_bytes().first() == Some(&OP_RETURN)
}

#[cfg(test)]
mod tests {
    use pentad_primitives::{Script, Txid};

    use super::*;
    use crate::log::LogPosition;
    use crate::tests::sample::chain;

    #[test]
    fn golden_bytes() {
        let outpoint = OutPoint { txid: Txid::from_bytes([7; 32]), vout: 0x0102 };
        let script = Script::from(vec![0x51, 0x52]);
        assert_eq!(utxo_key(&outpoint), [b"u", &[7; 32][..], &[0, 0, 1, 2]].concat());
        assert_eq!(script_key(Table::ScriptUtxo, &script), Some(b"a\x02\x51\x52".to_vec()));
        assert_eq!(script_key(Table::ScriptUtxo, &Script::from(vec![0; 256])), None);
        assert_eq!(height_key(BlockHeight::new(0x0102)), b"n\0\0\x01\x02");
        assert_eq!(outpoint_of_key(&utxo_key(&outpoint)), Some(outpoint));
        let height = BlockHeight::new(3);
        let entry = TxEntry { height, start: 81, length: 60 };
        assert_eq!(entry.to_bytes(), b"\x03\0\0\0\x51\0\0\0\x3c\0\0\0");
        assert_eq!(TxEntry::from_bytes(&entry.to_bytes()), Some(entry));
    }

    #[test]
    fn block_entry_golden_bytes() {
        let sampled = chain(2).0.remove(1);
        let position = |offset| LogPosition { segment: 1, offset };
        let entry = BlockEntry {
            header: sampled.block.header,
            height: sampled.height,
            chain_work: sampled.work,
            body: position(0x1c),
            certificate_len: 0,
            undo: Some(position(0x99)),
            is_invalid: false,
        };
        let bytes = entry.to_bytes();
        assert_eq!(bytes.len(), 80 + 4 + 32 + 8 + 8 + 1);
        assert_eq!(bytes[..80], sampled.block.header.to_bytes());
        assert_eq!(bytes[80..84], [1, 0, 0, 0]);
        assert_eq!(bytes[116..], *b"\0\0\0\x01\0\0\0\x1c\0\0\0\x01\0\0\0\x99\0");
        assert_eq!(BlockEntry::from_bytes(&bytes), Some(entry.clone()));
        let certified = BlockEntry { certificate_len: 0x0102, ..entry.clone() };
        assert_eq!(certified.to_bytes(), [&bytes[..], b"\x02\x01\0\0"].concat());
        assert_eq!(BlockEntry::from_bytes(&certified.to_bytes()), Some(certified));
        let unconnected = BlockEntry { undo: None, ..entry };
        assert_eq!(BlockEntry::from_bytes(&unconnected.to_bytes()), Some(unconnected));
        assert_eq!(BlockEntry::from_bytes(&bytes[..bytes.len() - 1]), None);
        assert_eq!(BlockEntry::from_bytes(&[&bytes[..], b"\x02"].concat()), None);
    }
}
