//! Signatures: one job per input, independent of every other.

use pentad_crypto::script::{self, Multisig, ScriptTemplate};
use pentad_crypto::{KeyHash, ScriptHash, Signature};
use pentad_primitives::hash::{Hash256, Txid};
use pentad_primitives::sighash::sighash_all;
use pentad_primitives::{Script, Transaction, TxOut};
use thiserror::Error;

use super::{CheckedBlock, CheckedTransaction};
use crate::utxo::BlockUndo;

/// The question whether one input may spend its output. Jobs run in any order, on any thread.
///
/// The txid covers scriptSigs and, by way of the outpoints, the outputs spent: where all inputs of
/// a txid have been verified once, they need never be again. It is the key of a signature cache.
#[derive(Clone, Copy, Debug)]
pub struct SignatureCheck<'a> {
    /// The spending transaction.
    pub transaction: &'a Transaction,
    /// Its id.
    pub txid: Txid,
    /// Position of the input.
    pub input: usize,
    /// The output that it spends.
    pub spent: &'a TxOut,
}

/// An input that may not spend its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("input {input} of {txid}: {kind}")]
pub struct SignatureError {
    /// The spending transaction.
    pub txid: Txid,
    /// Position of the input.
    pub input: usize,
    /// The reason.
    pub kind: SignatureErrorKind,
}

/// Why an input may not spend its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SignatureErrorKind {
    /// The output's script is none of the templates: nobody can spend it.
    #[error("the output's script cannot be spent")]
    Unspendable,
    /// The scriptSig is not exactly its template's minimal pushes, or a key or signature in it is
    /// malformed (BIP66, low-S, compressed keys, SIGHASH_ALL).
    #[error("scriptSig has not the form that the output's script asks for")]
    ScriptSig,
    /// The public key is another than the output names.
    #[error("public key does not hash to the output's key hash")]
    KeyHash,
    /// The redeem script is another than the output names.
    #[error("redeem script does not hash to the output's script hash")]
    ScriptHash,
    /// The redeem script is not m-of-n multisig.
    #[error("redeem script is not a multisig script")]
    RedeemScript,
    /// A signature does not verify.
    #[error("signature does not verify")]
    Signature,
}

impl SignatureCheck<'_> {
    /// Answers the question. Costs a signature check or, for n keys of a multisig, at most n.
    ///
    /// # Errors
    /// Why the input may not spend its output.
    pub fn verify(&self) -> Result<(), SignatureError> {
        self.verify_kind().map_err(|kind| self.error(kind))
    }

    fn error(&self, kind: SignatureErrorKind) -> SignatureError {
        SignatureError { txid: self.txid, input: self.input, kind }
    }

    fn verify_kind(&self) -> Result<(), SignatureErrorKind> {
        match script::classify(&self.spent.script_pubkey) {
            Some(ScriptTemplate::P2pkh(key_hash)) => self.verify_p2pkh(key_hash),
            Some(ScriptTemplate::P2sh(script_hash)) => self.verify_p2sh(script_hash),
            Some(ScriptTemplate::Data(_)) | None => Err(SignatureErrorKind::Unspendable),
        }
    }

    fn verify_p2pkh(&self, key_hash: KeyHash) -> Result<(), SignatureErrorKind> {
        let (signature, public_key) = script::parse_p2pkh_script_sig(self.script_sig()?)
            .map_err(|_| SignatureErrorKind::ScriptSig)?;
        if public_key.key_hash() != key_hash {
            return Err(SignatureErrorKind::KeyHash);
        }
        let sighash = self.sighash(&self.spent.script_pubkey)?;
        signature.verify(&public_key, &sighash).map_err(|_| SignatureErrorKind::Signature)
    }

    fn script_sig(&self) -> Result<&Script, SignatureErrorKind> {
        let input = self.transaction.inputs.get(self.input);
        input.map(|input| &input.script_sig).ok_or(SignatureErrorKind::ScriptSig)
    }

    fn sighash(&self, script_code: &Script) -> Result<Hash256, SignatureErrorKind> {
        sighash_all(self.transaction, self.input, script_code).ok_or(SignatureErrorKind::ScriptSig)
    }

    /// m-of-n multisig, as OP_CHECKMULTISIG does it: each signature belongs to a later key than the
    /// one before it.
    fn verify_p2sh(&self, script_hash: ScriptHash) -> Result<(), SignatureErrorKind> {
        let (signatures, redeem_script) = script::parse_multisig_script_sig(self.script_sig()?)
            .map_err(|_| SignatureErrorKind::ScriptSig)?;
        if script::script_hash(&redeem_script) != script_hash {
            return Err(SignatureErrorKind::ScriptHash);
        }
        let multisig =
            Multisig::from_redeem_script(&redeem_script).ok_or(SignatureErrorKind::RedeemScript)?;
        if signatures.len() != usize::from(multisig.required()) {
            return Err(SignatureErrorKind::ScriptSig);
        }
        let sighash = self.sighash(&redeem_script)?;
        let mut keys = multisig.keys().iter();
        let verifies =
            |signature: &Signature| keys.any(|key| signature.verify(key, &sighash).is_ok());
        if signatures.iter().all(verifies) { Ok(()) } else { Err(SignatureErrorKind::Signature) }
    }
}

/// The checks of all inputs of a transaction. `spent` are the outputs that they name, in order.
pub fn transaction_signatures<'a>(
    transaction: &'a CheckedTransaction,
    spent: &'a [TxOut],
) -> impl Iterator<Item = SignatureCheck<'a>> {
    let txid = transaction.txid();
    spent.iter().enumerate().map(move |(input, spent)| SignatureCheck {
        transaction: transaction.transaction(),
        txid,
        input,
        spent,
    })
}

/// The checks of all inputs of a block, in order. Those of one transaction follow one another, so
/// that whoever keeps a cache can skip them by their txid.
pub fn block_signatures<'a>(
    block: &'a CheckedBlock,
    undo: &'a BlockUndo,
) -> impl Iterator<Item = SignatureCheck<'a>> {
    let inputs = block.transactions().skip(1).flat_map(|(txid, transaction)| {
        (0..transaction.inputs.len()).map(move |input| (txid, transaction, input))
    });
    inputs.zip(&undo.spent).map(|((txid, transaction, input), utxo)| SignatureCheck {
        transaction,
        txid: *txid,
        input,
        spent: &utxo.output,
    })
}

/// Runs checks one after the other.
///
/// # Errors
/// The first input that may not spend its output.
pub fn verify_signatures<'a>(
    checks: impl IntoIterator<Item = SignatureCheck<'a>>,
) -> Result<(), SignatureError> {
    checks.into_iter().try_for_each(|check| check.verify())
}
