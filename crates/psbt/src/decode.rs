use std::collections::BTreeMap;

use pentad_crypto::script::parse_signature;
use pentad_crypto::{PublicKey, ScriptSigError};
use pentad_primitives::encode::{CompactSize, Decode as _, DecodeError, Reader};
use pentad_primitives::sighash::SIGHASH_ALL;
use pentad_primitives::{Script, Transaction};

use crate::encode::field;
use crate::{Derivation, Input, MAGIC, Output, Psbt, PsbtError};

/// Longest that is looked at: an input brings the whole transaction that it spends.
pub const PSBT_BYTES_MAX: usize = 8 << 20;

/// A field: its type, the rest of its key, its value.
struct Field<'a> {
    kind: u64,
    key: &'a [u8],
    value: &'a [u8],
    /// Type and rest, as they came.
    whole: &'a [u8],
}

impl Psbt {
    /// From BIP174's encoding.
    ///
    /// # Errors
    /// When the bytes are not exactly one partially signed transaction, or it has fields of
    /// scripts that Pentad does not know.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PsbtError> {
        if bytes.len() > PSBT_BYTES_MAX {
            return Err(PsbtError::TooLong);
        }
        let mut reader = Reader::new(bytes.strip_prefix(&MAGIC).ok_or(PsbtError::Magic)?);
        let mut psbt = decode_global(&mut reader)?;
        for _ in &psbt.transaction.inputs {
            psbt.inputs.push(Input::decode(&mut reader)?);
        }
        for _ in &psbt.transaction.outputs {
            psbt.outputs.push(Output::decode(&mut reader)?);
        }
        match reader.remaining() {
            0 => Ok(psbt),
            left => Err(DecodeError::TrailingBytes(left).into()),
        }
    }
}

fn decode_global(reader: &mut Reader<'_>) -> Result<Psbt, PsbtError> {
    let (mut transaction, mut unknown) = (None, BTreeMap::new());
    for field in fields(reader)? {
        match field.kind {
            field::GLOBAL_TRANSACTION => transaction = Some(field.transaction()?),
            field::GLOBAL_VERSION => {
                let version: [u8; 4] = field.sole()?.try_into().map_err(|_| field.malformed())?;
                if u32::from_le_bytes(version) != 0 {
                    return Err(PsbtError::Unsupported("a version other than 0 (BIP370)"));
                }
            }
            field::GLOBAL_XPUB if field.key.len() != XPUB_BYTES => return Err(field.malformed()),
            _ => field.keep(&mut unknown),
        }
    }
    let transaction: Transaction = transaction.ok_or(PsbtError::NoTransaction)?;
    if transaction.inputs.iter().any(|input| !input.script_sig.is_empty()) {
        return Err(PsbtError::Signed);
    }
    Ok(Psbt { transaction, unknown, inputs: Vec::new(), outputs: Vec::new() })
}

/// An extended public key in BIP32's bytes.
const XPUB_BYTES: usize = 78;

impl Input {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, PsbtError> {
        let mut input = Self::default();
        for field in fields(reader)? {
            match field.kind {
                field::IN_PREVIOUS => input.previous = Some(field.transaction()?),
                field::IN_SIGNATURE => {
                    let key = field.public_key()?;
                    let signature = parse_signature(field.value).map_err(|error| match error {
                        ScriptSigError::HashType(_) => {
                            PsbtError::Unsupported("a hash type other than SIGHASH_ALL")
                        }
                        other => PsbtError::Signature(other),
                    })?;
                    input.signatures.insert(key, signature);
                }
                field::IN_SIGHASH => {
                    let kind: [u8; 4] = field.sole()?.try_into().map_err(|_| field.malformed())?;
                    if u32::from_le_bytes(kind) != u32::from(SIGHASH_ALL) {
                        return Err(PsbtError::Unsupported("a hash type other than SIGHASH_ALL"));
                    }
                    input.has_sighash = true;
                }
                field::IN_REDEEM_SCRIPT => input.redeem_script = Some(field.script()?),
                field::IN_DERIVATION => {
                    input.derivations.insert(field.public_key()?, field.derivation()?);
                }
                field::IN_FINAL_SCRIPT_SIG => input.final_script_sig = Some(field.script()?),
                field::IN_WITNESS_UTXO | field::IN_WITNESS_SCRIPT | field::IN_FINAL_WITNESS => {
                    return Err(field.sole().map_or_else(
                        |malformed| malformed,
                        |_| PsbtError::Unsupported("a witness (BIP141)"),
                    ));
                }
                kind if field::IN_TAPROOT.contains(&kind) => {
                    return Err(PsbtError::Unsupported("taproot (BIP371)"));
                }
                _ => field.keep(&mut input.unknown),
            }
        }
        Ok(input)
    }
}

impl Output {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, PsbtError> {
        let mut output = Self::default();
        for field in fields(reader)? {
            match field.kind {
                field::OUT_REDEEM_SCRIPT => output.redeem_script = Some(field.script()?),
                field::OUT_WITNESS_SCRIPT => {
                    return Err(field.sole().map_or_else(
                        |malformed| malformed,
                        |_| PsbtError::Unsupported("a witness (BIP141)"),
                    ));
                }
                field::OUT_DERIVATION => {
                    output.derivations.insert(field.public_key()?, field.derivation()?);
                }
                kind if field::OUT_TAPROOT.contains(&kind) => {
                    return Err(PsbtError::Unsupported("taproot (BIP371)"));
                }
                _ => field.keep(&mut output.unknown),
            }
        }
        Ok(output)
    }
}

/// The fields of one map, up to its end.
fn fields<'a>(reader: &mut Reader<'a>) -> Result<Vec<Field<'a>>, PsbtError> {
    let mut fields = BTreeMap::new();
    loop {
        let whole = take(reader)?;
        if whole.is_empty() {
            return Ok(fields.into_values().collect());
        }
        let mut key = Reader::new(whole);
        let kind = CompactSize::decode(&mut key)?.get();
        let key = key.take(key.remaining())?;
        let field = Field { kind, key, value: take(reader)?, whole };
        if fields.insert(whole, field).is_some() {
            return Err(PsbtError::Twice(kind));
        }
    }
}

fn take<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
    let length = CompactSize::decode(reader)?.get();
    reader.take(usize::try_from(length).map_err(|_| DecodeError::CountTooLarge(length))?)
}

impl<'a> Field<'a> {
    const fn malformed(&self) -> PsbtError {
        PsbtError::Field(self.kind)
    }

    /// The value of a field whose type is its whole key.
    fn sole(&self) -> Result<&'a [u8], PsbtError> {
        if self.key.is_empty() { Ok(self.value) } else { Err(self.malformed()) }
    }

    fn script(&self) -> Result<Script, PsbtError> {
        Ok(self.sole()?.to_vec().into())
    }

    fn transaction(&self) -> Result<Transaction, PsbtError> {
        let bytes = self.sole()?;
        // A count of no inputs, where BIP144 has its marker and then a flag.
        if matches!(bytes, [_, _, _, _, 0x00, 0x01, ..]) {
            return Err(PsbtError::Unsupported("a transaction with witnesses (BIP144)"));
        }
        Ok(Transaction::from_bytes(bytes)?)
    }

    fn public_key(&self) -> Result<[u8; PublicKey::LEN], PsbtError> {
        let bad = |problem| PsbtError::Key { field: self.kind, problem };
        Ok(PublicKey::from_bytes(self.key).map_err(bad)?.to_bytes())
    }

    fn derivation(&self) -> Result<Derivation, PsbtError> {
        let (fingerprint, rest) = self.value.split_first_chunk().ok_or(self.malformed())?;
        let (numbers, rest) = rest.as_chunks();
        if !rest.is_empty() {
            return Err(self.malformed());
        }
        let path = numbers.iter().map(|number| u32::from_le_bytes(*number)).collect();
        Ok(Derivation { fingerprint: *fingerprint, path })
    }

    fn keep(&self, unknown: &mut BTreeMap<Vec<u8>, Vec<u8>>) {
        unknown.insert(self.whole.to_vec(), self.value.to_vec());
    }
}
