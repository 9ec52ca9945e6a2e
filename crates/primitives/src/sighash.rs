//! What a signature commits to.

use crate::encode::{CompactSize, Encode as _, encode_list};
use crate::hash::{Hash256, sha256d};
use crate::transaction::{Script, Transaction};

/// The only signature hash type that is accepted.
pub const SIGHASH_ALL: u8 = 1;

/// The hash that the signature of input `index` signs: the transaction with all scriptSigs empty,
/// but that of this input replaced by `script_code`, and the hash type behind it (Bitcoin's
/// original SIGHASH_ALL). None when there is no such input.
///
/// Hashes the whole transaction: n inputs cost n², which the limit on its size bounds.
#[must_use]
pub fn sighash_all(
    transaction: &Transaction,
    index: usize,
    script_code: &Script,
) -> Option<Hash256> {
    transaction.inputs.get(index)?;
    let empty = Script::new();
    let mut bytes = Vec::with_capacity(transaction.encoded_len());
    bytes.extend_from_slice(&transaction.version.to_le_bytes());
    CompactSize::of(transaction.inputs.len()).encode(&mut bytes);
    for (at, input) in transaction.inputs.iter().enumerate() {
        input.previous_output.encode(&mut bytes);
        let script = if at == index { script_code } else { &empty };
        script.encode(&mut bytes);
        bytes.extend_from_slice(&input.sequence.to_le_bytes());
    }
    encode_list(&transaction.outputs, &mut bytes);
    bytes.extend_from_slice(&transaction.lock_time.to_le_bytes());
    bytes.extend_from_slice(&u32::from(SIGHASH_ALL).to_le_bytes());
    Some(sha256d(&bytes))
}
