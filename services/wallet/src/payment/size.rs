//! Sizes in Bitcoin's legacy serialization, known before anything is signed.

/// Version and lock time.
const FRAME_BYTES: u64 = 4 + 4;
/// Outpoint, script length, sequence, and a scriptSig of a longest low-S signature (72 bytes with
/// its hash type) and a compressed key, each pushed. Shorter signatures only raise the fee rate.
pub(crate) const INPUT_BYTES: u64 = 36 + 1 + 4 + (1 + 72) + (1 + 33);
/// Bytes of an input that spends P2SH of m-of-n: a dummy, signatures and the redeem script, pushed.
pub(crate) const fn multisig_input_bytes(required: u64, keys: usize) -> u64 {
    let redeem_script = 3 + 34 * keys as u64;
    let push = if redeem_script <= 75 {
        1
    } else if redeem_script <= 255 {
        2
    } else {
        3
    };
    let script_sig = 1 + (1 + 72) * required + push + redeem_script;
    36 + 4 + if script_sig < 253 { 1 } else { 3 } + script_sig
}

/// Amount and script length.
const OUTPUT_FRAME_BYTES: u64 = 8 + 1;
/// A pay-to-public-key-hash script.
const P2PKH_BYTES: u64 = 25;

/// Bytes of a pay-to-public-key-hash output, which is what change is.
pub(super) const CHANGE_BYTES: u64 = OUTPUT_FRAME_BYTES + P2PKH_BYTES;

/// Bytes of an output with a script of this length (below 253 bytes, as all templates are).
pub(super) const fn output_bytes(script_bytes: usize) -> u64 {
    OUTPUT_FRAME_BYTES + script_bytes as u64
}

/// Most bytes that a transaction can have.
pub(super) const fn transaction_bytes(inputs: usize, outputs: usize, output_bytes: u64) -> u64 {
    FRAME_BYTES
        + compact_size_bytes(inputs)
        + INPUT_BYTES * inputs as u64
        + compact_size_bytes(outputs)
        + output_bytes
}

const fn compact_size_bytes(count: usize) -> u64 {
    match count {
        0..=0xfc => 1,
        0xfd..=0xffff => 3,
        _ => 5,
    }
}

/// Units for so many bytes at a rate of units per 1000 bytes, rounded up.
pub(super) const fn fee(bytes: u64, rate: u64) -> u64 {
    bytes.saturating_mul(rate).div_ceil(1000)
}
