use pentad_crypto::Signature;
use pentad_primitives::encode::{CompactSize, Encode as _};
use pentad_primitives::sighash::SIGHASH_ALL;

use crate::{Derivations, Input, MAGIC, Output, Psbt, Unknown};

/// Types of fields.
pub(crate) mod field {
    pub const GLOBAL_TRANSACTION: u64 = 0x00;
    pub const GLOBAL_XPUB: u64 = 0x01;
    pub const GLOBAL_VERSION: u64 = 0xfb;

    pub const IN_PREVIOUS: u64 = 0x00;
    pub const IN_WITNESS_UTXO: u64 = 0x01;
    pub const IN_SIGNATURE: u64 = 0x02;
    pub const IN_SIGHASH: u64 = 0x03;
    pub const IN_REDEEM_SCRIPT: u64 = 0x04;
    pub const IN_WITNESS_SCRIPT: u64 = 0x05;
    pub const IN_DERIVATION: u64 = 0x06;
    pub const IN_FINAL_SCRIPT_SIG: u64 = 0x07;
    pub const IN_FINAL_WITNESS: u64 = 0x08;
    pub const IN_TAPROOT: std::ops::RangeInclusive<u64> = 0x13..=0x18;

    pub const OUT_REDEEM_SCRIPT: u64 = 0x00;
    pub const OUT_WITNESS_SCRIPT: u64 = 0x01;
    pub const OUT_DERIVATION: u64 = 0x02;
    pub const OUT_TAPROOT: std::ops::RangeInclusive<u64> = 0x05..=0x07;
}

impl Psbt {
    /// In BIP174's encoding.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        put(&mut out, field::GLOBAL_TRANSACTION, &[], &self.transaction.to_bytes());
        put_unknown(&mut out, &self.unknown);
        out.push(0);
        for input in &self.inputs {
            input.encode(&mut out);
            out.push(0);
        }
        for output in &self.outputs {
            output.encode(&mut out);
            out.push(0);
        }
        out
    }
}

impl Input {
    fn encode(&self, out: &mut Vec<u8>) {
        if let Some(previous) = &self.previous {
            put(out, field::IN_PREVIOUS, &[], &previous.to_bytes());
        }
        for (key, signature) in &self.signatures {
            put(out, field::IN_SIGNATURE, key, &signature_bytes(signature));
        }
        if self.has_sighash {
            put(out, field::IN_SIGHASH, &[], &u32::from(SIGHASH_ALL).to_le_bytes());
        }
        if let Some(script) = &self.redeem_script {
            put(out, field::IN_REDEEM_SCRIPT, &[], script.as_bytes());
        }
        put_derivations(out, field::IN_DERIVATION, &self.derivations);
        if let Some(script) = &self.final_script_sig {
            put(out, field::IN_FINAL_SCRIPT_SIG, &[], script.as_bytes());
        }
        put_unknown(out, &self.unknown);
    }
}

impl Output {
    fn encode(&self, out: &mut Vec<u8>) {
        if let Some(script) = &self.redeem_script {
            put(out, field::OUT_REDEEM_SCRIPT, &[], script.as_bytes());
        }
        put_derivations(out, field::OUT_DERIVATION, &self.derivations);
        put_unknown(out, &self.unknown);
    }
}

fn signature_bytes(signature: &Signature) -> Vec<u8> {
    let mut bytes = signature.to_der();
    bytes.push(SIGHASH_ALL);
    bytes
}

fn put_derivations(out: &mut Vec<u8>, field: u64, derivations: &Derivations) {
    for (key, derivation) in derivations {
        let mut value = derivation.fingerprint.to_vec();
        derivation.path.iter().for_each(|number| value.extend_from_slice(&number.to_le_bytes()));
        put(out, field, key, &value);
    }
}

fn put_unknown(out: &mut Vec<u8>, unknown: &Unknown) {
    for (key, value) in unknown {
        put_bytes(out, key);
        put_bytes(out, value);
    }
}

fn put(out: &mut Vec<u8>, field: u64, key: &[u8], value: &[u8]) {
    let mut whole = CompactSize::new(field).to_bytes();
    whole.extend_from_slice(key);
    put_bytes(out, &whole);
    put_bytes(out, value);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    CompactSize::of(bytes.len()).encode(out);
    out.extend_from_slice(bytes);
}
