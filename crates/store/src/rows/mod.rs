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

mod buffer;
mod key;
mod value;

use std::ops::Range;

use pentad_primitives::encode::{Encode as _, compact_size_len};
use pentad_primitives::{
    Block, BlockHash, BlockHeader, BlockHeight, OutPoint, Script, Transaction, TxOut, Txid, Utxo,
};
use thiserror::Error;

pub use buffer::{Row, Rows};
use key::script_key_len;
pub use key::{
    block_key, height_key, outpoint_of_key, outpoint_suffix, script_key, transaction_key, utxo_key,
};
pub use value::{BlockEntry, TxEntry, encode_utxo, utxo_from_bytes};

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

/// Everything that connecting `block` at `height` changes, in order; `txids` are those of its
/// transactions, `spent` the outputs that its inputs spend, in block order. Disconnecting is the
/// same rows backwards.
///
/// # Errors
/// When `spent` has not one output for each input.
///
/// # Panics
/// When `txids` has not one id for each transaction.
pub fn rows(
    block: &Block,
    txids: &[Txid],
    height: BlockHeight,
    spent: &[Utxo],
) -> Result<Rows, UndoMismatch> {
    /// Rows of a transaction of one input and two outputs: itself, two for each of the three
    /// coins, two or three scripts.
    const ROWS_OF_TRANSACTION: usize = 10;
    /// Bytes of such a row.
    const BYTES_OF_ROW: usize = 64;
    assert_eq!(txids.len(), block.transactions.len(), "every transaction has its id");
    let hash = block.block_hash();
    let inputs = block.transactions.iter().filter(|tx| !tx.is_coinbase());
    let inputs = inputs.map(|tx| tx.inputs.len()).sum::<usize>();
    if inputs != spent.len() {
        return Err(UndoMismatch { block: hash, inputs, spent: spent.len() });
    }
    let count = block.transactions.len() * ROWS_OF_TRANSACTION;
    let mut writer = RowWriter {
        height,
        rows: Rows::with_capacity(count, count * BYTES_OF_ROW),
        scripts: Vec::new(),
    };
    let value = writer.rows.value(|out| out.extend_from_slice(hash.as_bytes()));
    writer.rows.push(true, &[&height_key(height)], value);
    let mut start = BlockHeader::LEN + compact_size_len(block.transactions.len());
    let mut spent = spent.iter();
    for ((index, tx), txid) in (0_u32..).zip(&block.transactions).zip(txids) {
        let length = tx.encoded_len();
        writer.transaction(tx, txid, index, start..start + length, &mut spent);
        start += length;
    }
    Ok(writer.rows)
}

struct RowWriter<'a> {
    height: BlockHeight,
    rows: Rows,
    /// Those that the transaction at hand touches.
    scripts: Vec<&'a Script>,
}

impl<'a> RowWriter<'a> {
    fn transaction(
        &mut self,
        tx: &'a Transaction,
        txid: &Txid,
        index: u32,
        place: Range<usize>,
        spent: &mut impl Iterator<Item = &'a Utxo>,
    ) {
        let small = |length: usize| u32::try_from(length).expect("a block is smaller than 4 GiB");
        let (height, is_coinbase) = (self.height, tx.is_coinbase());
        let entry = TxEntry { height, start: small(place.start), length: small(place.len()) };
        let value = self.rows.value(|out| out.extend_from_slice(&entry.to_bytes()));
        self.rows.push(true, &[&[Table::Transaction as u8], txid.as_bytes()], value);
        self.scripts.clear();
        if !is_coinbase {
            for (input, utxo) in tx.inputs.iter().zip(spent) {
                let Utxo { output, height, from_coinbase } = utxo;
                self.unspent(false, &input.previous_output, output, *height, *from_coinbase);
            }
        }
        for (vout, output) in (0_u32..).zip(&tx.outputs) {
            if !is_data_output(output) {
                let outpoint = OutPoint { txid: *txid, vout };
                self.unspent(true, &outpoint, output, height, is_coinbase);
            }
        }
        self.history(txid, index);
    }

    /// The rows of one unspent output, by outpoint and by script; its script is noted.
    fn unspent(
        &mut self,
        is_added: bool,
        outpoint: &OutPoint,
        output: &'a TxOut,
        height: BlockHeight,
        from_coinbase: bool,
    ) {
        let value = self.rows.value(|out| encode_utxo(output, height, from_coinbase, out));
        let suffix = outpoint_suffix(outpoint);
        self.rows.push(is_added, &[&[Table::Utxo as u8], &suffix], value);
        let script = &output.script_pubkey;
        if let Some(length) = script_key_len(script) {
            let key: [&[u8]; 3] = [&[Table::ScriptUtxo as u8, length], script.as_bytes(), &suffix];
            self.rows.push(is_added, &key, value);
            self.scripts.push(script);
        }
    }

    /// A row for each script that the transaction touches.
    fn history(&mut self, txid: &Txid, index: u32) {
        self.scripts.sort_unstable();
        self.scripts.dedup();
        let value = self.rows.value(|out| out.extend_from_slice(txid.as_bytes()));
        let (height, index) = (self.height.get().to_be_bytes(), index.to_be_bytes());
        for script in &self.scripts {
            let length = script_key_len(script).expect("longer scripts were left out");
            let prefix = [Table::ScriptHistory as u8, length];
            self.rows.push(true, &[&prefix, script.as_bytes(), &height, &index], value);
        }
    }
}

fn is_data_output(output: &TxOut) -> bool {
    output.script_pubkey.as_bytes().first() == Some(&OP_RETURN)
}

#[cfg(test)]
mod tests {
    use pentad_primitives::{Amount, Script, TxIn, Txid};

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

    /// What one payment does to every table.
    #[test]
    fn rows_of_a_block_golden_bytes() {
        let script = |byte: u8| Script::from(vec![0x51, byte]);
        let output = |units, byte| TxOut {
            amount: Amount::from_units(units).expect("small"),
            script_pubkey: script(byte),
        };
        let input =
            |previous_output| TxIn { previous_output, script_sig: Script::new(), sequence: 0 };
        let transaction = |previous_output, outputs| Transaction {
            version: 1,
            inputs: vec![input(previous_output)],
            outputs,
            lock_time: 0,
        };
        let old = OutPoint { txid: Txid::from_bytes([9; 32]), vout: 3 };
        let header = chain(1).0.remove(0).block.header;
        let transactions = vec![
            transaction(OutPoint::NULL, vec![output(5, 1)]),
            transaction(old, vec![output(7, 2)]),
        ];
        let block = Block { header, transactions };
        let spent = Utxo { output: output(8, 1), height: BlockHeight::new(2), from_coinbase: true };
        let (coinbase, payment) = (block.transactions[0].txid(), block.transactions[1].txid());
        let found = rows(&block, &[coinbase, payment], BlockHeight::new(0x0102), &[spent]);
        let (coinbase, payment) = (*coinbase.as_bytes(), *payment.as_bytes());
        let added = |key: &[&[u8]], value: &[u8]| (true, key.concat(), value.to_vec());
        let removed = |key: &[&[u8]], value: &[u8]| (false, key.concat(), value.to_vec());
        let (first, second) = (b"\x02\x51\x01", b"\x02\x51\x02");
        let (height, index) = (b"\0\0\x01\x02", b"\0\0\0\x01");
        let coin = b"\x02\x01\0\0\x01\x05\0\0\0\0\0\0\0\x02\x51\x01";
        let paid = b"\x02\x01\0\0\0\x07\0\0\0\0\0\0\0\x02\x51\x02";
        let gone = b"\x02\0\0\0\x01\x08\0\0\0\0\0\0\0\x02\x51\x01";
        let expected = [
            added(&[b"n", height], block.block_hash().as_bytes()),
            // 80 bytes of header and one of count; 62 bytes of transaction each.
            added(&[b"t", &coinbase], b"\x02\x01\0\0\x51\0\0\0\x3e\0\0\0"),
            added(&[b"u", &coinbase, &[0; 4]], coin),
            added(&[b"a", first, &coinbase, &[0; 4]], coin),
            added(&[b"h", first, height, &[0; 4]], &coinbase),
            added(&[b"t", &payment], b"\x02\x01\0\0\x8f\0\0\0\x3e\0\0\0"),
            removed(&[b"u", &[9; 32], b"\0\0\0\x03"], gone),
            removed(&[b"a", first, &[9; 32], b"\0\0\0\x03"], gone),
            added(&[b"u", &payment, &[0; 4]], paid),
            added(&[b"a", second, &payment, &[0; 4]], paid),
            added(&[b"h", first, height, index], &payment),
            added(&[b"h", second, height, index], &payment),
        ];
        let found = found.expect("its own undo data");
        let found = found.iter().map(|row| match row {
            Row::Added(key, value) => (true, key.to_vec(), value.to_vec()),
            Row::Removed(key, value) => (false, key.to_vec(), value.to_vec()),
        });
        assert_eq!(found.collect::<Vec<_>>(), expected);
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
            certificate: None,
            undo: Some(position(0x99)),
            is_invalid: false,
        };
        let bytes = entry.to_bytes();
        assert_eq!(bytes.len(), 80 + 4 + 32 + 8 + 8 + 1);
        assert_eq!(bytes[..80], sampled.block.header.to_bytes());
        assert_eq!(bytes[80..84], [1, 0, 0, 0]);
        assert_eq!(bytes[116..], *b"\0\0\0\x01\0\0\0\x1c\0\0\0\x01\0\0\0\x99\0");
        assert_eq!(BlockEntry::from_bytes(&bytes), Some(entry.clone()));
        for (certificate_len, certificate, end) in [
            (0x0102, None, &b"\x02\x01\0\0"[..]),
            (0, Some(position(0xcc)), b"\0\0\0\x01\0\0\0\xcc"),
            (0x0102, Some(position(0xcc)), b"\x02\x01\0\0\0\0\0\x01\0\0\0\xcc"),
        ] {
            let certified = BlockEntry { certificate_len, certificate, ..entry.clone() };
            assert!(certified.has_certificate() && !entry.has_certificate());
            assert_eq!(certified.to_bytes(), [&bytes[..], end].concat());
            assert_eq!(BlockEntry::from_bytes(&certified.to_bytes()), Some(certified));
        }
        let unconnected = BlockEntry { undo: None, ..entry };
        assert_eq!(BlockEntry::from_bytes(&unconnected.to_bytes()), Some(unconnected));
        assert_eq!(BlockEntry::from_bytes(&bytes[..bytes.len() - 1]), None);
        for more in [1, 3, 5, 7, 9, 11, 13, 16, 20] {
            assert_eq!(BlockEntry::from_bytes(&[&bytes[..], &vec![2; more]].concat()), None);
        }
    }
}
