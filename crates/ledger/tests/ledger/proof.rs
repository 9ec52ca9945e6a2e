//! Proofs of transactions: whatever is changed in one is noticed, and named.

use pentad_ledger::TransactionProof;
use pentad_ledger::proof::ProofError;
use pentad_ledger::spec::{Allocation, ChainSpec, Parameters};
use pentad_ledger::verify::semantic::HeaderError;
use pentad_primitives::hash::Hash256;
use pentad_primitives::{BlockHeader, Decode, Encode, merkle};

use crate::chain::{Chain, GENESIS_TIME, address, coins, pay, units};

/// The proof of the third of four transactions, on a network where headers take work.
fn proof() -> (ChainSpec, TransactionProof) {
    let allocate = |number| Allocation { address: address(number), amount: coins(300) };
    let parameters = Parameters::new("test", GENESIS_TIME, (1..=3).map(allocate).collect());
    let spec = ChainSpec::new(parameters.unwrap()).unwrap();
    let mut chain = Chain::new(spec.clone());
    let payments: Vec<_> = (1..=3).map(|owner| pay(&chain.allocation(owner), 4, 10)).collect();
    let hash = chain.mine(&payments);
    let block = &chain.bodies[&hash];
    let path = merkle::prove(block.txids(), 2).unwrap();
    let transaction = block.block().transactions[2].clone();
    (spec, TransactionProof { transaction, header: block.block().header, path })
}

type Change = fn(&mut TransactionProof);

fn after(
    sound: &(ChainSpec, TransactionProof),
    change: impl FnOnce(&mut TransactionProof),
) -> ProofError {
    let mut proof = sound.1.clone();
    change(&mut proof);
    proof.check(&sound.0).unwrap_err()
}

#[test]
fn every_field_of_the_transaction_counts() {
    let sound = proof();
    assert!(sound.1.check(&sound.0).is_ok());
    let changes: [(&str, Change); 9] = [
        ("version", |proof| proof.transaction.version += 1),
        ("txid", |proof| proof.transaction.inputs[0].previous_output.txid = Default::default()),
        ("vout", |proof| proof.transaction.inputs[0].previous_output.vout += 1),
        ("script_sig", |proof| proof.transaction.inputs[0].script_sig = vec![0x51].into()),
        ("sequence", |proof| proof.transaction.inputs[0].sequence -= 1),
        ("amount", |proof| proof.transaction.outputs[0].amount = units(1)),
        ("script_pubkey", |proof| proof.transaction.outputs[0].script_pubkey = vec![1].into()),
        ("lock_time", |proof| proof.transaction.lock_time += 1),
        ("outputs", |proof| proof.transaction.outputs.clear()),
    ];
    for (field, change) in changes {
        let mut changed = sound.1.clone();
        change(&mut changed);
        let txid = changed.transaction.txid();
        assert_eq!(changed.check(&sound.0), Err(ProofError::Path { txid }), "{field}");
    }
    // Bytes that could be two inner nodes of the tree.
    let error = after(&sound, |proof| {
        proof.transaction.outputs[0].script_pubkey = Default::default();
        proof.transaction.inputs[0].script_sig = Default::default();
        let missing = 64 - proof.transaction.encoded_len();
        proof.transaction.outputs[0].script_pubkey = vec![0; missing].into();
    });
    assert_eq!(error, ProofError::SixtyFourBytes);
}

#[test]
fn every_bit_of_the_header_counts() {
    let sound = proof();
    let header = sound.1.header.to_bytes();
    for bit in 0..header.len() * 8 {
        let mut bytes = header.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let changed = BlockHeader::from_bytes(&bytes).unwrap();
        let error = after(&sound, |proof| proof.header = changed);
        let is_named = match bit / 8 {
            36..68 => matches!(error, ProofError::Path { .. }),
            72..76 => matches!(error, ProofError::Header(_)),
            // Version, parent, time and nonce: nobody has worked for this header.
            _ => matches!(error, ProofError::Header(HeaderError::Work { .. })),
        };
        assert!(is_named, "bit {bit}: {error}");
    }
}

#[test]
fn every_bit_of_the_path_counts() {
    let sound = proof();
    let txid = sound.1.transaction.txid();
    let path = ProofError::Path { txid };
    for bit in 0..u32::BITS {
        assert_eq!(after(&sound, |proof| proof.path.index ^= 1 << bit), path, "bit {bit}");
    }
    assert_eq!(sound.1.path.siblings.len(), 2);
    for sibling in 0..2 {
        for bit in 0..256 {
            let error = after(&sound, |proof| {
                let mut bytes = *proof.path.siblings[sibling].as_bytes();
                bytes[bit / 8] ^= 1 << (bit % 8);
                proof.path.siblings[sibling] = Hash256::from_bytes(bytes);
            });
            assert_eq!(error, path, "bit {bit} of sibling {sibling}");
        }
    }
    assert_eq!(after(&sound, |proof| proof.path.siblings.swap(0, 1)), path);
    assert_eq!(after(&sound, |proof| proof.path.siblings.truncate(1)), path);
    assert_eq!(after(&sound, |proof| proof.path.siblings.push(Hash256::ZERO)), path);
    assert_eq!(after(&sound, |proof| proof.path.siblings.clear()), path);
}
