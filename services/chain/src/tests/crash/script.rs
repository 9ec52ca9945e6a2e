//! Blocks, transactions and certificates in an order, for one process to hand in and another to
//! check.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use pentad_api::chain::v1 as proto;
use pentad_primitives::{Block, BlockHash, Decode as _, Encode as _, OutPoint, Transaction};
use pentad_store::EngineKind;

use super::consistency::{State, assert_sound, state};
use super::victim::{move_to, small_hybrid};
use crate::tests::fixture::{COIN, FEE, Node, Person, alice, bob, directory};
use crate::tests::hybrid::last_final;
use crate::tests::validators::{
    hybrid_certificate, hybrid_genesis_output, hybrid_options, try_finalise,
};

#[derive(Clone, Debug)]
pub enum Item {
    Block(Block),
    Transaction(Transaction),
    /// Makes a block final.
    Certificate(Bytes),
}

/// What is handed in, and where each item leads.
#[derive(Debug)]
pub struct Script {
    pub items: Vec<Item>,
    /// The tip after so many items.
    pub tips: Vec<BlockHash>,
    /// What is final after so many items.
    pub finals: Vec<proto::GetFinalityResponse>,
    /// The UTXO set of each tip.
    pub states: BTreeMap<BlockHash, State>,
}

/// Outputs of a payment: many, so that a block has many rows.
const PARTS: u64 = 40;

/// A payment of Alice that splits a coin and leaves the rest in output 0.
fn split(coin: &mut OutPoint, units: &mut u64) -> Transaction {
    let part = COIN / 100;
    *units -= PARTS * part + 10 * FEE;
    let (alice, bob) = (alice(), bob());
    let mut outputs = vec![(&alice, *units)];
    outputs.extend((0..PARTS).map(|_| (&bob, part)));
    let payment = alice.spend(&[*coin], &outputs);
    *coin = OutPoint { txid: payment.txid(), vout: 0 };
    payment
}

impl Script {
    /// Payments in blocks, reorganisations to more work and to less, certificates before and after
    /// their blocks, and payments that wait at the end.
    pub async fn new() -> Self {
        let directory = directory();
        let mut options = hybrid_options(directory.path());
        options.store.engine = EngineKind::Memory;
        let node = Node::try_open(options).expect("an empty directory");
        let tips = vec![node.tip().await];
        let states = BTreeMap::from([(tips[0], state(&node).await)]);
        let finals = vec![last_final(&node).await];
        let mut script = Self { items: Vec::new(), tips, finals, states };
        let (mut coin, mut units) = (hybrid_genesis_output(0), 100 * COIN);
        for round in 0..28 {
            let payment = split(&mut coin, &mut units);
            script.hand_in(&node, Item::Transaction(payment)).await;
            match round {
                5 => script.certify(&node).await,
                12 => script.fork(&node).await,
                17 => script.choose_less_work(&node).await,
                23 => script.certify_ahead(&node).await,
                _ => {}
            }
            let block = node.template(&Person::new(7)).await;
            node.clock.advance(10);
            script.hand_in(&node, Item::Block(block)).await;
        }
        for _ in 0..2 {
            let payment = split(&mut coin, &mut units);
            script.hand_in(&node, Item::Transaction(payment)).await;
        }
        node.stop().await;
        script
    }

    /// Hands in so many blocks; gives as many others that could stand in their places.
    async fn mine_beside(&mut self, node: &Node, count: u8) -> Vec<Block> {
        let mut parent = node.tip().await;
        let mut rivals = Vec::new();
        for _ in 0..count {
            let block = node.template(&Person::new(8)).await;
            let rival = move_to(node.template(&Person::new(9)).await, parent);
            parent = rival.block_hash();
            rivals.push(rival);
            node.clock.advance(10);
            self.hand_in(node, Item::Block(block)).await;
        }
        rivals
    }

    /// Two blocks, overtaken by three.
    async fn fork(&mut self, node: &Node) {
        let mut branch = self.mine_beside(node, 2).await;
        let last = branch.last().expect("a block").block_hash();
        branch.push(move_to(node.template(&Person::new(9)).await, last));
        let tip = branch[2].block_hash();
        for block in branch {
            self.hand_in(node, Item::Block(block)).await;
        }
        assert_eq!(node.tip().await, tip, "a reorganisation");
    }

    /// A block of the main chain becomes final.
    async fn certify(&mut self, node: &Node) {
        let height = node.info().await.height - 2;
        let certificate = hybrid_certificate(&node.block_at(height).await, height);
        self.hand_in(node, Item::Certificate(certificate)).await;
    }

    /// Three blocks, and the first of two others becomes final.
    async fn choose_less_work(&mut self, node: &Node) {
        let height = node.info().await.height + 1;
        let branch = self.mine_beside(node, 3).await;
        let certificate = hybrid_certificate(&branch[0], height);
        for block in &branch[..2] {
            self.hand_in(node, Item::Block(block.clone())).await;
        }
        self.hand_in(node, Item::Certificate(certificate)).await;
        assert_eq!(node.tip().await, branch[1].block_hash(), "a reorganisation to less work");
    }

    /// Two blocks, and the second of two others has become final before they come.
    async fn certify_ahead(&mut self, node: &Node) {
        let height = node.info().await.height + 2;
        let branch = self.mine_beside(node, 2).await;
        let tip = branch[1].block_hash();
        self.hand_in(node, Item::Certificate(hybrid_certificate(&branch[1], height))).await;
        for block in branch {
            self.hand_in(node, Item::Block(block)).await;
        }
        assert_eq!(node.tip().await, tip, "a reorganisation to as much work");
    }

    async fn hand_in(&mut self, node: &Node, item: Item) {
        item.hand_in(node).await.expect("a valid item");
        let state = state(node).await;
        self.tips.push(state.0);
        self.finals.push(last_final(node).await);
        self.states.insert(state.0, state);
        self.items.push(item);
    }

    /// The items that make a block final.
    #[cfg(feature = "fail-points")]
    pub fn certified(&self) -> Vec<usize> {
        let is_other = |item: &usize| self.finals[*item] != self.finals[item + 1];
        (0..self.items.len()).filter(is_other).collect()
    }

    /// How many of the first items were made durable in a group: blocks, and what makes one final.
    #[cfg(feature = "fail-points")]
    pub fn groups(&self, items: usize) -> u32 {
        let certified = self.certified();
        let is_durable = |item: &usize| match &self.items[*item] {
            Item::Block(_) => true,
            Item::Transaction(_) => false,
            Item::Certificate(_) => certified.contains(item),
        };
        u32::try_from((0..items).filter(is_durable).count()).expect("small")
    }

    /// A process that had so many items acknowledged died in `directory`: the chain is that of
    /// those items, or of one more that was under way, and so is what is final, with its
    /// certificate; it passes the full check, takes the rest of the items and ends where all do.
    /// Gives the height that was found.
    pub async fn assert_recovers(&self, directory: &Path, acknowledged: usize, name: &str) -> u32 {
        let options = small_hybrid(directory);
        let node = Node::try_open(options.clone()).expect("a sound data directory");
        let found = state(&node).await;
        let may_be = &self.tips[acknowledged..self.tips.len().min(acknowledged + 2)];
        assert!(may_be.contains(&found.0), "{name}: {acknowledged} items, tip {}", found.0);
        assert_eq!(found, self.states[&found.0], "{name}");
        self.assert_final(&node, acknowledged, name).await;
        assert_sound(&node, &options).await;
        let height = node.info().await.height;
        node.clock.advance(1_000);
        for item in &self.items {
            // What is confirmed is refused or known, and that is no matter.
            drop(item.hand_in(&node).await);
        }
        let last = self.tips.last().expect("a tip");
        assert_eq!(state(&node).await, self.states[last], "{name}: it goes on");
        self.assert_final(&node, self.items.len(), name).await;
        node.stop().await;
        height
    }

    /// The last final block is that of so many items, or of one more; it is on the main chain.
    async fn assert_final(&self, node: &Node, acknowledged: usize, name: &str) {
        let found = last_final(node).await;
        let may_be = &self.finals[acknowledged..self.finals.len().min(acknowledged + 2)];
        let height = found.height;
        assert!(may_be.contains(&found), "{name}: {acknowledged} items, final at {height}");
        assert_eq!(node.block_at(height).await.header.to_bytes(), found.header, "{name}");
    }

    /// Writes the items down for [`read`].
    pub fn write(&self, path: &Path) {
        let mut out = Vec::new();
        for item in &self.items {
            let (kind, bytes) = match item {
                Item::Block(block) => (0, block.to_bytes()),
                Item::Transaction(transaction) => (1, transaction.to_bytes()),
                Item::Certificate(certificate) => (2, certificate.to_vec()),
            };
            out.push(kind);
            out.extend(u32::try_from(bytes.len()).expect("small").to_le_bytes());
            out.extend(bytes);
        }
        fs::write(path, out).expect("a writable file");
    }
}

/// The items that another process wrote down.
pub fn read(path: &Path) -> Vec<Item> {
    let bytes = fs::read(path).expect("a readable file");
    let (mut rest, mut items) = (&bytes[..], Vec::new());
    while let Some((kind, tail)) = rest.split_first() {
        let (length, tail) = tail.split_first_chunk().expect("a length");
        let (item, tail) = tail.split_at(u32::from_le_bytes(*length) as usize);
        items.push(match kind {
            0 => Item::Block(Block::from_bytes(item).expect("a block")),
            1 => Item::Transaction(Transaction::from_bytes(item).expect("a transaction")),
            _ => Item::Certificate(Bytes::copy_from_slice(item)),
        });
        rest = tail;
    }
    items
}

impl Item {
    pub async fn hand_in(&self, node: &Node) -> Result<(), tonic::Status> {
        match self {
            Self::Block(block) => node.submit_block(block).await.map(drop),
            Self::Transaction(transaction) => node.submit_transaction(transaction).await.map(drop),
            Self::Certificate(certificate) => {
                match try_finalise(node, certificate.clone()).await? {
                    Ok(_) => Ok(()),
                    Err(refusal) => Err(tonic::Status::failed_precondition(refusal.reason)),
                }
            }
        }
    }
}
