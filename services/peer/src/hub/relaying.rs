//! Passes blocks and transactions on.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use pentad_primitives::hash::sha256d;
use pentad_primitives::{BlockHash, BlockHeader, Txid};
use pentad_service_kit::telemetry::{RecordedSpan, TraceContext};
use pentad_wire::handshake::Claim;
use pentad_wire::orphans::Orphan;
use pentad_wire::relay::TRANSACTIONS_MAX;
use pentad_wire::sync::{Body, Input};
use pentad_wire::{Class, Offence, PeerId};
use tokio::time::Instant;

use super::peer::Peer;
use super::{Hub, MempoolChange};
use crate::chain::TransactionItem;
use crate::link::serve::{Outgoing, batches};
use crate::message::Message;
use crate::trace;

/// A transaction that a peer told of is asked for after this time: meanwhile it usually comes from
/// the node that it was handed in to, which sends it to everybody.
const ASK_PAUSE: Duration = Duration::from_millis(20);

/// A transaction that peers are to be told of.
#[derive(Debug)]
pub(super) struct Fresh {
    txid: Txid,
    transaction: Bytes,
    /// No peer sent it, so none has it.
    is_own: bool,
    /// The span that it belongs to.
    trace: Option<TraceContext>,
}

/// A new block is pushed to peers at most so many blocks behind it, by their word or after what
/// was pushed to them; others have to sync anyway.
const PUSH_DEPTH: u32 = 2;

impl Hub {
    /// This node has a new tip.
    pub(super) fn on_tip(&mut self, claim: Claim, body: Option<Body>, trace: Option<TraceContext>) {
        // What is final is told by itself.
        let claim = Claim { final_height: self.own().final_height, ..claim };
        self.parts.claim.send_replace(claim);
        self.relay.on_tip();
        self.step(Input::Tip { claim });
        for orphan in self.orphans.take_all() {
            self.admit(orphan.into());
        }
        if let Some(body) = body {
            self.push_block(claim, body, trace);
        }
    }

    /// Sends a block to the peers that are just behind it and do not have it.
    fn push_block(&mut self, claim: Claim, body: Body, trace: Option<TraceContext>) {
        let behind: Vec<PeerId> = self
            .relay
            .recipients(claim.tip.as_bytes())
            .into_iter()
            .filter(|id| self.peers.get(id).is_some_and(|peer| takes(peer, &claim)))
            // Those who agree on blocks have them from that.
            .filter(|id| !self.is_fellow(*id))
            .collect();
        if behind.is_empty() {
            return;
        }
        let span = trace.map(|trace| trace.begin(module_path!(), "peer.push_block"));
        let context = trace::encode(span.as_ref().map(RecordedSpan::context));
        let header = body.block.get(..BlockHeader::LEN).unwrap_or_default();
        debug_assert_eq!(BlockHash::from(sha256d(header)), claim.tip);
        let is_compact = |id: &PeerId| self.peers.get(id).is_some_and(|peer| peer.takes_compact);
        let (compact, mut whole): (Vec<PeerId>, Vec<PeerId>) =
            behind.into_iter().partition(is_compact);
        if !compact.is_empty() {
            match self.compact_of(&body) {
                Some(block) => {
                    self.push(&compact, claim, &Message::CompactBlock(block), context.clone());
                }
                None => whole.extend(compact),
            }
        }
        if !whole.is_empty() {
            self.push(&whole, claim, &Message::Block { hash: claim.tip, body }, context);
        }
    }

    /// Sends a new block in one of its forms.
    fn push(&mut self, to: &[PeerId], claim: Claim, message: &Message, context: Bytes) {
        // Encoded once: all peers share the bytes.
        let frame = match message.to_frame(context).encode() {
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

    pub(super) fn on_mempool(&mut self, is_reset: bool, changes: Vec<MempoolChange>) {
        if is_reset {
            // What left while nobody listened is not told. Who was told of the present ones before
            // is not told again.
            self.relay.reset();
            self.pool.clear();
        }
        for change in changes {
            match change {
                MempoolChange::Added { txid, transaction, trace } => {
                    let is_own = self.relay.hold(&txid);
                    self.pool.insert(txid, transaction.clone());
                    self.admit_children(&txid);
                    self.fresh.push(Fresh { txid, transaction, is_own, trace });
                }
                MempoolChange::Removed { txid, is_confirmed } => {
                    self.pool.remove(&txid);
                    if !is_confirmed {
                        self.relay.release(&txid);
                    }
                }
            }
        }
    }

    /// Tries again what was refused before this transaction was there.
    fn admit_children(&mut self, parent: &Txid) {
        for orphan in self.orphans.take_children(parent) {
            self.admit(orphan.into());
        }
    }

    /// Sends the transactions of this batch to the peers that lack them: those that were handed in
    /// here. Of what came from a peer only the ids: most have it from where it was handed in, and
    /// in a network where everybody is linked to everybody the bytes would come as often as there
    /// are nodes.
    pub(super) fn relay_fresh(&mut self) {
        let mut whole = BTreeMap::<PeerId, Vec<Outgoing>>::new();
        let mut ids = BTreeMap::<PeerId, Vec<Txid>>::new();
        // They end when everything is sent.
        let mut spans = Vec::new();
        for Fresh { txid, transaction, is_own, trace } in std::mem::take(&mut self.fresh) {
            let recipients = self.relay.recipients(txid.as_bytes());
            let mut trace = trace.filter(|_| is_own && !recipients.is_empty());
            if let Some(context) = &mut trace {
                let mut span = context.begin(module_path!(), "peer.relay");
                span.set("peers", i64::try_from(recipients.len()).unwrap_or(i64::MAX));
                *context = span.context();
                spans.push(span);
            }
            for id in recipients {
                if is_own {
                    let transaction = transaction.clone();
                    whole.entry(id).or_default().push(Outgoing { txid, transaction, trace });
                } else {
                    ids.entry(id).or_default().push(txid);
                }
            }
        }
        for (id, transactions) in whole {
            for (message, context) in batches(transactions) {
                let context = trace::encode(context);
                self.send_within(id, Class::Announcements, &message, context);
            }
        }
        for (id, txids) in ids {
            for txids in txids.chunks(TRANSACTIONS_MAX) {
                self.send(id, Class::Announcements, &Message::Inventory(txids.to_vec()));
            }
        }
    }

    /// A peer told which transactions it has.
    pub(super) fn on_inventory(&mut self, peer: PeerId, txids: &[Txid]) {
        self.relay.on_inventory(peer, txids);
        if self.ask_at.is_none() && self.relay.has_questions() {
            self.ask_at = Some(Instant::now() + ASK_PAUSE);
        }
    }

    /// A peer sent transactions.
    pub(super) fn on_transactions(&mut self, peer: PeerId, transactions: Vec<(Txid, Bytes)>) {
        // A frame has one context: with several transactions it is none of theirs.
        let trace = TraceContext::current().filter(|_| transactions.len() == 1);
        for (txid, transaction) in transactions {
            if self.relay.on_transaction(peer, &txid) {
                self.admit(TransactionItem { peer, txid, transaction, refusals: 0, trace });
            }
        }
    }

    /// Asks for transactions that peers told of.
    pub(super) fn ask_for_transactions(&mut self) {
        self.ask_at = None;
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
            trace: None,
        }
    }
}
