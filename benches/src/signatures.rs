//! The yardstick and the ledger's own path, on one thread.

use std::collections::HashMap;
use std::convert::Infallible;

use pentad_bench::meter::{Cost, Meter};
use pentad_bench::payments::{Coin, START};
use pentad_crypto::script::parse_p2pkh_script_sig;
use pentad_ledger::mempool::Policy;
use pentad_ledger::verify::{CheckedTransaction, SignatureCheck};
use pentad_ledger::{ChainSpec, HeaderTree, Mempool, UtxoView};
use pentad_primitives::sighash::sighash_all;
use pentad_primitives::{BlockHeight, OutPoint, Transaction, Utxo};

/// libsecp256k1 alone: keys and signatures parsed beforehand.
pub(crate) fn raw(payments: &[Transaction], coins: &[Coin]) -> Cost {
    let jobs: Vec<_> = payments
        .iter()
        .zip(coins)
        .map(|(payment, coin)| {
            let script_sig = &payment.inputs[0].script_sig;
            let (signature, key) = parse_p2pkh_script_sig(script_sig).expect("signed");
            let signature = secp256k1::ecdsa::Signature::from_der(&signature.to_der());
            let key = secp256k1::PublicKey::from_slice(&key.to_bytes());
            let hash = sighash_all(payment, 0, &coin.output.script_pubkey).expect("one input");
            let message = secp256k1::Message::from_digest(*hash.as_bytes());
            (signature.expect("a signature"), message, key.expect("a key"))
        })
        .collect();
    let meter = Meter::start();
    for (signature, message, key) in &jobs {
        secp256k1::ecdsa::verify(signature, *message, key).expect("a valid signature");
    }
    meter.stop()
}

/// A whole input: script templates, DER, key, hash160, sighash, verification.
pub(crate) fn inputs(payments: &[Transaction], coins: &[Coin]) -> Cost {
    let txids: Vec<_> = payments.iter().map(Transaction::txid).collect();
    let meter = Meter::start();
    for ((transaction, coin), txid) in payments.iter().zip(coins).zip(txids) {
        let check = SignatureCheck { transaction, txid, input: 0, spent: &coin.output };
        check.verify().expect("a valid signature");
    }
    meter.stop()
}

struct Coins(HashMap<OutPoint, Utxo>);

impl UtxoView for Coins {
    type Error = Infallible;

    fn utxo(&self, outpoint: &OutPoint) -> Result<Option<Utxo>, Infallible> {
        Ok(self.0.get(outpoint).cloned())
    }
}

/// Admission by the ledger alone: structure, prepare, signatures, commit; no service, no disk.
pub(crate) fn admission(spec: &ChainSpec, payments: &[Transaction], coins: &[Coin]) -> Cost {
    let height = BlockHeight::GENESIS;
    let utxo = |coin: &Coin| Utxo { output: coin.output.clone(), height, from_coinbase: false };
    let view = Coins(coins.iter().map(|coin| (coin.outpoint, utxo(coin))).collect());
    let context = HeaderTree::new(spec).tip_context().expect("room for a block");
    let mut mempool = Mempool::new(Policy::default(), spec);
    let payments = payments.to_vec();
    let meter = Meter::start();
    for payment in payments {
        let checked = CheckedTransaction::check(payment, &spec.limits()).expect("well formed");
        mempool.admit(checked, &view, &context, START).expect("a valid transaction");
    }
    meter.stop()
}
