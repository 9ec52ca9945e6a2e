//! The decoders of this crate for the fuzzer (`fuzz/targets/storage.rs`). Built by it alone.

use crate::log::{Record, RecordKind};
use crate::payload::{self, contents};
use crate::rows::{BlockEntry, TxEntry, encode_utxo, utxo_from_bytes};
use crate::safety_log::format as safety;
use crate::transaction_file;

/// Decodes bytes as everything that is kept on disk.
///
/// # Panics
/// When something decodes that is not its own encoding: that is what is looked for.
pub fn decode(bytes: &[u8]) {
    for kind in
        [RecordKind::Block, RecordKind::Undo, RecordKind::CertifiedBlock, RecordKind::Certificate]
    {
        let record = Record { kind, payload: bytes.to_vec() };
        drop(contents(&record));
        drop(payload::certificate_of_block(&record));
        if let Ok((block, certificate)) = payload::certificate_from_record(&record) {
            assert_eq!(payload::certificate_to_bytes(&block, certificate), bytes);
        }
        drop(payload::undo_block(bytes));
        drop(payload::block_bytes(record));
    }
    if let Some(utxo) = utxo_from_bytes(bytes) {
        let mut again = Vec::new();
        encode_utxo(&utxo.output, utxo.height, utxo.from_coinbase, &mut again);
        assert_eq!(utxo_from_bytes(&again), Some(utxo));
    }
    if let Some(entry) = TxEntry::from_bytes(bytes) {
        assert_eq!(entry.to_bytes(), bytes);
    }
    if let Some(entry) = BlockEntry::from_bytes(bytes) {
        assert_eq!(
            BlockEntry::from_bytes(&entry.to_bytes()).map(|it| it.height),
            Some(entry.height)
        );
    }
    // Behind checksums, which no fuzzer finds.
    let mut batch = [&[0; safety::BATCH_HEADER_LEN], bytes].concat();
    let length = u32::try_from(bytes.len()).expect("a fuzzer's input is short");
    safety::seal(&mut batch, 1, 7, length);
    drop(safety::decode_batch(&batch, 7));
    let mut file = bytes.to_vec();
    file.extend_from_slice(&crc32c::crc32c(bytes).to_le_bytes());
    drop(transaction_file::decode(&file));
}
