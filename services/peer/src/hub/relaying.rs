//! Passes blocks and transactions on.

use std::collections::BTreeMap;

use bytes::Bytes;
use pentad_primitives::hash::sha256d;
use pentad_primitives::{BlockHash, BlockHeader, Txid};
use pentad_wire::handshake::Claim;
use pentad_wire::orphans::Orphan;
use pentad_wire::sync::{Body, Input};
use pentad_wire::{Class, Offence, PeerId};

use super::Hub;
use super::peer::Peer;
use crate::chain::TransactionItem;
use crate::link::serve::batches;
use crate::message::Message;
use crate::trace;

/// A new block is pushed to peers at most so many blocks behind it, by their word or after what
/// was pushed to them; others have to sync anyway.
const PUSH_DEPTH: u32 = 2;

impl Hub {
    /// This node has a new tip.
    pub(super) fn on_tip(&mut self, claim: Claim, body: Option<Body>) {
        self.parts.claim.send_replace(claim);
        self.relay.on_tip();
        self.step(Input::Tip { claim });
        for orphan in self.orphans.take_all() {
            self.admit(orphan.into());
        }
        if let Some(body) = body {
            self.push_block(claim, body);
        }
    }

    /// Sends a block to the peers that are just behind it and do not have it.
    fn push_block(&mut self, claim: Claim, body: Body) {
        let behind: Vec<PeerId> = self
            .relay
            .recipients(claim.tip.as_bytes())
            .into_iter()
            .filter(|id| self.peers.get(id).is_some_and(|peer| takes(peer, &claim)))
            .collect();
        if behind.is_empty() {
            return;
        }
        let header = body.block.get(..BlockHeader::LEN).unwrap_or_default();
        debug_assert_eq!(BlockHash::from(sha256d(header)), claim.tip);
        let is_compact = |id: &PeerId| self.peers.get(id).is_some_and(|peer| peer.takes_compact);
        let (compact, mut whole): (Vec<PeerId>, Vec<PeerId>) =
            behind.into_iter().partition(is_compact);
        if !compact.is_empty() {
            match self.compact_of(&body) {
                Some(block) => self.push(&compact, claim, &Message::CompactBlock(block)),
                None => whole.extend(compact),
            }
        }
        if !whole.is_empty() {
            self.push(&whole, claim, &Message::Block { hash: claim.tip, body });
        }
    }

    /// Sends a new block in one of its forms.
    fn push(&mut self, to: &[PeerId], claim: Claim, message: &Message) {
        // Encoded once: all peers share the bytes.
        let frame = match message.to_frame(trace::current()).encode() {
            Ok(frame) => frame,
            Err(error) => {
                tracing::error!(%error, hash = %claim.tip, "a block that no frame can carry");
                return;
            }
        };
        for id in to {
            let Some(peer) = self.peers.get_mut(id) else {
                continue;
            };
            peer.pushed = claim.height;
            let outcome = peer.send_frame(Class::Announcements, frame.clone());
            self.on_sent(*id, outcome);
        }
    }

    pub(super) fn on_transaction_added(&mut self, txid: Txid, transaction: Bytes) {
        self.relay.hold(&txid);
        self.pool.insert(txid, transaction.clone());
        self.admit_children(&txid);
        self.fresh.push((txid, transaction));
    }

    /// Tries again what was refused before this transaction was there.
    fn admit_children(&mut self, parent: &Txid) {
        for orphan in self.orphans.take_children(parent) {
            self.admit(orphan.into());
        }
    }

    /// Sends the transactions of this batch to the peers that lack them.
    pub(super) fn relay_fresh(&mut self) {
        let mut by_peer = BTreeMap::<PeerId, Vec<(Txid, Bytes)>>::new();
        for (txid, transaction) in std::mem::take(&mut self.fresh) {
            for id in self.relay.recipients(txid.as_bytes()) {
                by_peer.entry(id).or_default().push((txid, transaction.clone()));
            }
        }
        for (id, transactions) in by_peer {
            for message in batches(transactions) {
                self.send(id, Class::Announcements, &message);
            }
        }
    }

    /// A peer sent transactions.
    pub(super) fn on_transactions(&mut self, peer: PeerId, transactions: Vec<(Txid, Bytes)>) {
        for (txid, transaction) in transactions {
            if self.relay.on_transaction(peer, &txid) {
                self.admit(TransactionItem { peer, txid, transaction, refusals: 0 });
            }
        }
    }

    /// Asks for transactions that peers told of.
    pub(super) fn ask_for_transactions(&mut self) {
        for (peer, txids) in self.relay.questions(self.now()) {
            self.send(peer, Class::Announcements, &Message::GetTransactions(txids));
        }
    }

    /// Hands a transaction to the chain service.
    fn admit(&mut self, item: TransactionItem) {
        if let Err(item) = self.parts.transactions.push(item) {
            // Overload: it may come again, from this peer or another.
            self.relay.release(&item.txid);
            self.parts.metrics.dropped.inc();
        }
    }

    /// A block of this peer went on the main chain.
    pub(super) fn on_useful_block(&mut self, id: PeerId) {
        let now = self.now();
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.merits.block = Some(now);
        }
    }

    pub(super) fn on_transaction_answered(&mut self, item: TransactionItem, refused: Option<u32>) {
        let now = self.now();
        let Some(score) = refused else {
            if let Some(peer) = self.peers.get_mut(&item.peer) {
                peer.merits.transaction = Some(now);
            }
            // Its event may have overtaken the refusal of a child; answers come in order.
            self.admit_children(&item.txid);
            return;
        };
        self.relay.refuse(&item.txid);
        if score == 0 {
            // Perhaps only too early: its parent, or the block with its parent, is on the way.
            let evicted = self.orphans.keep(Orphan {
                txid: item.txid,
                from: item.peer,
                transaction: item.transaction,
                attempts: item.refusals.saturating_add(1),
            });
            for txid in evicted {
                self.relay.forgive(&txid);
            }
        } else {
            self.penalize(item.peer, Offence::Refused(score));
        }
    }
}

/// Whether a new block at `tip` is of use to a peer right now.
fn takes(peer: &Peer, tip: &Claim) -> bool {
    let reached = peer.claim.height.max(peer.pushed).get();
    peer.claim.work < tip.work
        && reached.saturating_add(PUSH_DEPTH) >= tip.height.get()
        && peer.has_room(Class::Announcements)
}

impl From<Orphan> for TransactionItem {
    fn from(orphan: Orphan) -> Self {
        Self {
            peer: orphan.from,
            txid: orphan.txid,
            transaction: orphan.transaction,
            refusals: orphan.attempts,
        }
    }
}
