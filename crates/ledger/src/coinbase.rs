//! The coinbase transaction: what its scriptSig carries, and when its outputs may be spent.
//!
//! scriptSig = BIP34 height push, padded with OP_0 to two bytes | push of the first 8 bytes of the
//! genesis hash (in genesis itself: of the spec hash) | anything, to 100 bytes in all. So no
//! coinbase repeats between blocks (BIP30) or networks.

use pentad_primitives::{BlockHeight, OutPoint, Script, Transaction, TxIn, TxOut, Utxo};

/// Version that block templates carry (BIP9's base).
pub const BLOCK_VERSION: i32 = 0x2000_0000;
/// Bytes of a coinbase scriptSig at least (Bitcoin's rule).
pub const SCRIPT_SIG_LEN_MIN: usize = 2;
/// Bytes of a coinbase scriptSig at most (Bitcoin's rule).
pub const SCRIPT_SIG_LEN_MAX: usize = 100;
/// Bytes of the genesis hash (or spec hash) that a coinbase repeats.
pub const TAG_LEN: usize = 8;

const OP_0: u8 = 0x00;
/// OP_1 … OP_16 are this plus the number.
const OP_1_BASE: u8 = 0x50;
/// Above this number, a height is pushed as bytes.
const SMALL_NUMBER_MAX: u32 = 16;

/// What a coinbase scriptSig commits to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commitment {
    /// Height of its block (BIP34).
    pub height: BlockHeight,
    /// First bytes of the genesis hash of its network.
    pub tag: [u8; TAG_LEN],
}

/// The first bytes of a hash, in internal order.
#[must_use]
pub fn tag(hash: &[u8; 32]) -> [u8; TAG_LEN] {
    let mut tag = [0; TAG_LEN];
    for (to, from) in tag.iter_mut().zip(hash) {
        *to = *from;
    }
    tag
}

/// Builds a coinbase scriptSig. `extra` (an extra nonce) may have up to 85 bytes.
#[must_use]
pub fn script_sig(height: BlockHeight, tag: &[u8; TAG_LEN], extra: &[u8]) -> Script {
    let mut bytes = height_push(height);
    bytes.push(8);
    bytes.extend_from_slice(tag);
    bytes.extend_from_slice(extra);
    Script::from(bytes)
}

/// Reads what a coinbase scriptSig commits to; `None` if it has another form.
#[must_use]
pub fn commitment(script_sig: &Script) -> Option<Commitment> {
    let bytes = script_sig.as_bytes();
    let (&first, rest) = bytes.split_first()?;
    let (height, rest) = match first {
        OP_0 => (0, rest.strip_prefix(&[OP_0])?),
        0x51..=0x60 => (u32::from(first.checked_sub(OP_1_BASE)?), rest.strip_prefix(&[OP_0])?),
        1..=5 => {
            let (number, rest) = rest.split_at_checked(usize::from(first))?;
            (u32::try_from(read_number(number)).ok()?, rest)
        }
        _ => return None,
    };
    let height = BlockHeight::new(height);
    // Reading is lenient above; this makes the push exact (minimal).
    let rest_len = rest.len();
    let push_len = bytes.len().checked_sub(rest_len)?;
    if bytes.get(..push_len)? != height_push(height) {
        return None;
    }
    let tag = rest.strip_prefix(&[8])?.first_chunk::<TAG_LEN>()?;
    Some(Commitment { height, tag: *tag })
}

/// Builds a coinbase.
#[must_use]
pub fn transaction(script_sig: Script, outputs: Vec<TxOut>) -> Transaction {
    let input = TxIn { previous_output: OutPoint::NULL, script_sig, sequence: u32::MAX };
    Transaction { version: 1, inputs: vec![input], outputs, lock_time: 0 }
}

/// May this output be spent in a block of `height`? Only coinbases other than genesis must wait
/// until they are `maturity` blocks deep.
#[must_use]
pub fn is_mature(utxo: &Utxo, height: BlockHeight, maturity: u32) -> bool {
    let depth = height.get().saturating_sub(utxo.height.get());
    !utxo.from_coinbase || utxo.height == BlockHeight::GENESIS || depth >= maturity
}

/// BIP34: the height as a minimal script number, padded to two bytes.
fn height_push(height: BlockHeight) -> Vec<u8> {
    let number = height.get();
    if number <= SMALL_NUMBER_MAX {
        let opcode = match u8::try_from(number) {
            Ok(small) if small > 0 => OP_1_BASE.saturating_add(small),
            _ => OP_0,
        };
        return vec![opcode, OP_0];
    }
    let mut bytes = number.to_le_bytes().to_vec();
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    // The top bit is the sign.
    if bytes.last().is_some_and(|top| top & 0x80 != 0) {
        bytes.push(0);
    }
    let mut push = vec![u8::try_from(bytes.len()).unwrap_or(u8::MAX)];
    push.append(&mut bytes);
    push
}

/// A little-endian number of at most 5 bytes.
fn read_number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| (number << 8) | u64::from(*byte))
}
