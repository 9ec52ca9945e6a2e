//! What a signature commits to.

use crate::encode::Encode as _;
use crate::hash::{Hash256, sha256d};
use crate::transaction::{Script, Transaction};

/// The only signature hash type that is accepted.
pub const SIGHASH_ALL: u8 = 1;

/// The hash that the signature of input `index` signs: the transaction with all scriptSigs empty,
/// but that of this input replaced by `script_code`, and the hash type behind it (Bitcoin's
/// original SIGHASH_ALL). None when there is no such input.
#[must_use]
pub fn sighash_all(
    transaction: &Transaction,
    index: usize,
    script_code: &Script,
) -> Option<Hash256> {
    let mut signed = transaction.clone();
    for input in &mut signed.inputs {
        input.script_sig = Script::new();
    }
    signed.inputs.get_mut(index)?.script_sig = script_code.clone();
    let mut bytes = signed.to_bytes();
    bytes.extend_from_slice(&u32::from(SIGHASH_ALL).to_le_bytes());
    Some(sha256d(&bytes))
}
