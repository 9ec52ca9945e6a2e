//! Compact blocks: made for peers that take them, and put together from the mempool.

use std::collections::HashMap;

use bytes::Bytes;
use pentad_primitives::hash::sha256;
use pentad_primitives::{BlockHash, Txid};
use pentad_wire::compact::{CompactBlock, Step, assemble};
use pentad_wire::sync::{Body, Input};
use pentad_wire::{Class, PeerId};
use tracing::Span;

use super::{Event, Hub};
use crate::message::Message;

/// A smaller block travels whole: it would save nothing.
const BLOCK_BYTES_MIN: usize = 4 << 10;
/// Bytes of transactions that are kept to put blocks together from; what is beyond is asked for.
const POOL_BYTES_MAX: usize = 64 << 20;

/// The transactions of the mempool, as far as there is room.
#[derive(Debug, Default)]
pub(super) struct Pool {
    transactions: HashMap<Txid, Bytes>,
    bytes: usize,
}

impl Pool {
    pub(super) fn insert(&mut self, txid: Txid, transaction: Bytes) {
        if self.bytes + transaction.len() > POOL_BYTES_MAX {
            return;
        }
        self.bytes += transaction.len();
        if let Some(old) = self.transactions.insert(txid, transaction) {
            self.bytes -= old.len();
        }
    }

    pub(super) fn remove(&mut self, txid: &Txid) {
        if let Some(old) = self.transactions.remove(txid) {
            self.bytes -= old.len();
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Hub {
    /// A block in compact form, if that is shorter. The nonce cannot be foreseen, so that nobody
    /// makes transactions whose short ids are one.
    pub(super) fn compact_of(&self, body: &Body) -> Option<CompactBlock> {
        let Body { block, certificate } = body;
        if block.len() < BLOCK_BYTES_MIN {
            return None;
        }
        let secret = self.parts.secret.to_be_bytes();
        let digest = sha256(&[&secret, block.get(..80)?].concat());
        let nonce = digest.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        CompactBlock::of(block, certificate.clone(), nonce)
    }

    pub(super) fn on_compact_block(&mut self, peer: PeerId, block: CompactBlock) {
        let hash = block.hash();
        self.relay.peer_has(peer, hash.as_bytes());
        if !self.sync.takes(&hash) {
            return;
        }
        let now = self.now();
        let step = self.drafts.on_compact(now, peer, block, &self.pool.transactions);
        self.take_step(peer, step);
    }

    pub(super) fn on_block_transactions(
        &mut self,
        peer: PeerId,
        hash: BlockHash,
        transactions: Vec<Bytes>,
    ) {
        let step = self.drafts.on_transactions(peer, hash, transactions);
        self.take_step(peer, step);
    }

    fn take_step(&mut self, peer: PeerId, step: Step) {
        match step {
            Step::Wait => {}
            Step::Ask { hash, places } => {
                let question = Message::GetBlockTransactions { hash, places };
                self.send(peer, Class::Announcements, &question);
            }
            Step::AskWhole(hash) => self.ask_whole(peer, hash),
            Step::Assemble { hash, header, transactions, certificate } => {
                // Thousands of hashes: not on the hub's time.
                let span = Span::current();
                let failure = Event::HeadersChecked { peer: Some(peer), report: None };
                self.call(failure, async move {
                    let assembling = move || assemble(&header, &transactions);
                    let block = tokio::task::spawn_blocking(assembling).await.ok().flatten();
                    let body = block.map(|block| Body { block, certificate });
                    Event::Assembled { peer, hash, body, span }
                });
            }
        }
    }

    /// Without its parts fitting, nobody is to blame: two transactions may share a short id.
    pub(super) fn on_assembled(&mut self, peer: PeerId, hash: BlockHash, body: Option<Body>) {
        match body {
            Some(body) => {
                self.parts.metrics.compact.inc();
                self.step(Input::Block { peer, hash, body });
            }
            None => {
                self.drafts.on_misfit(&hash);
                self.ask_whole(peer, hash);
            }
        }
    }

    /// Senders that do not give what is missing may still give the whole block; if they do not, its
    /// header leads to those who do.
    pub(super) fn ask_for_overdue_blocks(&mut self) {
        for (peer, hash) in self.drafts.overdue(self.now()) {
            self.ask_whole(peer, hash);
        }
    }

    fn ask_whole(&mut self, peer: PeerId, hash: BlockHash) {
        if self.sync.takes(&hash) {
            self.send(peer, Class::Announcements, &Message::GetBlocks(vec![hash]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_is_bounded() {
        let mut pool = Pool::default();
        let txid = |number: u32| {
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            Txid::from_bytes(bytes)
        };
        let transaction = Bytes::from(vec![7; 100_000]);
        for number in 0..2_000 {
            pool.insert(txid(number), transaction.clone());
            pool.insert(txid(number), transaction.clone());
        }
        assert!(pool.bytes <= POOL_BYTES_MAX);
        assert_eq!(pool.bytes, pool.transactions.len() * transaction.len());
        (0..2_000).for_each(|number| pool.remove(&txid(number)));
        assert_eq!((pool.bytes, pool.transactions.len()), (0, 0));
    }
}
