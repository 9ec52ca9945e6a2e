use pentad_primitives::{BlockHash, BlockHeight, OutPoint, Script, Txid};

use super::Table;

/// Key of a stored block.
#[must_use]
pub fn block_key(hash: &BlockHash) -> Vec<u8> {
    keyed(Table::Block, hash.as_bytes())
}

/// Key of the main chain's block at a height.
#[must_use]
pub fn height_key(height: BlockHeight) -> Vec<u8> {
    keyed(Table::Height, &height.get().to_be_bytes())
}

/// Key of a transaction.
#[must_use]
pub fn transaction_key(txid: &Txid) -> Vec<u8> {
    keyed(Table::Transaction, txid.as_bytes())
}

/// Key of an unspent output.
#[must_use]
pub fn utxo_key(outpoint: &OutPoint) -> Vec<u8> {
    keyed(Table::Utxo, &outpoint_suffix(outpoint))
}

/// What the keys of a script's rows begin with; `None` for a script longer than any that the
/// rules admit, which has no rows.
#[must_use]
pub fn script_key(table: Table, script: &Script) -> Option<Vec<u8>> {
    let mut key = vec![table as u8, script_key_len(script)?];
    key.extend_from_slice(script.as_bytes());
    Some(key)
}

/// The length of a script that has rows, as it stands before it in keys.
pub fn script_key_len(script: &Script) -> Option<u8> {
    u8::try_from(script.len()).ok()
}

/// What ends the key of an output.
#[must_use]
pub fn outpoint_suffix(outpoint: &OutPoint) -> [u8; 36] {
    let mut suffix = [0; 36];
    suffix[..32].copy_from_slice(outpoint.txid.as_bytes());
    suffix[32..].copy_from_slice(&outpoint.vout.to_be_bytes());
    suffix
}

/// The outpoint at the end of a key.
#[must_use]
pub fn outpoint_of_key(key: &[u8]) -> Option<OutPoint> {
    let suffix = key.last_chunk::<36>()?;
    let (txid, vout) = suffix.split_first_chunk::<32>()?;
    let vout = u32::from_be_bytes(vout.try_into().ok()?);
    Some(OutPoint { txid: Txid::from_bytes(*txid), vout })
}

fn keyed(table: Table, rest: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + rest.len());
    key.push(table as u8);
    key.extend_from_slice(rest);
    key
}
