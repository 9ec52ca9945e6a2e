//! The script templates. Pentad has no interpreter: a script is one of these or invalid, and a
//! scriptSig is exactly its template's minimal pushes, so that nobody but the owner can change a
//! txid.

use pentad_primitives::Script;
use pentad_primitives::sighash::SIGHASH_ALL;
use thiserror::Error;

use crate::hash::{KeyHash, ScriptHash, hash160};
use crate::keys::{KeyError, PublicKey, Signature, SignatureError};

/// Most bytes that a data output carries.
pub const DATA_LEN_MAX: usize = 80;
/// Most keys of a multisig script: 15 compressed keys are the most that fit a push of 520 bytes.
pub const MULTISIG_KEYS_MAX: usize = 15;

const OP_0: u8 = 0x00;
const OP_PUSHDATA1: u8 = 0x4c;
const OP_PUSHDATA2: u8 = 0x4d;
const OP_1: u8 = 0x51;
const OP_RETURN: u8 = 0x6a;
const OP_DUP: u8 = 0x76;
const OP_EQUAL: u8 = 0x87;
const OP_EQUALVERIFY: u8 = 0x88;
const OP_HASH160: u8 = 0xa9;
const OP_CHECKSIG: u8 = 0xac;
const OP_CHECKMULTISIG: u8 = 0xae;
/// Longest push by its length alone.
const DIRECT_PUSH_MAX: usize = 0x4b;

/// What an output's script says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScriptTemplate<'a> {
    /// Pays the holder of a key.
    P2pkh(KeyHash),
    /// Pays those whom a redeem script names.
    P2sh(ScriptHash),
    /// Carries data, pays nobody and is never in the UTXO set.
    Data(&'a [u8]),
}

/// Why a scriptSig is not its template's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ScriptSigError {
    /// Not the pushes that the template asks for, each in its shortest form.
    #[error("not exactly the minimal pushes of its template")]
    Pushes,
    /// Another hash type than SIGHASH_ALL.
    #[error("signature hash type {0:#04x}, only SIGHASH_ALL is accepted")]
    HashType(u8),
    /// A signature that is not one.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// A key that is not one.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// The template of an output's script; none: the script is invalid.
#[must_use]
pub fn classify(script: &Script) -> Option<ScriptTemplate<'_>> {
    match script.as_bytes() {
        [OP_DUP, OP_HASH160, 20, hash @ .., OP_EQUALVERIFY, OP_CHECKSIG] => {
            hash.try_into().ok().map(|hash| ScriptTemplate::P2pkh(KeyHash::from_bytes(hash)))
        }
        [OP_HASH160, 20, hash @ .., OP_EQUAL] => {
            hash.try_into().ok().map(|hash| ScriptTemplate::P2sh(ScriptHash::from_bytes(hash)))
        }
        [OP_RETURN, rest @ ..] => {
            let mut rest = rest;
            let data = take_push(&mut rest)?;
            (rest.is_empty() && data.len() <= DATA_LEN_MAX).then_some(ScriptTemplate::Data(data))
        }
        _ => None,
    }
}

/// Pays the holder of a key.
#[must_use]
pub fn p2pkh_script(hash: &KeyHash) -> Script {
    let mut bytes = vec![OP_DUP, OP_HASH160];
    push(hash.as_bytes(), &mut bytes);
    bytes.extend([OP_EQUALVERIFY, OP_CHECKSIG]);
    bytes.into()
}

/// Pays those whom a redeem script names.
#[must_use]
pub fn p2sh_script(hash: &ScriptHash) -> Script {
    let mut bytes = vec![OP_HASH160];
    push(hash.as_bytes(), &mut bytes);
    bytes.push(OP_EQUAL);
    bytes.into()
}

/// Carries data; none above [`DATA_LEN_MAX`] bytes.
#[must_use]
pub fn data_script(data: &[u8]) -> Option<Script> {
    if data.len() > DATA_LEN_MAX {
        return None;
    }
    let mut bytes = vec![OP_RETURN];
    push(data, &mut bytes);
    Some(bytes.into())
}

/// Unlocks a P2PKH output.
#[must_use]
pub fn p2pkh_script_sig(signature: &Signature, key: &PublicKey) -> Script {
    let mut bytes = Vec::new();
    push_signature(signature, &mut bytes);
    push(&key.to_bytes(), &mut bytes);
    bytes.into()
}

/// The signature and the key of a P2PKH scriptSig.
///
/// # Errors
/// When it is not exactly the two, each in its only form.
pub fn parse_p2pkh_script_sig(
    script_sig: &Script,
) -> Result<(Signature, PublicKey), ScriptSigError> {
    let mut rest = script_sig.as_bytes();
    let signature = take_signature(&mut rest)?;
    let key = take_push(&mut rest).ok_or(ScriptSigError::Pushes)?;
    if !rest.is_empty() {
        return Err(ScriptSigError::Pushes);
    }
    Ok((signature, PublicKey::from_bytes(key)?))
}

/// An m-of-n multisig script, the only redeem script of P2SH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Multisig {
    required: u8,
    keys: Vec<PublicKey>,
}

impl Multisig {
    /// `required` of `keys`, in this order; none unless 1 ≤ required ≤ keys ≤ 15.
    #[must_use]
    pub fn new(required: u8, keys: Vec<PublicKey>) -> Option<Self> {
        let enough = required >= 1 && usize::from(required) <= keys.len();
        (enough && keys.len() <= MULTISIG_KEYS_MAX).then_some(Self { required, keys })
    }

    /// How many signatures it takes.
    #[must_use]
    pub const fn required(&self) -> u8 {
        self.required
    }

    /// Whose signatures.
    #[must_use]
    pub fn keys(&self) -> &[PublicKey] {
        &self.keys
    }

    /// As a redeem script in Bitcoin's form.
    #[must_use]
    pub fn redeem_script(&self) -> Script {
        let mut bytes = vec![small_number(self.required)];
        for key in &self.keys {
            push(&key.to_bytes(), &mut bytes);
        }
        // At most 15 by construction.
        bytes.push(small_number(u8::try_from(self.keys.len()).unwrap_or(u8::MAX)));
        bytes.push(OP_CHECKMULTISIG);
        bytes.into()
    }

    /// Reads a redeem script; none when it is not exactly this form.
    #[must_use]
    pub fn from_redeem_script(script: &Script) -> Option<Self> {
        let [required, middle @ .., count, OP_CHECKMULTISIG] = script.as_bytes() else {
            return None;
        };
        let mut rest = middle;
        let mut keys = Vec::new();
        while !rest.is_empty() {
            // Each key costs a square root: none is looked at beyond what the form allows.
            if keys.len() == MULTISIG_KEYS_MAX {
                return None;
            }
            keys.push(PublicKey::from_bytes(take_push(&mut rest)?).ok()?);
        }
        let multisig = Self::new(required.checked_sub(OP_1)?.checked_add(1)?, keys)?;
        let has_count = usize::from(count.checked_sub(OP_1)?).checked_add(1)?;
        (has_count == multisig.keys.len()).then_some(multisig)
    }

    /// What a P2SH output to it names.
    #[must_use]
    pub fn script_hash(&self) -> ScriptHash {
        script_hash(&self.redeem_script())
    }

    /// Unlocks an output to it; `signatures` in the order of the keys.
    #[must_use]
    pub fn script_sig(&self, signatures: &[Signature]) -> Script {
        // CHECKMULTISIG takes one element too many off the stack.
        let mut bytes = vec![OP_0];
        for signature in signatures {
            push_signature(signature, &mut bytes);
        }
        push(self.redeem_script().as_bytes(), &mut bytes);
        bytes.into()
    }
}

/// What a P2SH output to a redeem script names.
#[must_use]
pub fn script_hash(redeem_script: &Script) -> ScriptHash {
    ScriptHash::from_bytes(hash160(redeem_script.as_bytes()))
}

/// The signatures and the redeem script of a multisig scriptSig.
///
/// # Errors
/// When it is not exactly OP_0, signatures and a redeem script, each in its only form.
pub fn parse_multisig_script_sig(
    script_sig: &Script,
) -> Result<(Vec<Signature>, Script), ScriptSigError> {
    let [OP_0, rest @ ..] = script_sig.as_bytes() else {
        return Err(ScriptSigError::Pushes);
    };
    let mut rest = rest;
    let mut pushes = Vec::new();
    while !rest.is_empty() {
        if pushes.len() > MULTISIG_KEYS_MAX {
            return Err(ScriptSigError::Pushes);
        }
        pushes.push(take_push(&mut rest).ok_or(ScriptSigError::Pushes)?);
    }
    let (redeem_script, signatures) = pushes.split_last().ok_or(ScriptSigError::Pushes)?;
    let signatures =
        signatures.iter().map(|push| parse_signature(push)).collect::<Result<_, _>>()?;
    Ok((signatures, redeem_script.to_vec().into()))
}

const fn small_number(number: u8) -> u8 {
    (OP_1 - 1).saturating_add(number)
}

fn push_signature(signature: &Signature, out: &mut Vec<u8>) {
    let mut bytes = signature.to_der();
    bytes.push(SIGHASH_ALL);
    push(&bytes, out);
}

fn take_signature(rest: &mut &[u8]) -> Result<Signature, ScriptSigError> {
    parse_signature(take_push(rest).ok_or(ScriptSigError::Pushes)?)
}

/// A signature in strict DER and its hash type.
///
/// # Errors
/// When it is none, or of another hash type than SIGHASH_ALL.
pub fn parse_signature(push: &[u8]) -> Result<Signature, ScriptSigError> {
    match push {
        [der @ .., SIGHASH_ALL] => Ok(Signature::from_der_strict(der)?),
        [.., other] => Err(ScriptSigError::HashType(*other)),
        [] => Err(ScriptSigError::Pushes),
    }
}

/// Pushes data in its shortest form by length.
///
/// One-byte numbers have a shorter opcode, but no template pushes one: a data output of one byte
/// is always written as a push.
fn push(data: &[u8], out: &mut Vec<u8>) {
    let [low, high, ..] = data.len().to_le_bytes();
    if data.len() <= DIRECT_PUSH_MAX {
        out.push(low);
    } else if high == 0 {
        out.extend([OP_PUSHDATA1, low]);
    } else {
        out.extend([OP_PUSHDATA2, low, high]);
    }
    out.extend_from_slice(data);
}

/// Takes a push in its shortest form off the front.
fn take_push<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, body) = match *rest {
        [OP_PUSHDATA1, low, body @ ..] => (usize::from(*low), body),
        [OP_PUSHDATA2, low, high, body @ ..] => {
            (usize::from(u16::from_le_bytes([*low, *high])), body)
        }
        [length, body @ ..] if usize::from(*length) <= DIRECT_PUSH_MAX => {
            (usize::from(*length), body)
        }
        _ => return None,
    };
    let shortest = match rest.first() {
        Some(&OP_PUSHDATA1) => length > DIRECT_PUSH_MAX,
        Some(&OP_PUSHDATA2) => length > 0xff,
        _ => true,
    };
    let (data, left) = body.split_at_checked(length).filter(|_| shortest)?;
    *rest = left;
    Some(data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SecretKey;

    fn key(low: u8) -> PublicKey {
        SecretKey::from_bytes([low; 32]).unwrap().public_key()
    }

    fn signature() -> Signature {
        SecretKey::from_bytes([1; 32]).unwrap().sign(&pentad_primitives::Hash256::ZERO)
    }

    fn pushes(items: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        items.iter().for_each(|item| push(item, &mut bytes));
        bytes
    }

    /// Errors of both parsers are alike: what is wrong with a signature, a key, or the pushes.
    #[test]
    fn every_error_of_a_p2pkh_script_sig() {
        let (der, public) = (signature().to_der(), key(1).to_bytes());
        let signed = [der.as_slice(), &[SIGHASH_ALL]].concat();
        let parse = |bytes: Vec<u8>| parse_p2pkh_script_sig(&bytes.into()).unwrap_err();

        assert_eq!(parse(vec![]), ScriptSigError::Pushes);
        assert_eq!(parse(pushes(&[&signed])), ScriptSigError::Pushes);
        assert_eq!(parse(pushes(&[&[], &public])), ScriptSigError::Pushes);
        assert_eq!(parse(pushes(&[&signed, &public, &[]])), ScriptSigError::Pushes);
        let mut cut = pushes(&[&signed, &public]);
        cut.pop();
        assert_eq!(parse(cut), ScriptSigError::Pushes);
        let mut long = vec![OP_PUSHDATA1, u8::try_from(signed.len()).unwrap()];
        long.extend([signed.clone(), pushes(&[&public])].concat());
        assert_eq!(parse(long), ScriptSigError::Pushes);

        for other in [0x00, 0x02, 0x03, 0x81] {
            let signed = [der.as_slice(), &[other]].concat();
            assert_eq!(parse(pushes(&[&signed, &public])), ScriptSigError::HashType(other));
        }
        let lax = [der.as_slice(), &[0, SIGHASH_ALL]].concat();
        let encoding = ScriptSigError::Signature(SignatureError::Encoding);
        assert_eq!(parse(pushes(&[&lax, &public])), encoding);
        let hybrid = [[0x06].as_slice(), &public[1..], &public[1..]].concat();
        assert_eq!(parse(pushes(&[&signed, &hybrid])), ScriptSigError::Key(KeyError::Public));
    }

    #[test]
    fn every_error_of_a_multisig_script_sig() {
        let signed = [signature().to_der().as_slice(), &[SIGHASH_ALL]].concat();
        let redeem = Multisig::new(1, vec![key(1)]).unwrap().redeem_script().into_bytes();
        let parse = |bytes: Vec<u8>| parse_multisig_script_sig(&bytes.into());
        assert!(parse([vec![OP_0], pushes(&[&signed, &redeem])].concat()).is_ok());
        // The element that CHECKMULTISIG drops is OP_0 and nothing else (BIP147).
        for dummy in [vec![], vec![OP_1], vec![0x01, 0x00]] {
            let bytes = [dummy, pushes(&[&signed, &redeem])].concat();
            assert!(parse(bytes).is_err());
        }
        assert_eq!(parse(vec![OP_0]), Err(ScriptSigError::Pushes));
        let mut sixteen = vec![signed.as_slice(); 16];
        sixteen.push(&redeem);
        let bytes = [vec![OP_0], pushes(&sixteen)].concat();
        assert_eq!(parse(bytes), Err(ScriptSigError::Pushes));
    }

    #[test]
    fn redeem_scripts_have_one_form() {
        let read = |bytes: Vec<u8>| Multisig::from_redeem_script(&bytes.into());
        let script = Multisig::new(2, vec![key(1), key(2)]).unwrap().redeem_script().into_bytes();
        assert!(read(script.clone()).is_some());
        // Counts: none required, more than there are, another than there are, no small number.
        for (at, count) in [(0, OP_0), (0, OP_1 + 2), (0, OP_1 - 1), (69, OP_1), (69, OP_1 + 2)] {
            let mut changed = script.clone();
            changed[at] = count;
            assert_eq!(read(changed), None, "{at} {count}");
        }
        let mut not_a_point = script.clone();
        not_a_point[2] = 0x04;
        assert_eq!(read(not_a_point), None);
        assert_eq!(read(vec![OP_1, OP_1, OP_CHECKMULTISIG]), None);
        assert_eq!(read(vec![]), None);
    }

    #[test]
    fn a_redeem_script_of_many_keys_costs_no_more_than_15() {
        let public = key(1).to_bytes();
        let mut keys = vec![public.as_slice(); 15];
        let script = |keys: &[&[u8]], count: u8| {
            let bytes = [vec![OP_1], pushes(keys), vec![OP_1 - 1 + count, OP_CHECKMULTISIG]];
            Multisig::from_redeem_script(&bytes.concat().into())
        };
        assert!(script(&keys, 15).is_some());
        keys.push(&public);
        assert_eq!(script(&keys, 16), None);
        // Fast enough for a debug build only because the loop ends after 15.
        assert_eq!(script(&vec![public.as_slice(); 100_000], 16), None);
    }
}
