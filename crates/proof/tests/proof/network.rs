//! A network with one block above genesis, which holds three transactions.

use std::ops::Range;
use std::sync::Arc;

use pentad_crypto::{Address, SecretKey};
use pentad_ledger::spec::{Allocation, Validator};
use pentad_ledger::{ChainSpec, TransactionProof, coinbase};
use pentad_pbft::secp::SecpKeys;
use pentad_pbft::{CommitCertificate, Keys as _, Sequence, Statement, View};
use pentad_primitives::{
    Amount, Block, BlockHeader, BlockHeight, Hash256, Script, Target, Transaction, TxOut, merkle,
};
use pentad_proof::{Membership, PortableProof};

pub const START: u32 = 1_700_000_000;

pub struct Network {
    pub spec: ChainSpec,
    pub block: Block,
    /// Numbers of the validators' keys, in order.
    keys: Range<u8>,
}

fn secret(number: u8) -> SecretKey {
    SecretKey::from_bytes([number; 32]).unwrap()
}

fn address(number: u8) -> Address {
    Address::P2pkh(secret(number).public_key().key_hash())
}

fn allocations() -> Vec<Allocation> {
    vec![Allocation { address: address(1), amount: Amount::COIN }]
}

impl Network {
    /// Validators `v0` to `v3`.
    pub fn pbft() -> Self {
        Self::with_validators(20..24)
    }

    pub fn with_validators(keys: Range<u8>) -> Self {
        let validator = |(place, number): (usize, u8)| {
            let key = secret(number).public_key();
            Validator { name: format!("v{place}"), key, payout: address(number) }
        };
        let validators = keys.clone().enumerate().map(validator).collect();
        let spec = ChainSpec::development_pbft("test", START, allocations(), validators).unwrap();
        Self { block: block(&spec), spec, keys }
    }

    pub fn pow() -> Self {
        let spec = ChainSpec::development("test", START, allocations()).unwrap();
        Self { block: mined(&spec), spec, keys: 0..0 }
    }

    /// Miners, and voters `v0` to `v3`.
    pub fn hybrid() -> Self {
        let keys = 20..24;
        let voter = |(place, number)| (format!("v{place}"), secret(number).public_key());
        let voters = keys.clone().enumerate().map(voter);
        let spec = ChainSpec::development_hybrid("test", START, allocations(), voters).unwrap();
        Self { block: mined(&spec), spec, keys }
    }

    /// A certificate of a block by the validators of these places, in view 0.
    pub fn certificate(&self, block: &Block, height: u32, signers: &[u8]) -> CommitCertificate {
        let membership = Membership::of(&self.spec).unwrap().unwrap();
        let sequence = Sequence::from_height(BlockHeight::new(height));
        let digest = Hash256::from_bytes(block.block_hash().to_bytes());
        let statement = Statement::commit(View::ZERO, sequence, digest);
        let sign = |place: &u8| {
            let secret = secret(self.keys.start + place);
            let keys = SecpKeys::new(secret, Arc::clone(membership.validators())).unwrap();
            let hash = statement.signing_hash(membership.domain(), keys.own());
            (keys.own(), keys.sign(&hash))
        };
        let signatures = signers.iter().map(sign).collect();
        CommitCertificate { view: View::ZERO, sequence, digest, signatures }
    }

    /// The proof of a transaction of the block.
    pub fn proof(&self, index: u32) -> PortableProof {
        let certificate = self.certificate(&self.block, 1, &[0, 1, 3]);
        self.proof_in(&self.block, 1, index, Some(certificate))
    }

    pub fn proof_in(
        &self,
        block: &Block,
        height: u32,
        index: u32,
        certificate: Option<CommitCertificate>,
    ) -> PortableProof {
        let txids: Vec<_> = block.transactions.iter().map(Transaction::txid).collect();
        PortableProof {
            network: self.spec.name().to_owned(),
            spec_hash: self.spec.spec_hash(),
            height: BlockHeight::new(height),
            transaction: TransactionProof {
                transaction: block.transactions[index as usize].clone(),
                header: block.header,
                path: merkle::prove(&txids, index).unwrap(),
            },
            certificate,
            successors: Vec::new(),
        }
    }
}

/// The same, worked for.
fn mined(spec: &ChainSpec) -> Block {
    let mut block = block(spec);
    let target = Target::from_compact(block.header.bits).unwrap();
    while !target.is_met_by(&block.block_hash()) {
        block.header.nonce += 1;
    }
    block
}

/// A block of the form that proofs look at.
fn block(spec: &ChainSpec) -> Block {
    let tag = coinbase::tag(spec.genesis_hash().as_bytes());
    let transaction = |extra: u8| {
        let script_sig = coinbase::script_sig(BlockHeight::new(1), &tag, &[1, extra]);
        let script_pubkey: Script = address(1).script_pubkey();
        coinbase::transaction(script_sig, vec![TxOut { amount: Amount::ZERO, script_pubkey }])
    };
    let transactions: Vec<_> = (0..3).map(transaction).collect();
    let txids: Vec<_> = transactions.iter().map(Transaction::txid).collect();
    let header = BlockHeader {
        version: coinbase::BLOCK_VERSION,
        prev_block_hash: spec.genesis_hash(),
        merkle_root: merkle::root(&txids),
        time: START,
        bits: spec.genesis_block().header.bits,
        nonce: 0,
    };
    Block { header, transactions }
}
