//! Blocks and transactions in an order, for one process to hand in and another to check.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use pentad_primitives::{Block, BlockHash, Decode as _, Encode as _, OutPoint, Transaction};

use super::consistency::{State, assert_sound, state};
use super::victim::{move_to, small};
use crate::tests::fixture::{COIN, FEE, Node, Person, alice, bob, directory, genesis_output};

#[derive(Clone, Debug)]
pub enum Item {
    Block(Block),
    Transaction(Transaction),
}

/// What is handed in, and where each item leads.
#[derive(Debug)]
pub struct Script {
    pub items: Vec<Item>,
    /// The tip after so many items.
    pub tips: Vec<BlockHash>,
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
    /// Payments in blocks, a reorganisation, more of them, and payments that wait at the end.
    pub async fn new() -> Self {
        let directory = directory();
        let node = Node::in_memory(directory.path());
        let tips = vec![node.tip().await];
        let states = BTreeMap::from([(tips[0], state(&node).await)]);
        let mut script = Self { items: Vec::new(), tips, states };
        let (mut coin, mut units) = (genesis_output(0), 100 * COIN);
        for round in 0..28 {
            let payment = split(&mut coin, &mut units);
            script.hand_in(&node, Item::Transaction(payment)).await;
            if round == 12 {
                script.fork(&node).await;
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

    /// Two blocks, overtaken by three.
    async fn fork(&mut self, node: &Node) {
        let mut parent = node.tip().await;
        let mut branch = Vec::new();
        for number in 0..3_u8 {
            let block = node.template(&Person::new(8)).await;
            let rival = move_to(node.template(&Person::new(9)).await, parent);
            parent = rival.block_hash();
            branch.push(rival);
            node.clock.advance(10);
            if number < 2 {
                self.hand_in(node, Item::Block(block)).await;
            }
        }
        for block in branch {
            self.hand_in(node, Item::Block(block)).await;
        }
        assert_eq!(node.tip().await, parent, "a reorganisation");
    }

    async fn hand_in(&mut self, node: &Node, item: Item) {
        item.hand_in(node).await.expect("a valid item");
        let state = state(node).await;
        self.tips.push(state.0);
        self.states.insert(state.0, state);
        self.items.push(item);
    }

    /// A process that had so many items acknowledged died in `directory`: the chain is that of
    /// those items, or of one more that was under way; it passes the full check, takes the rest of
    /// the items and ends where all do. Gives the height that was found.
    pub async fn assert_recovers(&self, directory: &Path, acknowledged: usize, name: &str) -> u32 {
        let options = small(directory);
        let node = Node::try_open(options.clone()).expect("a sound data directory");
        let found = state(&node).await;
        let may_be = &self.tips[acknowledged..self.tips.len().min(acknowledged + 2)];
        assert!(may_be.contains(&found.0), "{name}: {acknowledged} items, tip {}", found.0);
        assert_eq!(found, self.states[&found.0], "{name}");
        assert_sound(&node, &options).await;
        let height = node.info().await.height;
        node.clock.advance(1_000);
        for item in &self.items {
            // What is confirmed is refused or known, and that is no matter.
            drop(item.hand_in(&node).await);
        }
        let last = self.tips.last().expect("a tip");
        assert_eq!(state(&node).await, self.states[last], "{name}: it goes on");
        node.stop().await;
        height
    }

    /// Writes the items down for [`read`].
    pub fn write(&self, path: &Path) {
        let mut out = Vec::new();
        for item in &self.items {
            let (kind, bytes) = match item {
                Item::Block(block) => (0, block.to_bytes()),
                Item::Transaction(transaction) => (1, transaction.to_bytes()),
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
            _ => Item::Transaction(Transaction::from_bytes(item).expect("a transaction")),
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
        }
    }
}
