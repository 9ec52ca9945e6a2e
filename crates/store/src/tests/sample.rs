//! Small chains of blocks that nobody verified: the store asks no questions.

use std::collections::BTreeMap;

use pentad_primitives::{
    Amount, Block, BlockHash, BlockHeader, BlockHeight, CompactTarget, MerkleRoot, OutPoint,
    Script, Transaction, TxIn, TxOut, Txid, Utxo, Work,
};

use crate::rows::{Rows, rows};
use crate::{ChainStore, Tip};

/// The UTXO set at some tip, and how to go on from there.
#[derive(Clone, Default)]
pub struct Sample {
    pub utxos: BTreeMap<OutPoint, Utxo>,
    pub tip: Option<Tip>,
    work: Work,
}

/// A block with everything the store wants to know about it.
#[derive(Clone)]
pub struct Sampled {
    pub block: Block,
    pub height: BlockHeight,
    pub work: Work,
    pub spent: Vec<Utxo>,
}

pub fn txids(block: &Block) -> Vec<Txid> {
    block.transactions.iter().map(Transaction::txid).collect()
}

impl Sampled {
    /// Its rows.
    pub fn rows(&self) -> Rows {
        rows(&self.block, &txids(&self.block), self.height, &self.spent).expect("its own undo")
    }
}

pub fn script(owner: u8) -> Script {
    Script::from(vec![0x51, owner])
}

fn pay(owner: u8, units: u64) -> TxOut {
    TxOut {
        amount: Amount::from_units(units).expect("a small amount"),
        script_pubkey: script(owner),
    }
}

fn input(previous_output: OutPoint, tag: u32) -> TxIn {
    TxIn { previous_output, script_sig: Script::from(tag.to_le_bytes().to_vec()), sequence: 0 }
}

fn transaction(inputs: Vec<TxIn>, outputs: Vec<TxOut>) -> Transaction {
    Transaction { version: 1, inputs, outputs, lock_time: 0 }
}

impl Sample {
    /// The next block: a coinbase to owner 0, a payment from the `picks`-th outputs to `owner`
    /// with a data output, and one that spends it within the block.
    pub fn next(&mut self, tag: u32, owner: u8, picks: &[usize]) -> Sampled {
        let height = self.tip.map_or(BlockHeight::GENESIS, |tip| tip.height.next().expect("low"));
        let coinbase = transaction(
            vec![input(OutPoint::NULL, tag ^ height.get() << 16)],
            vec![pay(0, 5000 + u64::from(tag))],
        );
        let mut transactions = vec![coinbase];
        let mut spent = Vec::new();
        let mut inputs = Vec::new();
        for outpoint in self.pick(picks) {
            spent.push(self.utxos[&outpoint].clone());
            inputs.push(input(outpoint, tag));
        }
        if !inputs.is_empty() {
            let data = TxOut { amount: Amount::ZERO, script_pubkey: vec![0x6a, 1, 7].into() };
            let outputs = vec![pay(owner, 10), data, pay(owner.wrapping_add(1), 20)];
            let first = transaction(inputs, outputs);
            let output = first.outputs[0].clone();
            spent.push(Utxo { output, height, from_coinbase: false });
            let within = OutPoint { txid: first.txid(), vout: 0 };
            let second = transaction(vec![input(within, tag)], vec![pay(9, 5)]);
            transactions.extend([first, second]);
        }
        let header = BlockHeader {
            version: 1,
            prev_block_hash: self.tip.map_or(BlockHash::ZERO, |tip| tip.hash),
            merkle_root: MerkleRoot::ZERO,
            time: tag,
            bits: CompactTarget(0x207f_ffff),
            nonce: tag,
        };
        let mut more = [0; 32];
        more[31] = 2;
        self.work = self.work.saturating_add(Work::from_be_bytes(more));
        let block = Block { header, transactions };
        self.apply(&block, height);
        Sampled { block, height, work: self.work, spent }
    }

    /// Unspent outputs by their places among those that are left.
    fn pick(&self, picks: &[usize]) -> Vec<OutPoint> {
        let mut left: Vec<OutPoint> = self.utxos.keys().copied().collect();
        let mut picked = Vec::new();
        for pick in picks {
            if !left.is_empty() {
                picked.push(left.remove(pick % left.len()));
            }
        }
        picked
    }

    /// The model: a map, changed one output at a time.
    fn apply(&mut self, block: &Block, height: BlockHeight) {
        for tx in &block.transactions {
            if !tx.is_coinbase() {
                tx.inputs.iter().for_each(|input| {
                    self.utxos.remove(&input.previous_output).expect("it was unspent");
                });
            }
            for (vout, output) in (0..).zip(&tx.outputs) {
                if output.script_pubkey.as_bytes()[0] != 0x6a {
                    let outpoint = OutPoint { txid: tx.txid(), vout };
                    let from_coinbase = tx.is_coinbase();
                    let utxo = Utxo { output: output.clone(), height, from_coinbase };
                    self.utxos.insert(outpoint, utxo);
                }
            }
        }
        self.tip = Some(Tip { hash: block.block_hash(), height });
    }
}

/// Stores and connects a block.
pub fn extend(store: &mut ChainStore, sampled: &Sampled) {
    store
        .append_block(&sampled.block, sampled.height, sampled.work, None)
        .and_then(|()| store.connect(&sampled.block, &txids(&sampled.block), &sampled.spent))
        .expect("a block on the tip");
}

/// Blocks of a chain with `length` blocks, and the model at its end.
pub fn chain(length: u32) -> (Vec<Sampled>, Sample) {
    let mut sample = Sample::default();
    let blocks = (0..length).map(|n| {
        let owner = u8::try_from(n % 5).expect("small");
        sample.next(n, owner, &[n as usize, 2 * n as usize][..(n % 3) as usize])
    });
    (blocks.collect(), sample)
}
