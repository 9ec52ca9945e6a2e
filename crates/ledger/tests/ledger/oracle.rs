//! rust-bitcoin reads what we write, and agrees about it.

use bitcoin::consensus::{deserialize, serialize};
use bitcoin::hashes::Hash as _;
use bitcoin::secp256k1::{self, Message, Secp256k1};
use bitcoin::sighash::SighashCache;
use pentad_crypto::script::ScriptTemplate::{Data, P2pkh, P2sh};
use pentad_ledger::verify::{CheckedTransaction, transaction_signatures, verify_signatures};
use pentad_primitives::encode::{Decode, Encode};
use pentad_primitives::pow::{CompactTarget, Target, Work};
use pentad_primitives::{Block, BlockHeight, Script, Transaction};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::chain::{Chain, Coin, coin, coins, key, output, pay, script_of, spend, unsigned};

/// A chain with a few payments in each block.
fn chain() -> Chain {
    let mut chain = Chain::development();
    for owner in 1..=3 {
        let first = pay(&chain.allocation(owner), 4, 0);
        let second = pay(&coin(&first, 0, 4), 5, 0);
        chain.mine(&[first, second]);
    }
    chain.mine_empty(20);
    chain
}

#[test]
fn blocks_read_the_same() {
    let chain = chain();
    for body in chain.bodies.values() {
        let bytes = body.block().to_bytes();
        let theirs: bitcoin::Block = deserialize(&bytes).unwrap();
        assert_eq!(serialize(&theirs), bytes);
        assert_eq!(theirs.block_hash().to_string(), body.hash().to_string());
        assert!(theirs.check_merkle_root());
        assert_eq!(theirs.total_size(), body.block().encoded_len());
        let txids = theirs.txdata.iter().map(|t| t.compute_txid().to_string());
        assert!(txids.eq(body.txids().iter().map(ToString::to_string)));
        for (theirs, ours) in theirs.txdata.iter().zip(&body.block().transactions) {
            assert_eq!(theirs.weight().to_wu(), ours.encoded_len() as u64 * 4);
            assert_eq!(theirs.is_coinbase(), ours.is_coinbase());
        }
        let height = chain.tree.height(&body.hash()).unwrap();
        // OP_1 … OP_16 as heights are read by newer versions of rust-bitcoin only.
        if let Ok(theirs) = theirs.bip34_block_height() {
            assert!(height.get() <= 16 || theirs == u64::from(height.get()));
        }
    }
}

#[test]
fn chain_work_adds_up_the_same() {
    let chain = chain();
    let mut sum: Option<bitcoin::Work> = None;
    for height in 0..=chain.tree.tip_height().get() {
        let hash = chain.tree.hash_at(BlockHeight::new(height)).unwrap();
        let work = bitcoin::CompactTarget::from_consensus(chain.spec.pow().unwrap().limit.0);
        let work = bitcoin::Target::from_compact(work).to_work();
        let total = sum.map_or(work, |sum| sum + work);
        sum = Some(total);
        assert_eq!(chain.tree.chain_work(&hash).unwrap().to_be_bytes(), total.to_be_bytes());
    }
}

#[test]
fn a_payment_signed_by_rust_bitcoin_is_accepted() {
    let mut chain = Chain::development();
    let allocation = chain.allocation(1);
    let payment = unsigned(std::slice::from_ref(&allocation), vec![output(4, coins(1_000))]);
    let mut theirs: bitcoin::Transaction = deserialize(&payment.to_bytes()).unwrap();
    let secp = Secp256k1::new();
    let secret = secp256k1::SecretKey::from_slice(&*key(1).to_bytes()).unwrap();
    let script = bitcoin::ScriptBuf::from_bytes(script_of(1).as_bytes().to_vec());
    let hash = SighashCache::new(&theirs).legacy_signature_hash(0, &script, 1).unwrap();
    let message = Message::from_digest(hash.to_byte_array());
    let signature = bitcoin::ecdsa::Signature::sighash_all(secp.sign_ecdsa(&message, &secret));
    let public_key = bitcoin::PublicKey::new(secret.public_key(&secp));
    theirs.input[0].script_sig = bitcoin::script::Builder::new()
        .push_slice(signature.serialize())
        .push_key(&public_key)
        .into_script();
    let signed = Transaction::from_bytes(&serialize(&theirs)).unwrap();
    chain.mine(&[signed]);
}

/// What rust-bitcoin and libsecp256k1 say about a P2PKH input.
fn their_verdict(transaction: &Transaction, coin: &Coin) -> bool {
    let Ok(theirs) = deserialize::<bitcoin::Transaction>(&transaction.to_bytes()) else {
        return false;
    };
    let script_sig = &theirs.input[0].script_sig;
    let pushes: Option<Vec<_>> = script_sig
        .instructions_minimal()
        .map(|instruction| instruction.ok()?.push_bytes().map(|push| push.as_bytes().to_vec()))
        .collect();
    let Some([signature, public_key]) = pushes.as_deref() else {
        return false;
    };
    let Ok(signature) = bitcoin::ecdsa::Signature::from_slice(signature) else {
        return false;
    };
    let Ok(public_key) = bitcoin::PublicKey::from_slice(public_key) else {
        return false;
    };
    let mut low_s = signature.signature;
    low_s.normalize_s();
    let script_pubkey = bitcoin::ScriptBuf::from_bytes(coin.output.script_pubkey.as_bytes().into());
    let is_standard = low_s == signature.signature
        && signature.sighash_type == bitcoin::EcdsaSighashType::All
        && public_key.compressed
        && bitcoin::ScriptBuf::new_p2pkh(&public_key.pubkey_hash()) == script_pubkey;
    let hash = SighashCache::new(&theirs).legacy_signature_hash(0, &script_pubkey, 1).unwrap();
    let message = Message::from_digest(hash.to_byte_array());
    let verified = Secp256k1::verification_only().verify_ecdsa(&message, &low_s, &public_key.inner);
    is_standard && verified.is_ok()
}

fn our_verdict(transaction: &Transaction, coin: &Coin) -> bool {
    let transaction = CheckedTransaction::assume_valid(transaction.clone());
    let verified =
        verify_signatures(transaction_signatures(&transaction, std::slice::from_ref(&coin.output)));
    verified.is_ok()
}

proptest! {
    #[test]
    fn altered_payments_are_judged_the_same(
        at in 0..107_usize,
        to in any::<u8>(),
        in_script_sig in any::<bool>(),
        change in any::<bool>(),
    ) {
        let coin = Chain::development().allocation(1);
        let mut payment = pay(&coin, 4, 1_000);
        if change && in_script_sig {
            let mut script_sig = payment.inputs[0].script_sig.as_bytes().to_vec();
            let len = script_sig.len();
            script_sig[at % len] = to;
            payment.inputs[0].script_sig = Script::from(script_sig);
        } else if change {
            let mut bytes = payment.to_bytes();
            let len = bytes.len();
            bytes[at % len] = to;
            let Ok(altered) = Transaction::from_bytes(&bytes) else { return Ok(()) };
            prop_assume!(altered.inputs.len() == 1);
            payment = altered;
        }
        prop_assert_eq!(our_verdict(&payment, &coin), their_verdict(&payment, &coin));
        prop_assert!(change || our_verdict(&payment, &coin));
    }

    #[test]
    fn targets_and_work_agree(mantissa in 1..0x0080_0000_u32, exponent in 4..=32_u32) {
        let bits = exponent << 24 | mantissa;
        // rust-bitcoin reads overflowing targets as zero, and gives target 1 too much work.
        if let Ok(ours) = Target::from_compact(CompactTarget(bits)) {
            let theirs = bitcoin::CompactTarget::from_consensus(bits);
            let theirs = bitcoin::Target::from_compact(theirs);
            prop_assert_eq!(ours.to_be_bytes(), theirs.to_be_bytes());
            let work = Work::from_target(&ours);
            prop_assert_eq!(work.to_be_bytes(), theirs.to_work().to_be_bytes());
        }
    }
}

/// Bytes of a real transaction or block with some of them changed, put in or taken out.
fn altered(mut bytes: Vec<u8>, changes: &[(Index, u8, u8)]) -> Vec<u8> {
    for (at, kind, byte) in changes {
        match kind {
            0 => *at.get_mut(&mut bytes) = *byte,
            1 => *at.get_mut(&mut bytes) ^= 1 << (byte % 8),
            2 => bytes.insert(at.index(bytes.len() + 1), *byte),
            _ => drop(bytes.remove(at.index(bytes.len()))),
        }
    }
    bytes
}

fn changes() -> impl Strategy<Value = Vec<(Index, u8, u8)>> {
    proptest::collection::vec((any::<Index>(), 0..4_u8, any::<u8>()), 0..4)
}

/// What rust-bitcoin decodes and we do not: segregated witness, and amounts that cannot be.
fn is_beyond_us(transactions: &[bitcoin::Transaction]) -> bool {
    transactions.iter().any(|transaction| {
        let has_witness = transaction.input.iter().any(|input| !input.witness.is_empty());
        let max = bitcoin::Amount::MAX_MONEY;
        has_witness || transaction.output.iter().any(|output| output.value > max)
    })
}

proptest! {
    #[test]
    fn altered_transactions_decode_alike(changes in changes(), parts in 1..4_usize) {
        let coin = Chain::development().allocation(1);
        let outputs = vec![output(4, coins(1)); parts];
        let payment = spend(std::slice::from_ref(&coin), outputs);
        let bytes = altered(payment.to_bytes(), &changes);
        let theirs = deserialize::<bitcoin::Transaction>(&bytes);
        match (Transaction::from_bytes(&bytes), theirs) {
            (Ok(ours), Ok(theirs)) => {
                prop_assert_eq!(&ours.to_bytes(), &bytes);
                prop_assert_eq!(&serialize(&theirs), &bytes);
                prop_assert_eq!(ours.txid().to_string(), theirs.compute_txid().to_string());
                prop_assert_eq!(ours.is_coinbase(), theirs.is_coinbase());
                for (ours, theirs) in ours.outputs.iter().zip(&theirs.output) {
                    let found = pentad_crypto::script::classify(&ours.script_pubkey);
                    let script = &theirs.script_pubkey;
                    prop_assert_eq!(matches!(found, Some(P2pkh(_))), script.is_p2pkh());
                    prop_assert_eq!(matches!(found, Some(P2sh(_))), script.is_p2sh());
                    prop_assert!(!matches!(found, Some(Data(_))) || script.is_op_return());
                }
            }
            (Err(_), Err(_)) => {}
            (Err(error), Ok(theirs)) => prop_assert!(is_beyond_us(&[theirs]), "{}", error),
            // Without inputs it begins like one with a witness, and no rule allows it.
            (Ok(ours), Err(error)) => prop_assert!(ours.inputs.is_empty(), "{}", error),
        }
    }

    #[test]
    fn altered_blocks_decode_alike(changes in changes(), count in 0..4_u8) {
        let mut chain = Chain::development();
        let owners = 1..=count.min(3);
        let payments: Vec<_> = owners.map(|owner| pay(&chain.allocation(owner), 4, 0)).collect();
        let block = chain.block_on(&chain.tip(), &payments);
        let bytes = altered(block.to_bytes(), &changes);
        let theirs = deserialize::<bitcoin::Block>(&bytes);
        match (Block::from_bytes(&bytes), theirs) {
            (Ok(ours), Ok(theirs)) => {
                prop_assert_eq!(ours.block_hash().to_string(), theirs.block_hash().to_string());
                let txids: Vec<_> = ours.transactions.iter().map(Transaction::txid).collect();
                if let Some(root) = theirs.compute_merkle_root() {
                    let ours = pentad_primitives::merkle::root(&txids);
                    prop_assert_eq!(ours.to_string(), root.to_string());
                }
                let is_theirs = theirs.check_merkle_root();
                let root = pentad_primitives::merkle::root(&txids);
                prop_assert_eq!(is_theirs, !txids.is_empty() && root == ours.header.merkle_root);
            }
            (Err(_), Err(_)) => {}
            (Err(error), Ok(theirs)) => prop_assert!(is_beyond_us(&theirs.txdata), "{}", error),
            (Ok(ours), Err(error)) => {
                let empty = ours.transactions.iter().any(|it| it.inputs.is_empty());
                prop_assert!(empty, "{}", error);
            }
        }
    }
}
