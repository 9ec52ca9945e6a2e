//! Whether a scriptSig unlocks an output, as the ledger has it.

use pentad_crypto::script::{Multisig, parse_multisig_script_sig, parse_p2pkh_script_sig};
use pentad_crypto::{Address, ScriptTemplate, classify};
use pentad_primitives::sighash::sighash_all;
use pentad_primitives::{Script, Transaction};

pub fn check(transaction: &Transaction, index: usize, script: &Script) -> Result<(), &'static str> {
    let script_sig = &transaction.inputs[index].script_sig;
    if let Some(ScriptTemplate::P2sh(hash)) = classify(script) {
        let (signatures, redeem) =
            parse_multisig_script_sig(script_sig).map_err(|_| "a malformed scriptSig")?;
        let multisig = Multisig::from_redeem_script(&redeem).ok_or("no multisig script")?;
        if multisig.script_hash() != hash || signatures.len() != usize::from(multisig.required()) {
            return Err("another script, or another number of signatures");
        }
        let digest = sighash_all(transaction, index, &redeem).ok_or("no such input")?;
        let mut keys = multisig.keys().iter();
        for signature in signatures {
            keys.find(|key| signature.verify(key, &digest).is_ok()).ok_or("a wrong signature")?;
        }
        return Ok(());
    }
    let (signature, key) =
        parse_p2pkh_script_sig(script_sig).map_err(|_| "a malformed scriptSig")?;
    if Address::P2pkh(key.key_hash()).script_pubkey() != *script {
        return Err("a foreign key");
    }
    let digest = sighash_all(transaction, index, script).ok_or("no such input")?;
    signature.verify(&key, &digest).map_err(|_| "a wrong signature")
}
