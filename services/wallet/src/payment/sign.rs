//! From chosen coins to a signed transaction.

use pentad_crypto::Address;
use pentad_crypto::script::p2pkh_script_sig;
use pentad_primitives::sighash::sighash_all;
use pentad_primitives::{Amount, Script, Transaction, TxIn, TxOut};

use super::{Order, Selection};
use crate::error::WalletError;
use pentad_keystore::{KeyPath, Signer};

const TRANSACTION_VERSION: i32 = 1;

/// Spends the selected coins on the order's outputs and the change; nothing is signed yet.
///
/// # Errors
/// When a fee leaves nothing worth paying.
pub(crate) fn unsigned(
    order: &Order,
    selection: &Selection,
    change_to: Option<Address>,
) -> Result<Transaction, WalletError> {
    let mut outputs = order.outputs_less(selection.deducted)?;
    if let (Some(change), Some(address)) = (selection.change, change_to) {
        let amount = Amount::from_units(change).expect("change is a part of coins that exist");
        outputs.push(TxOut { amount, script_pubkey: address.script_pubkey() });
    }
    let inputs = selection.coins.iter().map(|(_, outpoint)| TxIn {
        previous_output: *outpoint,
        script_sig: Script::default(),
        sequence: order.sequence,
    });
    let (inputs, lock_time) = (inputs.collect(), order.lock_time);
    Ok(Transaction { version: TRANSACTION_VERSION, inputs, outputs, lock_time })
}

/// Signs for the coins of the inputs, each with its key. The work grows with the square of their
/// number: a large payment takes a while, so this is for blocking threads.
///
/// # Errors
/// When a coin's key cannot be derived.
pub(crate) fn sign(
    mut transaction: Transaction,
    keys: &[KeyPath],
    signer: &Signer,
) -> Result<Transaction, WalletError> {
    // SIGHASH_ALL leaves other inputs' scripts out, so they can be set one by one.
    for (index, path) in keys.iter().enumerate() {
        let key = signer.key(*path)?;
        let public_key = key.public_key();
        let script_code = Address::P2pkh(public_key.key_hash()).script_pubkey();
        let digest = sighash_all(&transaction, index, &script_code)
            .expect("there is an input for every coin");
        transaction.inputs[index].script_sig = p2pkh_script_sig(&key.sign(&digest), &public_key);
    }
    Ok(transaction)
}
